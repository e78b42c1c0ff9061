// The three processes of a control node and what they tell one another. Each ends when the one that started it does,
// however that ends: through the kernel where it can, and because the link between them breaks.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type { Monotonic } from '#shared/base/time.ts'
import type { Signature } from './coordination/orders.ts'
import type { Role, Stage } from './failover/types.ts'
import type { Deed } from './operator/deeds.ts'
import type { ManagedSettings, NodeSettings } from './settings.ts'

/** What `/health` and `/info` say of the cluster, as this node sees it (cluster 9). */
export type NodeStatus = {
  readonly phase: Exclude<Role['phase'], 'leading'> | Stage
  readonly epoch: number
  readonly leader: string | null
  readonly sync: string | null
  /** Of a Leader: who becomes synchronous when the present one is lost. */
  readonly next: string | null
  readonly members: number
  /** The others that may take over: neither removed nor for hands only. */
  readonly standbys: readonly string[]
  /** This node is promoted only by hand. */
  readonly dr: boolean
  readonly paused: boolean
  /** Why nobody is promoted, or this node stays out of the cluster. */
  readonly blocked: string | null
  /** Why it leads no more. */
  readonly why: string | null
  /** When the store answered a read; of `bootClock`, so that it grows old also where the supervisor stands still. */
  readonly storeHeardAt: Monotonic | null
}

/** From the supervisor to who answers clients. Deadlines are of `bootClock`. */
export type ToApi =
  | {
      readonly kind: 'start'
      readonly settings: NodeSettings | ManagedSettings
      /** With `DATABASE` in place of a name. */
      readonly databaseUrl: string
    }
  /** It will lead, and nobody may hear of it yet. */
  | { readonly kind: 'prepare'; readonly epoch: number }
  | { readonly kind: 'lead'; readonly epoch: number; readonly deadline: Monotonic }
  | { readonly kind: 'deadline'; readonly deadline: Monotonic }
  /** Refuse new writes, and say when none is in flight. */
  | { readonly kind: 'drain'; readonly asked: Monotonic }
  | { readonly kind: 'status'; readonly status: NodeStatus }
  /** To be accounted for, by a Leader; told again until it is. */
  | { readonly kind: 'deed'; readonly deed: Deed }

export type FromApi =
  | { readonly kind: 'listening' }
  | { readonly kind: 'opened'; readonly epoch: number }
  | { readonly kind: 'drained'; readonly asked: Monotonic }
  /** The audit has it. */
  | { readonly kind: 'accounted'; readonly id: string; readonly signature: Signature | undefined }
  /** Several times a second: whether it could answer a client just now. */
  | { readonly kind: 'well'; readonly ok: boolean }

/** From the supervisor to the watchdog. */
export type ToWatchdog =
  /** Those of which nothing may be alive when the deadline has passed. */
  | { readonly kind: 'watch'; readonly pids: readonly number[] }
  /** Undefined: nothing is led. */
  | { readonly kind: 'deadline'; readonly deadline: Monotonic | undefined }

export type LinkedProcess<Down> = {
  readonly pid: number | undefined
  send(message: Down): void
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  readonly ended: Promise<void>
}

/** The kernel kills it when we die, where it can be asked to. */
const TIED = ['setpriv', '--pdeathsig', 'SIGKILL', '--']
const tied = spawnSync(TIED[0]!, [...TIED.slice(1), 'true'], { stdio: 'ignore' }).status === 0 ? TIED : []

/** A program of ours as a child; what it writes goes where ours goes. */
export function startLinked<Down extends object, Up>(
  program: URL,
  hear: (message: Up) => void,
): LinkedProcess<Down> {
  const [command, ...words] = [...tied, process.execPath, program.pathname]
  const child: ChildProcess = spawn(command!, words, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const ended = Promise.race([once(child, 'exit'), once(child, 'error')]).then(() => undefined)
  child.on('message', (message) => hear(message as Up))
  return {
    pid: child.pid,
    ended,
    send(message) {
      // One that has ended is started again and told everything anew.
      if (child.connected) child.send(message, () => undefined)
    },
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** The other end: ends this process when the link breaks. */
export function linkToParent<Down, Up extends object>(hear: (message: Down) => void): (message: Up) => void {
  // Nobody would stop it any more.
  process.on('disconnect', () => process.exit(1))
  // Ctrl-C reaches the whole group: the supervisor ends its processes in order.
  process.on('SIGINT', () => undefined)
  process.on('message', (message) => hear(message as Down))
  return (message) => void process.send?.(message, () => undefined)
}
