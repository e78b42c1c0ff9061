// Leading: promote, raise the epoch, name a synchronous Standby, serve; renew the lease or stop (cluster 7.3, 7.4, 8–11).
import { type Leadership, transactions } from '../coordination/keys.ts'
import { dutyOf, noDuty, saidBy } from './duty.ts'
import { after, deadlineAfter, later } from './lease.ts'
import { become, type In, type On, stay } from './phase.ts'
import { passed, recordOf } from './record.ts'
import { type Handed, handing, isDutyKept, prepared, wished } from './switchover.ts'
import type { Effect, Event, Node, Step } from './types.ts'

type Leading = In<'leading'>

export function promoting(node: Node, taken: In<'taking'>, event: On<'transacted'>): Step {
  const { trail, candidate, reign, leadership, sync } = taken
  const deadline = deadlineAfter(event.sentAt, node.config)
  const role: Leading = {
    phase: 'leading',
    trail,
    candidate,
    leadership,
    reign,
    stage: 'promoting',
    deadline,
    renewalSentAt: event.sentAt,
    announced: false,
    raised: false,
    published: sync,
    duty: noDuty,
    handing: undefined,
    lastOrder: undefined,
    recording: undefined,
  }
  return become(node, role, { kind: 'setDeadline', deadline }, { kind: 'promote', above: reign.above })
}

export function lead(node: Node, role: Leading, event: Event): Step {
  if (event.at >= role.deadline) return fence(node, role, event, 'its lease was not renewed in time')
  if (event.kind === 'viewed' && deposed(node, role)) return fence(node, role, event, whyDeposed(role), [])
  switch (event.kind) {
    case 'tick':
      return duty(node, ...renewed(node, role, event), event)
    case 'viewed':
      return ready(node, { ...role, announced: role.announced || isAnnounced(node, role) }, event)
    case 'renewed':
      return event.lease === 'leader' ? extended(node, role, event) : stay(node)
    case 'leaseLost':
      return event.lease === 'leader' ? fence(node, role, event, 'its lease is gone', []) : stay(node)
    case 'promoted':
      return promoted(node, { ...role, trail: passed(node, role.trail, event, 'promoted') }, event)
    // What its log has become is for the next election to see: it stands in it like any other.
    case 'promotionFailed':
      return fence(standingBack(node, role, event), role, event, 'its Postgres could not be promoted')
    // Commits that waited have become visible without their Standby.
    case 'stopped':
      return fence(standingBack(node, role, event), role, event, 'its Postgres has stopped')
    case 'epochRaised':
      return event.epoch === role.leadership.epoch
        ? ready(node, { ...role, raised: true }, event)
        : stay(node)
    case 'transacted':
      return ready(
        node,
        { ...role, announced: role.announced || (event.transaction.name === 'open' && event.ok === true) },
        event,
      )
    default:
      return duty(node, role, [], event)
  }
}

function promoted(node: Node, role: Leading, { timeline, fork }: On<'promoted'>): Step {
  const reign = { ...role.reign, fork: { timeline: role.candidate.timeline, at: fork } }
  const leadership = { ...role.leadership, timeline }
  const raising: Leading = { ...role, stage: 'raising', leadership, reign }
  return become(node, raising, ...unheard(raising))
}

/** Renewed only by a node that could serve (cluster 7.3, 1). */
function renewed(node: Node, role: Leading, event: On<'tick'>): [Leading, Effect[]] {
  const due = event.at >= after(role.renewalSentAt, node.config.renewEveryMs)
  if (!due || node.own?.well !== true) return [role, unheard(role)]
  return [{ ...role, renewalSentAt: event.at }, [{ kind: 'renew', lease: 'leader' }, ...unheard(role)]]
}

/** What `raising` waits for is asked again: both change nothing when they are done. */
function unheard({ stage, leadership, reign, announced, raised }: Leading): Effect[] {
  if (stage !== 'raising') return []
  const before = { ...leadership, timeline: 0 }
  return [
    ...(announced
      ? []
      : [{ kind: 'transact', transaction: transactions.open(before, leadership.timeline, reign) } as const]),
    ...(raised ? [] : [{ kind: 'raiseEpoch', epoch: leadership.epoch } as const]),
  ]
}

/**
 * A view that knows of this epoch, and of another Leader or none. One in which it is being handed over was this node's own
 * doing: it goes with the lease, and whether it is taken back is decided in the store.
 */
function deposed({ view, config }: Node, { leadership }: Leading): boolean {
  if (view === undefined || view.epoch < leadership.epoch) return false
  const { leader, appointment } = view
  const isGiven = appointment?.how === 'switchover' && appointment.nextEpoch === leadership.epoch + 1
  if (leader === undefined && isGiven) return false
  return leader?.node !== config.node || leader.epoch !== leadership.epoch
}

const whyDeposed = ({ handing }: Leading): string =>
  handing?.at === 'giving' || handing?.at === 'given'
    ? `it has handed over to ${handing.appointment.node}`
    : 'the store names another Leader'

const isAnnounced = ({ view }: Node, { leadership }: Leading): boolean =>
  leadership.timeline > 0 && view?.leader?.timeline === leadership.timeline

function extended(node: Node, role: Leading, event: On<'renewed'>): Step {
  const deadline = later(role.deadline, deadlineAfter(event.sentAt, node.config))
  return become(node, { ...role, deadline }, { kind: 'setDeadline', deadline })
}

/** Everybody knows the timeline and the database refuses the old epoch: a Standby can be named. */
function ready(node: Node, role: Leading, event: Event): Step {
  const done = role.stage === 'raising' && role.announced && role.raised
  if (!done) return duty(node, role, [], event)
  return duty(node, { ...role, stage: 'naming' }, [{ kind: 'prepare', epoch: role.leadership.epoch }], event)
}

function duty(node: Node, role: Leading, effects: readonly Effect[], event: Event): Step {
  if (role.stage === 'promoting' || role.stage === 'raising') return become(node, role, ...effects)
  const [recorded, again] = recording(role, event)
  if (isDutyKept(role)) return handed(node, handing(node, recorded, event), [...effects, ...again], event)
  const published = saidBy(role.duty, event) ?? role.published
  const [next, asked] = dutyOf(node, { ...role, published }, event, wished(node, role))
  const changed = { ...recorded, published, duty: next }
  if (role.stage === 'open')
    return handed(node, prepared(node, role, changed, event), [...effects, ...asked, ...again], event)
  const serves = next.kind === 'held' || (next.kind === 'nobody' && next.published)
  return serves
    ? opened(node, changed, [...effects, ...asked], event)
    : become(node, changed, ...effects, ...asked)
}

function handed(node: Node, { role, effects, lost }: Handed, before: readonly Effect[], event: Event): Step {
  if (lost === true) return fence(node, role, event, 'the store names another Leader', [])
  return become(node, role, ...before, ...effects)
}

/** It serves, and the record of how it came to that is complete (cluster 7.4, 11, 13). */
function opened(node: Node, role: Leading, effects: readonly Effect[], event: Event): Step {
  const { leadership } = role
  const trail = passed(node, role.trail, event, 'opened')
  const open: Leading = { ...role, stage: 'open', trail }
  const reign = { ...role.reign, timeline: leadership.timeline, record: recordOf(open) }
  const recording = transactions.complete(leadership, reign)
  return become(
    { ...node, failures: undefined },
    { ...open, reign, recording },
    ...effects,
    { kind: 'open', epoch: leadership.epoch },
    { kind: 'transact', transaction: recording },
  )
}

/** Asked again until it is known. */
function recording(role: Leading, event: Event): readonly [Leading, readonly Effect[]] {
  if (event.kind !== 'transacted' || event.transaction !== role.recording) return [role, []]
  return event.ok === undefined
    ? [role, [{ kind: 'transact', transaction: event.transaction }]]
    : [{ ...role, recording: undefined }, []]
}

/** `given`: the forms that its leadership may have in the store, to be given back there. */
function fence(
  node: Node,
  role: Leading,
  event: Event,
  why: string,
  given: readonly Leadership[] = formsOf(role),
): Step {
  return become(
    node,
    { phase: 'fenced', epoch: role.leadership.epoch, why, closing: event.at, demoted: false, given },
    { kind: 'close', why, asked: event.at },
    { kind: 'demote' },
  )
}

function formsOf({ leadership, announced }: Leading): readonly Leadership[] {
  const before = { ...leadership, timeline: 0 }
  if (leadership.timeline === 0) return [before]
  return announced ? [leadership] : [before, leadership]
}

/** Long enough for the others to find a Leader without this node. */
const WINDOWS_FOR_OTHERS = 6
const MOST_WINDOWS = 16

/**
 * Its own Postgres has failed. Others may try first when somebody else has every acknowledged write too. Otherwise nobody
 * but this node can lead, and it tries again: at once, and then ever less often, because every time is an epoch.
 */
function standingBack(node: Node, { published }: Leading, { at }: Event): Node {
  const count = (node.failures?.count ?? 0) + 1
  const alone = count === 1 ? 0 : Math.min(2 ** (count - 1), MOST_WINDOWS)
  const windows = published.standby === null ? alone : WINDOWS_FOR_OTHERS
  return { ...node, failures: { count, until: after(at, windows * node.config.electionWindowMs) } }
}

/**
 * Closed, it gives its leadership back, so that nobody waits for its lease. In recovery again as well, it is a Standby like
 * any other, unless somebody has taken its place.
 */
export function fenced(node: Node, role: In<'fenced'>, event: Event): Step {
  if (event.kind === 'demoted') return rested(node, { ...role, demoted: true })
  if (event.kind !== 'closed' || event.asked !== role.closing) return stay(node)
  const resigns = role.given.map(
    (leadership) => ({ kind: 'transact', transaction: transactions.resign(leadership) }) as const,
  )
  return rested(node, { ...role, closing: undefined }, ...resigns)
}

const rested = (node: Node, role: In<'fenced'>, ...effects: readonly Effect[]): Step =>
  become(
    node,
    role.demoted && role.closing === undefined ? { phase: 'standby', leader: undefined } : role,
    ...effects,
  )
