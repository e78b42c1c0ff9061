// The Leader's side of the change stream, pure: how a Follower is greeted, and what it is sent next.
import { assert } from '../base/assert.ts'
import { compare, format, type Position } from '../ledger/position.ts'
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

/** A commit waiting for one Follower. */
export type Queued = { readonly position: Position; readonly bytes: number }
export type QueueBounds = { readonly bytes: number; readonly commits: number }
/** Live commits for one Follower, without holes. */
export type LiveQueue<C extends Queued> = { readonly commits: readonly C[]; readonly bytes: number }

export type Upstream<C extends Queued> =
  | { readonly phase: 'greeting' }
  /** Commits made meanwhile are not kept: they are in the log. */
  | { readonly phase: 'snapshot'; readonly acknowledged: Position | undefined }
  | {
      readonly phase: 'feeding'
      readonly sent: Position
      readonly acknowledged: Position | undefined
      readonly queue: LiveQueue<C>
      /** Something is on its way to the wire: only one thing is, so that commits stay in order. */
      readonly sending: boolean
    }
  | { readonly phase: 'ended' }

export type UpstreamEvent<C extends Queued> =
  | { readonly kind: 'hello'; readonly hello: Hello; readonly log: LogFacts }
  /** The wire has taken the whole snapshot. */
  | { readonly kind: 'snapshotSent'; readonly position: Position; readonly head: Position }
  /** The wire has taken everything up to here. */
  | { readonly kind: 'sent'; readonly position: Position; readonly head: Position }
  /** The log does not go on where this Follower stands. */
  | { readonly kind: 'purged' }
  /** `canWait`: nobody needs it soon, so it goes with the next one. */
  | { readonly kind: 'committed'; readonly commit: C; readonly head: Position; readonly canWait?: boolean }
  | { readonly kind: 'ack'; readonly position: Position }
  | { readonly kind: 'ping' }
  | { readonly kind: 'error'; readonly code: StreamErrorCode; readonly message: string }
  /** Another session of this name has been admitted. */
  | { readonly kind: 'superseded'; readonly incarnation: number; readonly by: number }

export type UpstreamEffect<C extends Queued> =
  /** From now on this session is the one of its name. */
  | { readonly kind: 'admit'; readonly incarnation: number }
  | { readonly kind: 'register'; readonly keys: Hello['keys'] }
  | {
      readonly kind: 'welcome'
      readonly mode: 'live' | 'snapshot'
      readonly reason: StreamErrorCode | null
      readonly head: Position
    }
  | { readonly kind: 'sendSnapshot'; readonly staged: Hello['staged'] }
  | { readonly kind: 'sendLive'; readonly commits: readonly C[] }
  | { readonly kind: 'sendStored'; readonly after: Position }
  | { readonly kind: 'tell'; readonly code: StreamErrorCode; readonly message: string }
  | { readonly kind: 'report'; readonly message: string }
  | { readonly kind: 'close'; readonly reason: string }

type Step<C extends Queued> = readonly [Upstream<C>, readonly UpstreamEffect<C>[]]

export function step<C extends Queued>(
  state: Upstream<C>,
  event: UpstreamEvent<C>,
  bounds: QueueBounds,
): Step<C> {
  // The table is typed for any commit; this state and event are of one and the same kind.
  const cell = table[state.phase][event.kind] as unknown as (
    state: Upstream<C>,
    event: UpstreamEvent<C>,
    bounds: QueueBounds,
  ) => Step<C>
  return cell(state, event, bounds)
}

type Phase = Upstream<Queued>['phase']
type Kind = UpstreamEvent<Queued>['kind']
type Cell<P extends Phase, K extends Kind> = (
  state: Extract<Upstream<Queued>, { phase: P }>,
  event: Extract<UpstreamEvent<Queued>, { kind: K }>,
  bounds: QueueBounds,
) => Step<Queued>

const stay = (state: Upstream<Queued>): Step<Queued> => [state, []]
const outOfTurn = (_state: Upstream<Queued>, { kind }: { readonly kind: Kind }): Step<Queued> =>
  end(`${kind} came out of turn`)
const complained = (
  state: Upstream<Queued>,
  { code, message }: { readonly code: string; readonly message: string },
): Step<Queued> => [state, [{ kind: 'report', message: `the Follower says ${code}: ${message}` }]]

const table: { [P in Phase]: { [K in Kind]: Cell<P, K> } } = {
  greeting: {
    hello: (_state, { hello, log }) => greeted(hello, log),
    snapshotSent: outOfTurn,
    sent: outOfTurn,
    purged: outOfTurn,
    committed: stay,
    ack: outOfTurn,
    ping: stay,
    error: complained,
    superseded: superseded,
  },
  snapshot: {
    hello: outOfTurn,
    snapshotSent: ({ acknowledged }, { position, head }) =>
      proceed({ phase: 'feeding', sent: position, acknowledged, queue: emptyQueue, sending: false }, head),
    sent: outOfTurn,
    purged: outOfTurn,
    committed: stay,
    // The last chunk may be acknowledged before the wire has said that it took it; the next ack says more.
    ack: stay,
    ping: stay,
    error: complained,
    superseded: superseded,
  },
  feeding: {
    hello: outOfTurn,
    snapshotSent: outOfTurn,
    sent: (state, { position, head }) => proceed({ ...state, sent: position, sending: false }, head),
    purged: () => [
      { phase: 'ended' },
      [
        { kind: 'tell', code: 'POSITION_TOO_OLD', message: 'the log does not go back that far any more' },
        { kind: 'close', reason: 'POSITION_TOO_OLD' },
      ],
    ],
    committed(state, { commit, head, canWait }, bounds) {
      const queued = { ...state, queue: offer(state.queue, commit, bounds) }
      return state.sending || canWait === true ? stay(queued) : proceed(queued, head)
    },
    ack(state, { position }) {
      // While something is on its way, `sent` does not say yet how much of it has arrived.
      if (!state.sending && compare(position, state.sent) > 0) {
        return end(`the Follower acknowledged ${format(position)}, and was sent ${format(state.sent)}`)
      }
      const newer = state.acknowledged === undefined || compare(position, state.acknowledged) > 0
      return stay(newer ? { ...state, acknowledged: position } : state)
    },
    ping: stay,
    error: complained,
    superseded: superseded,
  },
  // What was under way when the session ended changes nothing.
  ended: {
    hello: stay,
    snapshotSent: stay,
    sent: stay,
    purged: stay,
    committed: stay,
    ack: stay,
    ping: stay,
    error: stay,
    superseded: stay,
  },
}

function end(reason: string): Step<Queued> {
  return [
    { phase: 'ended' },
    [
      { kind: 'report', message: reason },
      { kind: 'close', reason },
    ],
  ]
}

/** The same process that dialled again needs no word; another one must not come back. */
function superseded(
  _state: Upstream<Queued>,
  { incarnation, by }: { readonly incarnation: number; readonly by: number },
): Step<Queued> {
  const message = 'a newer process of this Follower has connected'
  const close = { kind: 'close', reason: 'superseded' } as const
  return [
    { phase: 'ended' },
    incarnation === by ? [close] : [{ kind: 'tell', code: 'SUPERSEDED', message }, close],
  ]
}

function greeted(hello: Hello, log: LogFacts): Step<Queued> {
  const greeting = greet(hello, log)
  if (greeting.kind === 'refuse') {
    const { code, message } = greeting
    return [
      { phase: 'ended' },
      [
        { kind: 'tell', code, message },
        { kind: 'report', message: `refused: ${code}, ${message}` },
        { kind: 'close', reason: code },
      ],
    ]
  }
  const admitted: UpstreamEffect<Queued>[] = [
    { kind: 'admit', incarnation: hello.incarnation },
    { kind: 'register', keys: hello.keys },
  ]
  const acknowledged = hello.held?.position
  if (greeting.kind === 'live') {
    return [
      { phase: 'feeding', sent: greeting.from, acknowledged, queue: emptyQueue, sending: true },
      [
        ...admitted,
        { kind: 'welcome', mode: 'live', reason: null, head: log.head },
        { kind: 'report', message: `follows from ${format(greeting.from)}` },
        { kind: 'sendStored', after: greeting.from },
      ],
    ]
  }
  const { reason } = greeting
  return [
    { phase: 'snapshot', acknowledged },
    [
      ...admitted,
      { kind: 'welcome', mode: 'snapshot', reason, head: log.head },
      { kind: 'report', message: `takes a snapshot${reason === null ? '' : `: ${reason}`}` },
      { kind: 'sendSnapshot', staged: hello.staged },
    ],
  ]
}

/** Live commits when they continue what was sent; otherwise what the log has; otherwise the next commit is waited for. */
function proceed(state: Extract<Upstream<Queued>, { phase: 'feeding' }>, head: Position): Step<Queued> {
  const live = after(state.queue, state.sent)
  if (live.length > 0) {
    assert(compare(live.at(-1)!.position, head) <= 0, 'I6: shown before it was durable')
    return [{ ...state, queue: emptyQueue, sending: true }, [{ kind: 'sendLive', commits: live }]]
  }
  if (compare(state.sent, head) >= 0) return stay({ ...state, queue: emptyQueue })
  return [{ ...state, sending: true }, [{ kind: 'sendStored', after: state.sent }]]
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
  if (position.seq > log.head.seq) return { kind: 'snapshot', reason: 'POSITION_AHEAD' }
  if (position.seq < log.floor.seq) return { kind: 'snapshot', reason: 'POSITION_TOO_OLD' }
  // At the floor itself there is no hash to compare with: the next commit's will tell.
  const inLog = position.seq > log.floor.seq
  if (inLog && log.hashAtHeld !== held.contentHash) return { kind: 'snapshot', reason: 'HASH_MISMATCH' }
  return { kind: 'live', from: position }
}

const refuse = (code: StreamErrorCode, message: string): Greeting => ({ kind: 'refuse', code, message })

export const emptyQueue = { commits: [], bytes: 0 } as const

/** The queue with one more commit; empty when it would be over a bound, begun anew when it would have a hole. */
export function offer<C extends Queued>(queue: LiveQueue<C>, commit: C, bounds: QueueBounds): LiveQueue<C> {
  const last = queue.commits.at(-1)
  const follows = last === undefined || last.position.seq + 1 === commit.position.seq
  const bytes = queue.bytes + commit.bytes
  if (bytes > bounds.bytes || queue.commits.length >= bounds.commits) return emptyQueue
  if (!follows) return { commits: [commit], bytes: commit.bytes }
  return { commits: [...queue.commits, commit], bytes }
}

/** What the queue has to send after a position; nothing when it does not continue there. */
export function after<C extends Queued>(queue: LiveQueue<C>, sent: Position): readonly C[] {
  const useful = queue.commits.filter(({ position }) => position.seq > sent.seq)
  return useful[0]?.position.seq === sent.seq + 1 ? useful : []
}
