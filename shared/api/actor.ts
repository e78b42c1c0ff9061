import type { Actor } from '../audit/event.ts'
import type { Caller } from './route.ts'

/** The caller as the audit names it. Only for routes that want a token: others know whom they heard of. */
export function actorOf(caller: Caller): Actor {
  return { user: caller.role ?? 'not-found', clientIp: caller.clientIp }
}
