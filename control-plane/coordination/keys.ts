// What the control nodes agree on, as keys of the coordination store: their forms, the view that is read from them, and
// every transaction there is (cluster 7.2). The store decides by these conditions and by nothing else.
import type {
  Appointment,
  Eviction,
  FailoverRecord,
  Fork,
  How,
  MemberState,
  Note,
  Order,
  Pause,
  Signature,
  Switched,
  Switchover,
} from './orders.ts'

/** Bytes of write-ahead log. */
export type Lsn = number

/**
 * One copy of the data: a node and its disk. A node whose disk is new holds another one, under the name it had; a log that
 * is rewound or copied anew counts as a new disk from before its first change.
 */
export type Copy = string

export const copyOf = (node: string, disk: string): Copy => `${node}#${disk}`

export const nodeOf = (copy: Copy): string => copy.slice(0, copy.lastIndexOf('#'))

export const diskOf = (copy: Copy): string => copy.slice(copy.lastIndexOf('#') + 1)

/** Who leads, bound to his lease. */
export type Leadership = {
  readonly node: string
  readonly disk: string
  readonly epoch: number
  /** Of his Postgres; unknown until it is promoted. */
  readonly timeline: number
}

/** Who may hold the last acknowledged write. `standby` null: nobody but the Leader. */
export type SyncDuty = {
  readonly epoch: number
  /** Counts its changes in this epoch: a request that was under way for long finds another one, and is refused. */
  readonly change: number
  readonly leader: Copy
  readonly standby: Copy | null
}

/** A Standby that hears nothing from the old Leader any more, and what it has. */
export type Candidate = {
  readonly epochSeen: number
  readonly disk: string
  readonly timeline: number
  readonly received: Lsn
}

/** Why a node was chosen, for people; `possibleLoss`: acknowledged writes may be missing. */
export type Reason = { readonly because: string; readonly possibleLoss: boolean }

/** Who may go on, with the disk for which it was chosen and why: with another one the lock is not its own. */
export type Promotion = Reason & {
  readonly node: string
  readonly disk: string
  readonly nextEpoch: number
}

/**
 * Who led in an epoch; `timeline` 0 and no `fork` until they are known. Never removed; the record is added when it opens.
 * `above`: the timeline is the next one, if it was begun: known before anybody could begin it.
 */
export type Reign = Reason & {
  readonly node: string
  readonly how: How
  readonly timeline: number
  readonly above: number
  readonly fork?: Fork
  readonly record?: FailoverRecord
}

/** Everything under the cluster's prefix, as of one revision. */
export type View = {
  readonly revision: number
  /** 0 before the first Leader. */
  readonly epoch: number
  readonly leader: Leadership | undefined
  readonly sync: SyncDuty | undefined
  readonly promotion: Promotion | undefined
  readonly candidates: ReadonlyMap<string, Candidate>
  readonly evicted: ReadonlyMap<string, Eviction>
  readonly reigns: ReadonlyMap<number, Reign>
  /** Nodes whose lease is alive, and what they say of themselves. */
  readonly present: ReadonlyMap<string, MemberState>
  readonly pause: Pause | undefined
  readonly switchover: Switchover | undefined
  readonly switched: Switched | undefined
  readonly appointment: Appointment | undefined
  /** Of the records, by epoch. */
  readonly signatures: ReadonlyMap<number, Signature>
  readonly notes: ReadonlyMap<string, Note>
}

export type Entry = { readonly key: string; readonly value: string }

const keys = {
  epoch: 'epoch',
  leader: 'leader',
  sync: 'sync',
  promotion: 'promotion',
  pause: 'pause',
  switchover: 'switchover',
  switched: 'switched',
  appointment: 'appointment',
  candidate: (node: string): string => `candidates/${node}`,
  evicted: (node: string): string => `evicted/${node}`,
  reign: (epoch: number): string => `history/${epoch}`,
  present: (node: string): string => `members/${node}`,
  signature: (epoch: number): string => `signatures/${epoch}`,
  note: (id: string): string => `notes/${id}`,
}

export function viewOf(entries: Iterable<Entry>, revision: number): View {
  const held = new Map([...entries].map(({ key, value }) => [key, value]))
  const one = <T>(key: string): T | undefined => {
    const text = held.get(key)
    return text === undefined ? undefined : (JSON.parse(text) as T)
  }
  const below = <T>(prefix: string): [string, T][] =>
    [...held]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [key.slice(prefix.length), JSON.parse(value) as T])
  return {
    revision,
    epoch: one(keys.epoch) ?? 0,
    leader: one(keys.leader),
    sync: one(keys.sync),
    promotion: one(keys.promotion),
    candidates: new Map(below<Candidate>('candidates/')),
    evicted: new Map(below<Eviction>('evicted/')),
    reigns: new Map(below<Reign>('history/').map(([epoch, reign]) => [Number(epoch), reign])),
    present: new Map(below<MemberState>('members/')),
    pause: one(keys.pause),
    switchover: one(keys.switchover),
    switched: one(keys.switched),
    appointment: one(keys.appointment),
    signatures: new Map(below<Signature>('signatures/').map(([epoch, held]) => [Number(epoch), held])),
    notes: new Map(below<Note>('notes/')),
  }
}

/** The key must hold exactly this, or must not be there. */
export type Condition = { readonly key: string; readonly equals: string | undefined }

/** `node`: alive as long as the node says so. `leader`: as long as its leadership is renewed. */
export type LeaseName = 'node' | 'leader'

export type Write =
  | { readonly op: 'put'; readonly key: string; readonly value: string; readonly lease?: LeaseName }
  | { readonly op: 'delete'; readonly key: string }

/**
 * All of it when every condition holds, otherwise nothing. `done`: refused where this holds, it was done before, and that
 * is the answer.
 */
export type Transaction = {
  readonly name: keyof typeof transactions
  readonly when: readonly Condition[]
  readonly done?: Condition
  readonly writes: readonly Write[]
}

const put = (key: string, value: unknown, lease?: LeaseName): Write => ({
  op: 'put',
  key,
  value: JSON.stringify(value),
  ...(lease === undefined ? {} : { lease }),
})
const is = (key: string, value: unknown): Condition => ({ key, equals: JSON.stringify(value) })
const absent = (key: string): Condition => ({ key, equals: undefined })
const epochIs = (epoch: number): Condition => (epoch === 0 ? absent(keys.epoch) : is(keys.epoch, epoch))

const promotionOf = (node: string, disk: string, nextEpoch: number, reason: Reason): Promotion => ({
  node,
  disk,
  nextEpoch,
  because: reason.because,
  possibleLoss: reason.possibleLoss,
})

/** What keeps others from leading, as it was seen by who goes on all the same because it is over. */
export type Heeded = Pick<View, 'pause' | 'appointment'>

const nothing: Heeded = { pause: undefined, appointment: undefined }
const asSeen = (key: string, value: unknown): Condition =>
  value === undefined ? absent(key) : is(key, value)
const heeds = ({ pause, appointment }: Heeded): readonly Condition[] => [
  asSeen(keys.pause, pause),
  asSeen(keys.appointment, appointment),
]

/** What every way to the leadership writes. `old`: who led before, out until an operator lets it in or it can prove itself. */
const taken = (
  leader: Leadership,
  sync: SyncDuty,
  old: string | undefined,
  reign: Reign,
): readonly Write[] => [
  put(keys.epoch, leader.epoch),
  put(keys.leader, leader, 'leader'),
  put(keys.sync, sync),
  put(keys.reign(leader.epoch), reign),
  { op: 'delete', key: keys.promotion },
  { op: 'delete', key: keys.appointment },
  { op: 'delete', key: keys.candidate(leader.node) },
  ...(old === undefined || old === leader.node ? [] : [put(keys.evicted(old), evictedIn(leader.epoch))]),
]

const evictedIn = (epoch: number): Eviction => ({ epoch })

export const transactions = {
  /** Shows that the node is there; an evicted one is not let in. */
  attend: (node: string): Transaction => ({
    name: 'attend',
    when: [absent(keys.evicted(node))],
    writes: [put(keys.present(node), {}, 'node')],
  }),

  /** The epoch is a condition, so that one that comes late says nothing of a node that has followed somebody since. */
  stand: (node: string, candidate: Candidate): Transaction => ({
    name: 'stand',
    when: [absent(keys.evicted(node)), absent(keys.leader), epochIs(candidate.epochSeen)],
    writes: [put(keys.candidate(node), candidate, 'node')],
  }),

  withdraw: (node: string): Transaction => ({
    name: 'withdraw',
    when: [],
    writes: [{ op: 'delete', key: keys.candidate(node) }],
  }),

  /**
   * One candidate at a time may go on. Only a Leader changes the sync duty, so who chose by a view of this epoch without
   * one chose by the duty as it is; and it was chosen for what it has, not for what it had when it stood before. It goes
   * with the node's lease: a node that dies here blocks nobody for long.
   */
  lock: (node: string, candidate: Candidate, reason: Reason, heeded: Heeded = nothing): Transaction => ({
    name: 'lock',
    when: [
      absent(keys.leader),
      absent(keys.promotion),
      absent(keys.evicted(node)),
      epochIs(candidate.epochSeen),
      is(keys.candidate(node), candidate),
      ...heeds(heeded),
    ],
    writes: [put(keys.promotion, promotionOf(node, candidate.disk, candidate.epochSeen + 1, reason), 'node')],
  }),

  /** Gives back a lock that its node cannot use: it was given for a disk that is gone, or came late. */
  unlock: (held: Promotion): Transaction => ({
    name: 'unlock',
    when: [is(keys.promotion, promotionOf(held.node, held.disk, held.nextEpoch, held))],
    writes: [{ op: 'delete', key: keys.promotion }],
  }),

  /** The leadership itself, by the lock. It is under a lease granted for it. */
  take: (
    leader: Leadership,
    sync: SyncDuty,
    old: string | undefined,
    reign: Reign,
    heeded: Heeded = nothing,
  ): Transaction => ({
    name: 'take',
    when: [
      is(keys.promotion, promotionOf(leader.node, leader.disk, leader.epoch, reign)),
      absent(keys.leader),
      absent(keys.evicted(leader.node)),
      epochIs(leader.epoch - 1),
      ...heeds(heeded),
    ],
    writes: taken(leader, sync, old, reign),
  }),

  /** The leadership by an appointment: also under a lease granted for it, so it goes by the same name. */
  accept: (
    leader: Leadership,
    sync: SyncDuty,
    old: string | undefined,
    reign: Reign,
    appointment: Appointment,
  ): Transaction => ({
    name: 'take',
    when: [
      is(keys.appointment, appointment),
      absent(keys.leader),
      absent(keys.evicted(leader.node)),
      epochIs(leader.epoch - 1),
    ],
    writes: [
      ...taken(leader, sync, old, reign),
      ...(appointment.how === 'switchover' ? over(appointment.order, true, reign.because) : []),
    ],
  }),

  /** What is known once Postgres is promoted. */
  open: (leader: Leadership, timeline: number, reign: Reign): Transaction => ({
    name: 'open',
    when: [is(keys.leader, leader)],
    writes: [
      put(keys.leader, { ...leader, timeline }, 'leader'),
      put(keys.reign(leader.epoch), { ...reign, timeline }),
    ],
  }),

  /** Whoever is named has every acknowledged write from now on: to be said only when that is so. */
  nameSync: (leader: Leadership, before: SyncDuty, sync: SyncDuty): Transaction => ({
    name: 'nameSync',
    when: [is(keys.leader, leader), is(keys.sync, before)],
    done: is(keys.sync, sync),
    writes: [put(keys.sync, sync)],
  }),

  /** The permanent record, when the Leader serves. */
  complete: (leader: Leadership, reign: Reign): Transaction => ({
    name: 'complete',
    when: [is(keys.leader, leader)],
    writes: [put(keys.reign(leader.epoch), reign)],
  }),

  /** The leadership is given back, so that nobody waits for its lease: only by who has closed. */
  resign: (leader: Leadership): Transaction => ({
    name: 'resign',
    when: [is(keys.leader, leader)],
    writes: [{ op: 'delete', key: keys.leader }],
  }),

  /** An operator's order to the Leader; one at a time, and only the Leader ends it. */
  order: (order: Switchover): Transaction => ({
    name: 'order',
    when: [absent(keys.switchover), epochIs(order.epoch)],
    done: is(keys.switchover, order),
    writes: [put(keys.switchover, order)],
  }),

  /**
   * To one that holds the sync duty with this very copy: only by who has closed. It goes with the lease of who gives, so
   * that an election follows when both end.
   */
  handOver: (
    leader: Leadership,
    sync: SyncDuty,
    order: Switchover,
    appointment: Appointment,
  ): Transaction => ({
    name: 'handOver',
    when: [is(keys.leader, leader), is(keys.sync, sync), is(keys.switchover, order)],
    done: is(keys.appointment, appointment),
    writes: [{ op: 'delete', key: keys.leader }, put(keys.appointment, appointment, 'leader')],
  }),

  /** The Leader goes on in its epoch, because nobody took what it gave. A `handOver` that comes later finds no order. */
  reclaim: (leader: Leadership, appointment: Appointment, because: string): Transaction => ({
    name: 'reclaim',
    when: [is(keys.appointment, appointment), absent(keys.leader)],
    done: is(keys.leader, leader),
    writes: [
      put(keys.leader, leader, 'leader'),
      { op: 'delete', key: keys.appointment },
      ...over(appointment.order, false, because),
    ],
  }),

  /** The Leader does not hand over, and goes on. */
  abandon: (leader: Leadership, order: Switchover, because: string): Transaction => ({
    name: 'abandon',
    when: [is(keys.leader, leader), is(keys.switchover, order)],
    done: is(keys.switched, switchedOf(order, false, because)),
    writes: over(order, false, because),
  }),

  pause: (pause: Pause): Transaction => ({ name: 'pause', when: [], writes: [put(keys.pause, pause)] }),

  resume: (): Transaction => ({
    name: 'resume',
    when: [],
    writes: [{ op: 'delete', key: keys.pause }],
  }),

  /** By an operator: who may take the leadership of a paused cluster without a Leader. In place of `before`. */
  appoint: (appointment: Appointment, pause: Pause, before: Appointment | undefined): Transaction => ({
    name: 'appoint',
    when: [
      absent(keys.leader),
      is(keys.pause, pause),
      epochIs(appointment.nextEpoch - 1),
      asSeen(keys.appointment, before),
    ],
    done: is(keys.appointment, appointment),
    writes: [put(keys.appointment, appointment)],
  }),

  /** By an operator, into a store that is new: the cluster goes on with one node, and all others are out (cluster 8). */
  recover: (
    appointment: Appointment,
    sync: SyncDuty,
    reign: Reign,
    others: readonly string[],
  ): Transaction => ({
    name: 'recover',
    when: [absent(keys.epoch), absent(keys.leader)],
    done: is(keys.appointment, appointment),
    writes: [
      put(keys.epoch, sync.epoch),
      put(keys.sync, sync),
      put(keys.reign(sync.epoch), reign),
      put(keys.appointment, appointment),
      ...others.map((node) => put(keys.evicted(node), evictedIn(sync.epoch))),
    ],
  }),

  /** By an operator: out, though it neither leads nor has the duty, so that nobody waits for it. */
  evict: (node: string, by: string, leader: Leadership, sync: SyncDuty): Transaction => ({
    name: 'evict',
    when: [absent(keys.evicted(node)), is(keys.leader, leader), is(keys.sync, sync)],
    writes: [put(keys.evicted(node), { epoch: leader.epoch, by })],
  }),

  /** By an operator. `eviction`: the very one that he means. */
  readmit: (node: string, eviction: Eviction): Transaction => ({
    name: 'readmit',
    when: [is(keys.evicted(node), eviction)],
    writes: [{ op: 'delete', key: keys.evicted(node) }],
  }),

  /** By the node itself, which holds nothing that this Leader has not: it was out for all of what it is judged by. */
  rejoin: (node: string, eviction: Eviction, leader: Leadership): Transaction => ({
    name: 'rejoin',
    when: [is(keys.evicted(node), eviction), is(keys.leader, leader)],
    writes: [{ op: 'delete', key: keys.evicted(node) }],
  }),

  /** Why it stays out, for `cluster status`. */
  report: (node: string, eviction: Eviction, reason: string): Transaction => ({
    name: 'report',
    when: [is(keys.evicted(node), eviction)],
    writes: [put(keys.present(node), stateOf(reason), 'node')],
  }),

  /** By an operator: what became of an order. */
  note: (note: Note): Transaction => ({ name: 'note', when: [], writes: [put(keys.note(note.id), note)] }),

  /** The audit has it, and who leads has signed it. */
  sign: (leader: Leadership, epoch: number, signature: Signature): Transaction => ({
    name: 'sign',
    when: [is(keys.leader, leader)],
    writes: [put(keys.signature(epoch), signature)],
  }),

  /** The audit has it. */
  noted: (leader: Leadership, id: string): Transaction => ({
    name: 'noted',
    when: [is(keys.leader, leader)],
    writes: [{ op: 'delete', key: keys.note(id) }],
  }),
} as const

/** An operator's transaction, with a note of it for the audit. */
export const withNote = (transaction: Transaction, note: Note): Transaction => ({
  ...transaction,
  writes: [...transaction.writes, put(keys.note(note.id), note)],
})

const stateOf = (reason: string): MemberState => ({ state: 'evicted', reason })

const switchedOf = ({ id, by, why, drill }: Order, done: boolean, because: string): Switched => ({
  order: { id, by, why, drill },
  done,
  because,
})

const over = (order: Order, done: boolean, because: string): readonly Write[] => [
  { op: 'delete', key: keys.switchover },
  put(keys.switched, switchedOf(order, done, because)),
]
