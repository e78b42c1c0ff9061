// The machine that every control node runs (cluster 7): what it knows, what it is told, what it asks for. Everything in
// this folder but the driver is pure: time is a member of each event.
import type { Monotonic, Wall } from '#shared/base/time.ts'
import type {
  Candidate,
  Copy,
  Leadership,
  LeaseName,
  Lsn,
  Reason,
  Reign,
  SyncDuty,
  Transaction,
  View,
} from '../coordination/keys.ts'
import type { Appointment, FailoverTimes, How, Order, Stood, Switchover } from '../coordination/orders.ts'
import type { Held } from './hands.ts'

export type Member = {
  readonly name: string
  /** A DR Standby is never promoted but by hand (I13). */
  readonly dr: boolean
  /** Of two that are equal, the one with the higher one. */
  readonly priority: number
}

export type Config = {
  readonly node: string
  readonly members: readonly Member[]
  /** Who leads when nobody ever did. */
  readonly first: string
  /** Life of a lease in the store. */
  readonly ttlMs: number
  /** How long before its lease ends a Leader stops: for clocks that run differently, and slow hands. */
  readonly fenceMarginMs: number
  readonly renewEveryMs: number
  /** How long a Standby waits that still gets log from a Leader whose lease is gone. */
  readonly raceBackoffMs: number
  readonly electionWindowMs: number
  /** How long the sync Standby may owe what it has been sent before the duty moves. */
  readonly syncGraceMs: number
  /** False: without a Standby the Leader goes on alone, and says so. */
  readonly syncRequired: boolean
  /** `available`: when nobody who has every acknowledged write is left, the furthest of the others leads. */
  readonly mode: 'safe' | 'available'
}

/** What this node's own Postgres and processes say. */
export type Own = {
  /** API, database, audit and keys answer, and the disk has room. */
  readonly well: boolean
  /** Log comes from the Leader that it follows. */
  readonly receiving: boolean
  /** Of its own log. */
  readonly end: Lsn
  /** Somebody is at work in Postgres, and what he leaves comes into the log. */
  readonly busy: boolean
  /** Of a Leader: which copies stream from it, and how far each has flushed. */
  readonly replicas: ReadonlyMap<Copy, Lsn>
}

/** An end of the Leader's log, and when it was there. */
export type Mark = { readonly end: Lsn; readonly at: Monotonic }

/** What the store is being told about the duty. */
export type Asked = { readonly transaction: Transaction; readonly sync: SyncDuty }

/** How the duty of the one synchronous Standby stands (cluster 6.1). */
export type Duty =
  /** Nobody has it in this epoch. With `published` the store says so and writes go on: only who has all of `mark` is named. */
  | { readonly kind: 'nobody'; readonly published: boolean; readonly mark: Mark | undefined }
  /** Postgres waits for `to`, from `noted` on. `alone`: the store says that nobody has it. */
  | {
      readonly kind: 'adding'
      readonly to: Copy
      readonly noted: Mark | undefined
      readonly asked: Asked | undefined
      readonly alone: boolean
    }
  /** `mark`: what it still owes, if it does. */
  | { readonly kind: 'held'; readonly by: Copy; readonly mark: Mark | undefined }
  /** Postgres waits for both; `from` is published until the store says `to`. */
  | {
      readonly kind: 'moving'
      readonly from: Copy
      readonly to: Copy
      readonly noted: Mark | undefined
      readonly asked: Asked | undefined
    }
  /** The store is being told that nobody has it; Postgres still waits for whom it waited. */
  | { readonly kind: 'dropping'; readonly asked: Asked }

/** What a new Leader has still to do before it serves. */
export type Stage = 'promoting' | 'raising' | 'naming' | 'open'

/** How far an order to hand over has come (cluster 8). `until`: when it is given up. */
export type Handing = {
  readonly order: Switchover
} /** The target is to have the duty and be level; writes go on. */ & (
  | { readonly at: 'preparing'; readonly until: Monotonic }
  /** Writes in flight are finished, no new ones begun. */
  | { readonly at: 'draining'; readonly to: Copy; readonly asked: Monotonic; readonly until: Monotonic }
  | { readonly at: 'closing'; readonly to: Copy; readonly asked: Monotonic; readonly until: Monotonic }
  /** Nothing is written any more: the target is to have `mark`. */
  | {
      readonly at: 'levelling'
      readonly to: Copy
      readonly mark: Mark | undefined
      readonly until: Monotonic
    }
  | { readonly at: 'giving'; readonly appointment: Appointment; readonly asked: Transaction }
  | { readonly at: 'given'; readonly appointment: Appointment; readonly until: Monotonic }
  /** Nobody took it. */
  | { readonly at: 'reclaiming'; readonly asked: Transaction }
  /** `api`: how far this node has gone out of service. */
  | { readonly at: 'abandoning'; readonly asked: Transaction; readonly api: 'open' | 'drained' | 'closed' }
)

/** What a record is made of, from the first step to the last. */
export type Trail = {
  readonly how: How
  readonly trigger: string
  readonly order: Order | null
  readonly old: string | null
  readonly candidates: readonly Stood[]
  readonly times: FailoverTimes
}

/** The choice fell on this node; `asked`: what the store has not answered yet. */
type Chosen<Phase> = {
  readonly phase: Phase
  readonly trail: Trail
  readonly candidate: Candidate
  readonly reason: Reason
  readonly asked: Transaction
}

export type Role =
  /** Follows `leader`; undefined when nobody leads that it knows of. */
  | { readonly phase: 'standby'; readonly leader: string | undefined }
  /** Nobody leads, but log still comes: perhaps only the Leader's supervisor is dead. */
  | { readonly phase: 'waiting'; readonly trail: Trail; readonly until: Monotonic }
  | { readonly phase: 'freezing'; readonly trail: Trail; readonly asked: Monotonic }
  /** Frozen and published; chooses at `until`. */
  | {
      readonly phase: 'standing'
      readonly trail: Trail
      readonly candidate: Candidate
      readonly since: Monotonic
      readonly until: Monotonic
    }
  | Chosen<'locking'>
  | (Chosen<'taking'> & {
      readonly leadership: Leadership
      readonly sync: SyncDuty
      readonly reign: Reign
    })
  | {
      readonly phase: 'leading'
      readonly trail: Trail
      /** What it had when it was frozen. */
      readonly candidate: Candidate
      readonly leadership: Leadership
      readonly reign: Reign
      readonly stage: Stage
      /** Nothing is acknowledged after it (I3). */
      readonly deadline: Monotonic
      readonly renewalSentAt: Monotonic
      /** Of the two things that `raising` waits for. */
      readonly announced: boolean
      readonly raised: boolean
      /** What the store says of the duty. */
      readonly published: SyncDuty
      readonly duty: Duty
      readonly handing: Handing | undefined
      /** The order that was over last: a view may still show it. */
      readonly lastOrder: string | undefined
      /** The record, while the store has not answered. */
      readonly recording: Transaction | undefined
    }
  /**
   * Led, and stops. `closing`: asked, and not done yet; then its leadership is given back, in the forms that it may have in
   * the store.
   */
  | {
      readonly phase: 'fenced'
      readonly epoch: number
      readonly why: string
      readonly closing: Monotonic | undefined
      readonly demoted: boolean
      readonly given: readonly Leadership[]
    }
  /**
   * Out of the cluster until an operator lets it in, or what it holds is a beginning of the Leader's log (I11). `asked`: to
   * freeze, then `held` is all that it has. `asking`: to be let in, or to say that it `waits`, and why.
   */
  | {
      readonly phase: 'evicted'
      readonly closing: Monotonic | undefined
      readonly asked: Monotonic | undefined
      readonly held: Held | undefined
      readonly asking: Transaction | undefined
      readonly waits: string | undefined
    }

export type Node = {
  readonly config: Config
  readonly role: Role
  readonly view: View | undefined
  readonly own: Own | undefined
  readonly nodeLeaseSentAt: Monotonic | undefined
  /** What the calendar said at the last tick. */
  readonly calendar: { readonly wall: Wall; readonly at: Monotonic } | undefined
  /** How often in a row its own Postgres failed as a Leader's; it does not stand before `until`. */
  readonly failures: { readonly count: number; readonly until: Monotonic } | undefined
  /** Why nobody is promoted, for `/health` (cluster 7.4, 5e). */
  readonly blocked: string | undefined
}

export type Event = { readonly at: Monotonic } & (
  | { readonly kind: 'tick'; readonly wall: Wall }
  /** From a watch or a read; older ones than the newest are ignored. */
  | { readonly kind: 'viewed'; readonly view: View }
  | { readonly kind: 'probed'; readonly own: Own }
  /**
   * `transaction`: the very one that was asked for, because answers may be late. `ok` undefined: nobody knows whether it
   * was done. `sentAt`: taken before it was sent, with its lease.
   */
  | {
      readonly kind: 'transacted'
      readonly transaction: Transaction
      readonly ok: boolean | undefined
      readonly sentAt: Monotonic
    }
  | { readonly kind: 'renewed'; readonly lease: LeaseName; readonly sentAt: Monotonic }
  | { readonly kind: 'leaseLost'; readonly lease: LeaseName }
  /** No log is taken from anybody any more. `received`: flushed. `asked`: of the very freeze, because answers may be late. */
  | {
      readonly kind: 'frozen'
      readonly asked: Monotonic
      readonly disk: string
      readonly timeline: number
      readonly received: Lsn
    }
  /** `fork`: where the new timeline begins. */
  | { readonly kind: 'promoted'; readonly timeline: number; readonly fork: Lsn }
  /** Postgres refused, or took longer than its driver gives it. */
  | { readonly kind: 'promotionFailed' }
  /** Postgres has ended by itself; it is in recovery again, and follows nobody. */
  | { readonly kind: 'stopped' }
  | { readonly kind: 'epochRaised'; readonly epoch: number }
  /** Postgres waits for exactly these from `end` on. */
  | { readonly kind: 'syncSet'; readonly names: readonly Copy[]; readonly end: Lsn }
  /** In recovery again. */
  | { readonly kind: 'demoted' }
  /** No write is in flight, and none is begun. */
  | { readonly kind: 'drained'; readonly asked: Monotonic }
  /** Nothing can be answered any more. */
  | { readonly kind: 'closed'; readonly asked: Monotonic }
)

/** What is asked of Postgres is done one after the other, and answered in that order. */
export type Effect =
  /** `silent`: nothing is written for it. */
  | { readonly kind: 'probe'; readonly silent: boolean }
  | { readonly kind: 'renew'; readonly lease: LeaseName }
  | { readonly kind: 'transact'; readonly transaction: Transaction }
  /** Take log from nobody, also after a restart of Postgres. */
  | { readonly kind: 'freeze'; readonly asked: Monotonic }
  /** Take log from this node, however that is to be done: go on, rewind, copy. */
  | { readonly kind: 'follow'; readonly leader: string }
  /** Onto a timeline above this one, which somebody may have begun. */
  | { readonly kind: 'promote'; readonly above: number }
  | { readonly kind: 'raiseEpoch'; readonly epoch: number }
  /** A commit waits for all of them; none: for nobody. */
  | { readonly kind: 'setSync'; readonly names: readonly Copy[] }
  /** Told to the API and the watchdog: later than this nothing is answered. */
  | { readonly kind: 'setDeadline'; readonly deadline: Monotonic }
  /** The database may be written by this epoch: all is made ready that nobody else sees. */
  | { readonly kind: 'prepare'; readonly epoch: number }
  | { readonly kind: 'open'; readonly epoch: number }
  /** No writes, no reads, no connection that could write. Of the same epoch it may be followed by `open`. */
  | { readonly kind: 'close'; readonly why: string; readonly asked: Monotonic }
  /** New writes are refused, those in flight are finished; reads go on. Ended by `close`. */
  | { readonly kind: 'drain'; readonly asked: Monotonic }
  /** Postgres stops and starts in recovery. */
  | { readonly kind: 'demote' }

export type Step = readonly [Node, readonly Effect[]]
