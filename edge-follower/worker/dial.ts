// How a wire to the Leader comes to be: this object dials it, or the Leader dials in and is let in with the same bearer.

import { boundedText } from '#shared/api/bounded-text.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { parseJson } from '#shared/base/json.ts'
import { limits } from '#shared/base/limits.ts'
import { constantTimeEqual, sha256 } from '#shared/base/native-crypto.ts'
import type { Clock } from '#shared/base/time.ts'
import { Refused, refusalIn } from '#shared/enrolment/messages.ts'
import type { Dial, Wire } from '#shared/replication/wire.ts'
import type { EdgeSocket } from './platform-types.ts'
import { socketWire } from './wire.ts'

export type LinkPath = Parameters<Dial>[0]

export const linkPaths: ReadonlySet<string> = new Set<LinkPath>(['/replication/stream', '/replication/audit'])

/** `name`: of this Follower; the bearer goes in a header, never in a URL. */
export type Bearer = { readonly name: string; readonly bearer: string }

export function outgoingDial(leaderUrl: string, { name, bearer }: Bearer, clock: Clock): Dial {
  return async (path, signal) => {
    const answered = new AbortController()
    const late = clock.sleep(limits.linkSilenceMs, answered.signal).then(() => {
      if (answered.signal.aborted) return undefined
      throw new Error('the Leader did not answer in time')
    })
    const asked = fetch(new URL(path, leaderUrl), {
      headers: { Upgrade: 'websocket', Authorization: `Bearer ${name}.${bearer}` },
      redirect: 'manual',
      signal,
    })
    try {
      const response = await Promise.race([asked, late as Promise<never>])
      const { webSocket } = response as Response & { readonly webSocket: EdgeSocket | null }
      if (webSocket === null || webSocket === undefined) throw await refusalOf(response)
      return acceptedWire(webSocket, clock)
    } finally {
      answered.abort()
    }
  }
}

function acceptedWire(socket: EdgeSocket, clock: Clock): Wire {
  const wire = socketWire(socket, clock, limits.linkSilenceMs)
  socket.addEventListener('message', ({ data }) => wire.take(data))
  socket.addEventListener('close', () => wire.gone())
  socket.addEventListener('error', () => wire.gone(new Error('the connection to the Leader broke')))
  // Since 2026 the platform would hand over Blobs, which can only be waited for.
  socket.binaryType = 'arraybuffer'
  socket.accept()
  return wire
}

async function refusalOf(response: Response): Promise<Error> {
  const refusal = refusalIn(parseJson((await boundedText(response, limits.bodyBytes)) ?? ''))
  if (refusal !== undefined) return new Refused(refusal)
  const hint = response.status === 401 ? ': the Leader does not know this name with this bearer' : ''
  return new Error(`the Leader answered ${response.status}${hint}`)
}

/** Where the Leader's wires wait until the link asks for them. */
export type WaitingRoom = {
  readonly dial: Dial
  /** The newest of a path is the one that counts: a Leader that dials again has lost the one before. */
  readonly arrived: (path: LinkPath, wire: Wire) => void
}

export function createWaitingRoom(): WaitingRoom {
  const newest = new Map<LinkPath, Wire>()
  const parked = new Map<LinkPath, Wire>()
  const asking = new Map<LinkPath, (wire: Wire) => void>()
  return {
    dial: (path, signal) => {
      const wire = parked.get(path)
      parked.delete(path)
      if (wire !== undefined) return Promise.resolve(wire)
      return new Promise((resolve, reject) => {
        const stop = (): void => {
          asking.delete(path)
          reject(new Error('the Follower is stopping'))
        }
        if (signal.aborted) return stop()
        signal.addEventListener('abort', stop, { once: true })
        asking.set(path, (found) => {
          signal.removeEventListener('abort', stop)
          resolve(found)
        })
      })
    },
    arrived(path, wire) {
      newest.get(path)?.close('the Leader has dialled again')
      newest.set(path, wire)
      const ask = asking.get(path)
      asking.delete(path)
      if (ask === undefined) parked.set(path, wire)
      else ask(wire)
    },
  }
}

/** `Bearer <name>.<secret>` of this very Follower, compared in constant time. */
export function isOurLeader(header: string | null, { name, bearer }: Bearer): boolean {
  const [, given, secret] = /^Bearer ([^.]+)\.(\S+)$/.exec(header ?? '') ?? []
  const fits = constantTimeEqual(sha256(utf8(secret ?? '')), sha256(utf8(bearer)))
  return fits && given === name
}

/** The name in a bearer, to find the object that judges it. */
export const nameIn = (header: string | null): string | undefined =>
  /^Bearer ([^.]+)\.\S+$/.exec(header ?? '')?.[1]
