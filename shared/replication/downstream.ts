// The Follower's side of the change stream, pure: in which order a Leader may say what, and what becomes of it.
import { type Change, type Commit, fromWire } from '../ledger/change.ts'
import { format, type Position } from '../ledger/position.ts'
import type { LedCluster, SnapshotHeader, StreamErrorCode, ToFollower } from './messages.ts'

type Staged = { readonly id: string; readonly nextChunk: number }

export type Downstream =
  | {
      readonly phase: 'greeting'
      readonly held: Position | undefined
      /** False: nothing is held, or what is held is not what the Leader has. */
      readonly resumable: boolean
      readonly staged: Staged | undefined
    }
  | {
      readonly phase: 'snapshot'
      readonly held: Position | undefined
      readonly staged: Staged | undefined
      readonly header: SnapshotHeader | undefined
      readonly nextChunk: number
    }
  | {
      readonly phase: 'live'
      readonly applied: Position
      /** Of a commit that is not complete yet. */
      readonly parts: readonly (readonly Change[])[]
    }
  | { readonly phase: 'ended' }

export type DownstreamEvent =
  | ToFollower
  /** The store has made this position durable. */
  | { readonly type: 'stored'; readonly position: Position }
  /** The store has found other content than the Leader's, and changed nothing. */
  | { readonly type: 'mismatched'; readonly message: string }

export type DownstreamEffect =
  | { readonly kind: 'begin'; readonly header: SnapshotHeader }
  /** `rows` as they came: base64 of gzip. */
  | { readonly kind: 'stage'; readonly chunk: number; readonly rows: string }
  /** `at`: when the snapshot's newest commit was made, Leader's wall time. */
  | { readonly kind: 'finish'; readonly at: number }
  | { readonly kind: 'dropStage' }
  | { readonly kind: 'apply'; readonly commit: Commit }
  /** Durable here: readers may be told, and so is the Leader. */
  | { readonly kind: 'ack'; readonly position: Position }
  | { readonly kind: 'ping' }
  | { readonly kind: 'tell'; readonly code: StreamErrorCode; readonly message: string }
  /** What is held is not what the Leader has: an alarm, until a snapshot is complete. */
  | { readonly kind: 'distrust'; readonly code: Distrust; readonly message: string }
  /** `leader`: what it said of itself, when it just has. */
  | { readonly kind: 'state'; readonly state: 'snapshot' | 'live'; readonly leader: Greeted | undefined }
  | { readonly kind: 'report'; readonly message: string }
  /** The session is over; `code` is what the Leader said, if it was the Leader. */
  | { readonly kind: 'end'; readonly code: StreamErrorCode | undefined; readonly message: string }

/** Another content than the Leader's at the same position, or commits that the Leader does not have. */
export type Distrust = Extract<StreamErrorCode, 'HASH_MISMATCH' | 'POSITION_AHEAD'>

/** `time`: its wall time as it greeted. */
export type Greeted = {
  readonly url: string | undefined
  readonly cluster: LedCluster | undefined
  readonly time: number
}

type Step = readonly [Downstream, readonly DownstreamEffect[]]

/** Throws `bad_request` when a commit's changes are malformed. */
export function step(state: Downstream, event: DownstreamEvent): Step {
  const cell = table[state.phase][event.type] as (state: Downstream, event: DownstreamEvent) => Step
  return cell(state, event)
}

type Phase = Downstream['phase']
type Type = DownstreamEvent['type']
type In<P extends Phase> = Extract<Downstream, { phase: P }>
type Of<T extends Type> = Extract<DownstreamEvent, { type: T }>

const stay = (state: Downstream): Step => [state, []]
const outOfTurn = ({ phase }: Downstream, { type }: { readonly type: Type }): Step =>
  end(`${type} came out of turn, in phase ${phase}`)
const refused = (_state: Downstream, { code, message }: Of<'error'>): Step => end(`${code}: ${message}`, code)

const table: { [P in Phase]: { [T in Type]: (state: In<P>, event: Of<T>) => Step } } = {
  greeting: {
    welcome: welcomed,
    snapshot: outOfTurn,
    chunk: outOfTurn,
    commit: outOfTurn,
    ping: stay,
    error: refused,
    stored: outOfTurn,
    mismatched: outOfTurn,
  },
  snapshot: {
    welcome: outOfTurn,
    snapshot: announced,
    chunk: received,
    commit: outOfTurn,
    ping: stay,
    error: refused,
    stored: (_state, { position }) => [
      { phase: 'live', applied: position, parts: [] },
      [
        { kind: 'state', state: 'live', leader: undefined },
        { kind: 'report', message: `snapshot complete at ${format(position)}` },
        { kind: 'ack', position },
      ],
    ],
    mismatched,
  },
  live: {
    welcome: outOfTurn,
    snapshot: outOfTurn,
    chunk: outOfTurn,
    commit: committed,
    ping: stay,
    error: refused,
    stored: (_state, { position }) => [
      { phase: 'live', applied: position, parts: [] },
      [{ kind: 'ack', position }],
    ],
    mismatched,
  },
  // Messages that were under way when the session ended change nothing.
  ended: {
    welcome: stay,
    snapshot: stay,
    chunk: stay,
    commit: stay,
    ping: stay,
    error: stay,
    stored: stay,
    mismatched: stay,
  },
}

function end(message: string, code?: StreamErrorCode): Step {
  return [{ phase: 'ended' }, [{ kind: 'end', code, message }]]
}

/** I8: what comes from a lower epoch changes nothing. */
function stale(theirs: Position, held: Position): Step {
  const message = `the Leader has epoch ${theirs.epoch}, and ${format(held)} is held here`
  return [
    { phase: 'ended' },
    [
      { kind: 'tell', code: 'EPOCH_STALE', message },
      { kind: 'end', code: undefined, message: `EPOCH_STALE: ${message}` },
    ],
  ]
}

function mismatched(_state: Downstream, { message }: Of<'mismatched'>): Step {
  return [
    { phase: 'ended' },
    [
      { kind: 'distrust', code: 'HASH_MISMATCH', message },
      { kind: 'tell', code: 'HASH_MISMATCH', message },
      { kind: 'end', code: undefined, message },
    ],
  ]
}

function welcomed({ held, resumable, staged }: In<'greeting'>, message: Of<'welcome'>): Step {
  const { position, mode, reason } = message
  if (held !== undefined && position.epoch < held.epoch) return stale(position, held)
  const leader = {
    url: message.leaderUrl ?? undefined,
    cluster: message.cluster ?? undefined,
    time: message.leaderTime,
  }
  const begun: DownstreamEffect = { kind: 'state', state: mode, leader }
  if (mode === 'snapshot') {
    return [
      { phase: 'snapshot', held, staged, header: undefined, nextChunk: 0 },
      [begun, ...reasonOf(reason, position)],
    ]
  }
  if (held === undefined || !resumable) return end('the Leader goes on from a position that is not held here')
  return [
    { phase: 'live', applied: held, parts: [] },
    // Live goes on from what is held: a snapshot that was begun is of no use any more.
    staged === undefined ? [begun] : [begun, { kind: 'dropStage' }],
  ]
}

function reasonOf(reason: StreamErrorCode | null, head: Position): DownstreamEffect[] {
  if (reason === null) return []
  const message = `a snapshot is taken: ${reason}, the Leader is at ${format(head)}`
  return reason === 'HASH_MISMATCH' || reason === 'POSITION_AHEAD'
    ? [{ kind: 'distrust', code: reason, message }]
    : [{ kind: 'report', message }]
}

function announced(state: In<'snapshot'>, { header }: Of<'snapshot'>): Step {
  if (state.header !== undefined) return end('a second snapshot was announced')
  const { held, staged } = state
  if (held !== undefined && header.position.epoch < held.epoch) return stale(header.position, held)
  const resumed = staged?.id === header.id
  const nextChunk = resumed ? staged.nextChunk : 0
  if (nextChunk > header.chunks) return end('more chunks are held than the snapshot has')
  const effects: DownstreamEffect[] = resumed ? [] : [{ kind: 'begin', header }]
  if (nextChunk === header.chunks) effects.push({ kind: 'finish', at: header.at })
  return [{ ...state, header, nextChunk }, effects]
}

function received(state: In<'snapshot'>, { chunk, rows }: Of<'chunk'>): Step {
  if (state.header === undefined || chunk !== state.nextChunk || chunk >= state.header.chunks)
    return end(`chunk ${chunk} came out of turn`)
  const nextChunk = chunk + 1
  const last = nextChunk === state.header.chunks
  return [
    { ...state, nextChunk },
    [{ kind: 'stage', chunk, rows }, last ? { kind: 'finish', at: state.header.at } : { kind: 'ping' }],
  ]
}

/** Applied when all its parts are there: one Leader transaction is one transaction here. */
function committed(state: In<'live'>, message: Of<'commit'>): Step {
  const { position, at, contentHash, part, parts } = message
  const { applied } = state
  if (position.epoch < applied.epoch) return stale(position, applied)
  if (position.seq !== applied.seq + 1 || part !== state.parts.length || part >= parts) {
    return end(`part ${part} of ${format(position)} came out of turn after ${format(applied)}`)
  }
  const all = [...state.parts, message.changes.map(fromWire)]
  if (all.length < parts) return stay({ ...state, parts: all })
  return [
    { ...state, parts: [] },
    [{ kind: 'apply', commit: { position, at, contentHash, changes: all.flat() } }],
  ]
}
