// What operators order through the store, what becomes of it, and the permanent record of a failover (cluster 2, 7.4, 8).
import type { Wall } from '#shared/base/time.ts'
import type { Candidate, Copy, Lsn, Reason } from './keys.ts'

/** Where a timeline was begun: on which one, and up to where it is the same. */
export type Fork = { readonly timeline: number; readonly at: Lsn }

/** How a leadership is come by: `hand` is an operator's appointment. */
export type How = 'election' | 'switchover' | 'hand'

/** One that stood, with what it had. */
export type Stood = Candidate & { readonly node: string }

/** When each step of a failover was done, by the clock of the new Leader, in ISO 8601; null: it was left out. */
export type FailoverTimes = {
  readonly triggered: string | null
  readonly frozen: string | null
  readonly chosen: string | null
  readonly taken: string | null
  readonly promoted: string | null
  readonly opened: string | null
}

/** The permanent record of how a leadership came about (cluster 7.4, 13). */
export type FailoverRecord = Reason & {
  readonly epoch: number
  readonly how: How
  /** What began it. */
  readonly trigger: string
  /** The operator's order, if there was one. */
  readonly order: Order | null
  readonly leader: { readonly node: string; readonly disk: string; readonly timeline: number }
  readonly old: string | null
  readonly fork: Fork | null
  readonly candidates: readonly Stood[]
  readonly times: FailoverTimes
}

/** What an operator wants, with his name, for the record. `id`: another one for each order. */
export type Order = {
  readonly id: string
  readonly by: string
  readonly why: string
  /** It is done to see whether it works. */
  readonly drill: boolean
}

/** Nobody is promoted by itself until this is over (cluster 2). */
export type Pause = { readonly by: string; readonly why: string; readonly until: Wall }

/** The Leader of `epoch` is to hand over (cluster 8). `target` null: to whoever has the sync duty. */
export type Switchover = Order & {
  readonly epoch: number
  readonly target: string | null
  readonly until: Wall
}

/** How the last switchover ended. */
export type Switched = {
  readonly order: Order
  readonly done: boolean
  readonly because: string
}

/**
 * One copy that may take the leadership at once, unless somebody leads: by the hand of the Leader before, then it goes
 * with his lease, or of an operator.
 */
export type Appointment = Reason & {
  readonly node: string
  readonly disk: string
  readonly nextEpoch: number
  readonly how: Exclude<How, 'election'>
  readonly order: Order
  /** It has every acknowledged write besides the one that takes. */
  readonly from: Copy | null
  /** Not heeded afterwards; null: as long as it is there. */
  readonly until: Wall | null
}

/** Since the leadership of `epoch` was taken from it, or without it. `by`: an operator, then only one lets it in again. */
export type Eviction = { readonly epoch: number; readonly by?: string }

/** The record of an epoch, signed as compact JWS with the token key `kid` of a Leader. */
export type Signature = { readonly node: string; readonly kid: string; readonly jws: string }

/** What an operator did, until a Leader has written it to the audit. `id`: another one for each. */
export type Note = {
  readonly id: string
  readonly operation: 'pause' | 'resume' | 'evict' | 'enroll' | 'recover' | 'switchover'
  readonly by: string
  /** Which node; null: the whole cluster. */
  readonly node: string | null
  readonly why: string
  readonly at: Wall
  /** Why it was not done after all. */
  readonly error?: string
}

/** What a node says of itself besides that it is there. */
export type MemberState = { readonly state?: 'evicted'; readonly reason?: string }
