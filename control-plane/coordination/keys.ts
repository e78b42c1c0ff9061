// What the control nodes agree on, as keys of the coordination store: their forms, the view that is read from them, and
// every transaction there is (cluster 7.2). The store decides by these conditions and by nothing else.

/** Bytes of write-ahead log. */
export type Lsn = number

/**
 * One copy of the data: a node and its disk. A node whose disk is new holds another one, under the name it had; a log that
 * is rewound or copied anew counts as a new disk from before its first change.
 */
export type Copy = string

export const copyOf = (node: string, disk: string): Copy => `${node}#${disk}`

export const nodeOf = (copy: Copy): string => copy.slice(0, copy.lastIndexOf('#'))

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
 * Who led in an epoch; `timeline` 0 until it is known. Never changed afterwards, and never removed. `above`: the timeline
 * is the next one, if it was begun: known before anybody could begin it.
 */
export type Reign = Reason & { readonly node: string; readonly timeline: number; readonly above: number }

/** Everything under the cluster's prefix, as of one revision. */
export type View = {
  readonly revision: number
  /** 0 before the first Leader. */
  readonly epoch: number
  readonly leader: Leadership | undefined
  readonly sync: SyncDuty | undefined
  readonly promotion: Promotion | undefined
  readonly candidates: ReadonlyMap<string, Candidate>
  readonly evicted: ReadonlySet<string>
  readonly reigns: ReadonlyMap<number, Reign>
  /** Nodes whose lease is alive. */
  readonly present: ReadonlySet<string>
  readonly paused: boolean
}

export type Entry = { readonly key: string; readonly value: string }

const keys = {
  epoch: 'epoch',
  leader: 'leader',
  sync: 'sync',
  promotion: 'promotion',
  paused: 'paused',
  candidate: (node: string): string => `candidates/${node}`,
  evicted: (node: string): string => `evicted/${node}`,
  reign: (epoch: number): string => `history/${epoch}`,
  present: (node: string): string => `members/${node}`,
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
    evicted: new Set(below('evicted/').map(([node]) => node)),
    reigns: new Map(below<Reign>('history/').map(([epoch, reign]) => [Number(epoch), reign])),
    present: new Set(below('members/').map(([node]) => node)),
    paused: held.has(keys.paused),
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
  lock: (node: string, candidate: Candidate, reason: Reason): Transaction => ({
    name: 'lock',
    when: [
      absent(keys.leader),
      absent(keys.promotion),
      absent(keys.evicted(node)),
      epochIs(candidate.epochSeen),
      is(keys.candidate(node), candidate),
    ],
    writes: [put(keys.promotion, promotionOf(node, candidate.disk, candidate.epochSeen + 1, reason), 'node')],
  }),

  /** Gives back a lock that its node cannot use: it was given for a disk that is gone, or came late. */
  unlock: (held: Promotion): Transaction => ({
    name: 'unlock',
    when: [is(keys.promotion, promotionOf(held.node, held.disk, held.nextEpoch, held))],
    writes: [{ op: 'delete', key: keys.promotion }],
  }),

  /** The leadership itself. `old`: who led before, out from here on until an operator lets it in again. */
  take: (leader: Leadership, sync: SyncDuty, old: string | undefined, reign: Reign): Transaction => ({
    name: 'take',
    when: [
      is(keys.promotion, promotionOf(leader.node, leader.disk, leader.epoch, reign)),
      absent(keys.leader),
      absent(keys.evicted(leader.node)),
      epochIs(leader.epoch - 1),
    ],
    writes: [
      put(keys.epoch, leader.epoch),
      put(keys.leader, leader, 'leader'),
      put(keys.sync, sync),
      put(keys.reign(leader.epoch), reign),
      { op: 'delete', key: keys.promotion },
      { op: 'delete', key: keys.candidate(leader.node) },
      ...(old === undefined || old === leader.node ? [] : [put(keys.evicted(old), { epoch: leader.epoch })]),
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
} as const
