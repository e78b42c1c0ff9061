// Leading: promote, raise the epoch, name a synchronous Standby, serve; renew the lease or stop (cluster 7.3, 7.4, 8–11).
import { transactions } from '../coordination/keys.ts'
import { dutyOf, noDuty, saidBy } from './duty.ts'
import { after, deadlineAfter, later } from './lease.ts'
import type { Effect, Event, Node, Role, Step } from './types.ts'

type In<P extends Role['phase']> = Extract<Role, { phase: P }>
type On<K extends Event['kind']> = Extract<Event, { kind: K }>
type Leading = In<'leading'>

const become = (node: Node, role: Role, ...effects: readonly Effect[]): Step => [{ ...node, role }, effects]

export function promoting(node: Node, taken: In<'taking'>, event: On<'transacted'>): Step {
  const { reign, leadership, sync } = taken
  const deadline = deadlineAfter(event.sentAt, node.config)
  const role: Leading = {
    phase: 'leading',
    leadership,
    reign,
    stage: 'promoting',
    deadline,
    renewalSentAt: event.sentAt,
    announced: false,
    raised: false,
    published: sync,
    duty: noDuty,
  }
  return become(node, role, { kind: 'setDeadline', deadline }, { kind: 'promote', above: reign.above })
}

export function lead(node: Node, role: Leading, event: Event): Step {
  if (event.at >= role.deadline) return fence(node, role, 'its lease was not renewed in time')
  if (event.kind === 'viewed' && deposed(node, role))
    return fence(node, role, 'the store names another Leader')
  switch (event.kind) {
    case 'tick':
      return duty(node, ...renewed(node, role, event), event)
    case 'viewed':
      return ready(node, { ...role, announced: role.announced || isAnnounced(node, role) }, event)
    case 'renewed':
      return event.lease === 'leader' ? extended(node, role, event) : [node, []]
    case 'leaseLost':
      return event.lease === 'leader' ? fence(node, role, 'its lease is gone') : [node, []]
    case 'promoted': {
      const leadership = { ...role.leadership, timeline: event.timeline }
      const raising: Leading = { ...role, stage: 'raising', leadership }
      return become(node, raising, ...unheard(raising))
    }
    // What its log has become is for the next election to see: it stands in it like any other.
    case 'promotionFailed':
      return fence(node, role, 'its Postgres could not be promoted')
    // Commits that waited have become visible without their Standby.
    case 'stopped':
      return fence(node, role, 'its Postgres has stopped')
    case 'epochRaised':
      return event.epoch === role.leadership.epoch
        ? ready(node, { ...role, raised: true }, event)
        : [node, []]
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

/** A view that knows of this epoch, and of another Leader or none. */
function deposed({ view, config }: Node, { leadership }: Leading): boolean {
  if (view === undefined || view.epoch < leadership.epoch) return false
  return view.leader?.node !== config.node || view.leader.epoch !== leadership.epoch
}

const isAnnounced = ({ view }: Node, { leadership }: Leading): boolean =>
  leadership.timeline > 0 && view?.leader?.timeline === leadership.timeline

function extended(node: Node, role: Leading, event: On<'renewed'>): Step {
  const deadline = later(role.deadline, deadlineAfter(event.sentAt, node.config))
  return become(node, { ...role, deadline }, { kind: 'setDeadline', deadline })
}

/** Everybody knows the timeline and the database refuses the old epoch: a Standby can be named. */
function ready(node: Node, role: Leading, event: Event): Step {
  const done = role.stage === 'raising' && role.announced && role.raised
  return duty(node, done ? { ...role, stage: 'naming' } : role, [], event)
}

function duty(node: Node, role: Leading, effects: readonly Effect[], event: Event): Step {
  if (role.stage === 'promoting' || role.stage === 'raising') return become(node, role, ...effects)
  const published = saidBy(role.duty, event) ?? role.published
  const [next, asked] = dutyOf(node, { ...role, published }, event)
  const serves = next.kind === 'held' || (next.kind === 'nobody' && next.published)
  const opens = role.stage === 'naming' && serves
  return become(
    node,
    { ...role, published, duty: next, stage: opens ? 'open' : role.stage },
    ...effects,
    ...asked,
    ...(opens ? [{ kind: 'open', epoch: role.leadership.epoch } as const] : []),
  )
}

function fence(node: Node, role: Leading, why: string): Step {
  return become(
    node,
    { phase: 'fenced', epoch: role.leadership.epoch, why },
    { kind: 'close', why },
    { kind: 'demote' },
  )
}

/** In recovery again it is a Standby like any other, unless somebody has taken its place. */
export function fenced(node: Node, _role: In<'fenced'>, event: Event): Step {
  return event.kind === 'demoted' ? become(node, { phase: 'standby', leader: undefined }) : [node, []]
}
