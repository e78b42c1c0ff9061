// The Leader's side of the change stream: how a Follower is greeted, and from where it is fed. Pure.
import { compare, type Position } from '../ledger/position.ts'
import { type Hello, PROTOCOL, type StreamErrorCode } from './messages.ts'

/** Where the log stands when a Follower says hello. */
export type LogFacts = {
  readonly head: Position
  /** Everything up to here is gone from the log. */
  readonly floor: Position
  /** Content hash of the log at the Follower's position; undefined when it is not in the log any more. */
  readonly hashAtHeld: string | undefined
  /** Incarnation of a session of the same name, if there is one. */
  readonly otherIncarnation: number | undefined
}

export type Greeting =
  | { readonly kind: 'live'; readonly from: Position }
  | { readonly kind: 'snapshot'; readonly reason: StreamErrorCode | null }
  | { readonly kind: 'refuse'; readonly code: StreamErrorCode; readonly message: string }

export function greet(hello: Hello, log: LogFacts): Greeting {
  if (hello.protocol !== PROTOCOL) {
    return refuse(
      'VERSION_UNSUPPORTED',
      `this Leader speaks version ${PROTOCOL}, the Follower ${hello.protocol}`,
    )
  }
  if (log.otherIncarnation !== undefined && hello.incarnation < log.otherIncarnation) {
    return refuse('SUPERSEDED', 'a newer process of this Follower is connected')
  }
  if (hello.set !== 'full') return refuse('SET_CHANGED', `there is no replication set ${hello.set}`)
  const { held } = hello
  if (held === null) return { kind: 'snapshot', reason: null }
  const { position } = held
  if (position.epoch > log.head.epoch) {
    return refuse('EPOCH_STALE', `this Leader has epoch ${log.head.epoch}, the Follower ${position.epoch}`)
  }
  if (compare(position, log.head) > 0 || position.seq > log.head.seq)
    return { kind: 'snapshot', reason: 'POSITION_AHEAD' }
  if (position.seq < log.floor.seq) return { kind: 'snapshot', reason: 'POSITION_TOO_OLD' }
  const inLog = position.seq > log.floor.seq
  if (inLog && log.hashAtHeld !== held.contentHash) return { kind: 'snapshot', reason: 'HASH_MISMATCH' }
  return { kind: 'live', from: position }
}

const refuse = (code: StreamErrorCode, message: string): Greeting => ({ kind: 'refuse', code, message })

/** A commit waiting for one Follower. */
export type Queued = { readonly position: Position; readonly bytes: number }

/** Live commits for one Follower, bounded in bytes: over the bound it goes back to the stored log. */
export type LiveQueue<C extends Queued> = {
  readonly commits: readonly C[]
  readonly bytes: number
}

export const emptyQueue = { commits: [], bytes: 0 } as const

/** The queue with one more commit; empty when it would be over the bound or have a hole. */
export function offer<C extends Queued>(queue: LiveQueue<C>, commit: C, boundBytes: number): LiveQueue<C> {
  const last = queue.commits.at(-1)
  const follows = last === undefined || last.position.seq + 1 === commit.position.seq
  if (queue.bytes + commit.bytes > boundBytes) return emptyQueue
  if (!follows) return { commits: [commit], bytes: commit.bytes }
  return { commits: [...queue.commits, commit], bytes: queue.bytes + commit.bytes }
}

/** What to send after a position: from the queue when it continues there, otherwise `undefined` means the stored log. */
export function after<C extends Queued>(queue: LiveQueue<C>, sent: Position): readonly C[] | undefined {
  const useful = queue.commits.filter(({ position }) => position.seq > sent.seq)
  return useful[0]?.position.seq === sent.seq + 1 ? useful : undefined
}
