// From a lost Leader to the next one (cluster 7.4, 0–7): trigger, backoff, freeze, stand, choose, lock, take.
import {
  type Candidate,
  type Copy,
  copyOf,
  type Leadership,
  type Reason,
  type Reign,
  type SyncDuty,
  transactions,
  type View,
} from '../coordination/keys.ts'
import type { Appointment } from '../coordination/orders.ts'
import { heldBack, isOver } from './calendar.ts'
import { choose } from './choose.ts'
import { promoting } from './leader.ts'
import { after } from './lease.ts'
import { become, type In, type On, stay } from './phase.ts'
import { among, ordered, passed, trailFrom } from './record.ts'
import type { Effect, Event, Node, Step, Trail } from './types.ts'

/**
 * Somebody leads: follow, whatever was being tried. Only once its timeline is known, because before that there is
 * nothing to follow and what is held may still be needed. Undefined: nobody does.
 */
export function followed(node: Node): Step | undefined {
  const { view, config, role } = node
  const leader = view?.leader
  if (leader === undefined || leader.timeline === 0 || leader.node === config.node) return undefined
  if (role.phase === 'standby' && role.leader === leader.node) return stay(node)
  const withdraw: Effect[] = view!.candidates.has(config.node)
    ? [{ kind: 'transact', transaction: transactions.withdraw(config.node) }]
    : []
  return become({ ...node, blocked: undefined }, { phase: 'standby', leader: leader.node }, ...withdraw, {
    kind: 'follow',
    leader: leader.node,
  })
}

/** Nobody leads: go on alone if this node may (cluster 7.4, 0–2), or is the one that was appointed (cluster 8). */
export function triggered(node: Node, event: Event): Step {
  const appointed = isAppointed(node, event)
  if (!appointed && !mayStand(node, event))
    return stay({ ...node, blocked: node.view?.leader === undefined ? heldBack(node, event) : undefined })
  const trail = trailFrom(node, event)
  return node.own!.receiving && !appointed
    ? become(node, { phase: 'waiting', trail, until: after(event.at, node.config.raceBackoffMs) })
    : freezing(node, trail, event)
}

const freezing = (node: Node, trail: Trail, { at }: Event): Step =>
  become(node, { phase: 'freezing', trail, asked: at }, { kind: 'freeze', asked: at })

/** Seen by the others, so that they wait for it. */
export function attending({ view, config }: Node, event: Event): readonly Effect[] {
  if (event.kind !== 'tick' || view === undefined || isPresent(view, config.node)) return []
  return [{ kind: 'transact', transaction: transactions.attend(config.node) }]
}

/** As one that may stand: one that was out still has to say that it is in again. */
const isPresent = ({ present }: View, node: string): boolean => {
  const said = present.get(node)
  return said !== undefined && said.state === undefined
}

function mayStand(node: Node, event: Event): boolean {
  const { view, own, config, failures } = node
  const member = config.members.find(({ name }) => name === config.node)
  return (
    view !== undefined &&
    view.leader === undefined &&
    heldBack(node, event) === undefined &&
    own?.well === true &&
    member?.dr === false &&
    isPresent(view, config.node) &&
    (failures === undefined || event.at >= failures.until)
  )
}

/** What this node may take at once, without an election, also as a DR Standby. */
function appointmentOf(node: Node, event: Event): Appointment | undefined {
  const { view, config } = node
  const appointment = view?.appointment
  if (view === undefined || view.leader !== undefined || appointment?.node !== config.node) return undefined
  const { nextEpoch, until } = appointment
  const isPast = nextEpoch !== view.epoch + 1 || (until !== null && isOver(until, node, event))
  return isPast ? undefined : appointment
}

const isAppointed = (node: Node, event: Event): boolean =>
  appointmentOf(node, event) !== undefined && node.own?.well === true

export function waited(node: Node, { until, trail }: In<'waiting'>, event: Event): Step {
  if (isAppointed(node, event)) return freezing(node, trail, event)
  if (!mayStand(node, event)) return become(node, { phase: 'standby', leader: undefined })
  return event.at < until ? stay(node) : freezing(node, trail, event)
}

/** From here the old Leader gets no acknowledgement from this node (cluster 7.4, 3). */
export function frozen(node: Node, role: In<'freezing'>, event: On<'frozen'>): Step {
  const { view, config } = node
  const { disk, timeline, received } = event
  const candidate = { epochSeen: view?.epoch ?? 0, disk, timeline, received }
  const trail = passed(node, role.trail, event, 'frozen')
  const standing: In<'standing'> = {
    phase: 'standing',
    trail,
    candidate,
    since: event.at,
    until: after(event.at, config.electionWindowMs),
  }
  // With a Leader there it would be refused, or come when this node has followed him and has more.
  const stand: Effect[] =
    view?.leader === undefined
      ? [{ kind: 'transact', transaction: transactions.stand(config.node, candidate) }]
      : []
  return accepting(node, standing, event) ?? become(node, standing, ...stand)
}

/** All that are alive have stood, or were waited for long enough (cluster 7.4, 4–6). */
export function chosen(node: Node, role: In<'standing'>, event: On<'tick'>): Step {
  const { view, config } = node
  const accepted = accepting(node, role, event)
  if (accepted !== undefined) return accepted
  if (view === undefined || view.leader !== undefined) return stay(node)
  if (event.at < role.until && !allStand(view, node)) return stay(node)
  const blocked = heldBack(node, event)
  if (blocked !== undefined) return stay({ ...node, blocked })
  const { candidate } = role
  if (view.promotion !== undefined) {
    // The lock was given, and the answer was not heard.
    const { node: holder, disk, nextEpoch } = view.promotion
    const mine = holder === config.node && disk === candidate.disk && nextEpoch === candidate.epochSeen + 1
    if (mine) return taking(node, role, view.promotion)
    const unlock: Effect = { kind: 'transact', transaction: transactions.unlock(view.promotion) }
    return [node, holder === config.node ? [unlock] : []]
  }
  // The store let a round pass without this node, or knows what it had before, or the epoch is another: it stands again.
  if (!stands(view, config.node, candidate)) {
    const renewed = { ...candidate, epochSeen: view.epoch }
    return become(
      node,
      { ...role, candidate: renewed, until: after(event.at, config.electionWindowMs) },
      { kind: 'transact', transaction: transactions.stand(config.node, renewed) },
    )
  }
  return isComplete(view, role, event, node) ? decided(node, view, role, event) : stay(node)
}

/** Everybody that could be chosen has stood, but for who led: the window is for those that one may still wait for. */
const allStand = (view: View, { config }: Node): boolean =>
  config.members.every(
    ({ name, dr }) =>
      dr ||
      view.evicted.has(name) ||
      name === view.reigns.get(view.epoch)?.node ||
      view.candidates.get(name)?.epochSeen === view.epoch,
  )

/** Everybody that is there has stood, or had the time for it. */
function isComplete(view: View, { since }: In<'standing'>, { at }: Event, { config }: Node): boolean {
  const expected = config.members.filter(
    ({ name, dr }) => !dr && view.present.has(name) && !view.evicted.has(name),
  )
  const missing = expected.some(({ name }) => view.candidates.get(name)?.epochSeen !== view.epoch)
  return !missing || at >= after(since, 3 * config.electionWindowMs)
}

function decided(node: Node, view: View, role: In<'standing'>, event: Event): Step {
  const { config } = node
  const { candidate } = role
  const choice = choose(view, config)
  if (choice.winner !== config.node)
    return become(
      { ...node, blocked: choice.winner === undefined ? choice.because : undefined },
      { ...role, until: after(event.at, config.electionWindowMs) },
    )
  const lock = transactions.lock(config.node, candidate, choice, view)
  const trail = passed(node, among(role.trail, view, config.node, candidate), event, 'chosen')
  return become(
    { ...node, blocked: undefined },
    { phase: 'locking', trail, candidate, reason: choice, asked: lock },
    { kind: 'transact', transaction: lock },
  )
}

/** The store says of this node what is so, in this epoch. */
function stands(view: View, node: string, { epochSeen, disk, timeline, received }: Candidate): boolean {
  const said = view.candidates.get(node)
  return (
    epochSeen === view.epoch &&
    said?.epochSeen === epochSeen &&
    said.disk === disk &&
    said.timeline === timeline &&
    said.received === received
  )
}

const standAgain = (node: Node, { trail, candidate }: In<'locking' | 'taking'>, event: Event): Step =>
  become(node, {
    phase: 'standing',
    trail,
    candidate,
    since: event.at,
    until: after(event.at, node.config.electionWindowMs),
  })

/** Every transaction is answered, if only with nobody's knowing: none is waited for by a clock. */
export function locked(node: Node, role: In<'locking'>, event: Event): Step {
  if (event.kind !== 'transacted' || event.transaction !== role.asked) return stay(node)
  // What was ordered meanwhile is not over, and would pass for it.
  const goesOn = event.ok === true && heldBack(node, event) === undefined
  return goesOn ? taking(node, role, role.reason) : standAgain(node, role, event)
}

type Ready = Pick<In<'standing'>, 'trail' | 'candidate'>

function taking(node: Node, { trail, candidate }: Ready, reason: Reason): Step {
  const view = node.view!
  const old = view.reigns.get(candidate.epochSeen)?.node
  const leadership = leadershipOf(node, candidate)
  const sync = inherited(view, leadership, candidate, reason.possibleLoss)
  const reign = reignOf(node, candidate, trail, reason)
  const take = transactions.take(leadership, sync, old, reign, view)
  return become(
    node,
    { phase: 'taking', trail, candidate, reason, leadership, sync, reign, asked: take },
    { kind: 'transact', transaction: take },
  )
}

/** With the very copy that was appointed. Who led before by a switchover is not out: it has closed and gives up by itself. */
function accepting(node: Node, { trail: before, candidate }: Ready, event: Event): Step | undefined {
  const appointment = appointmentOf(node, event)
  if (appointment?.disk !== candidate.disk) return undefined
  const view = node.view!
  const { how, order, from } = appointment
  const appointed = { ...candidate, epochSeen: view.epoch }
  const stood = among(ordered(before, how, order), view, node.config.node, appointed)
  const trail = passed(node, stood, event, 'chosen')
  const leadership = leadershipOf(node, appointed)
  const sync =
    from === null
      ? inherited(view, leadership, appointed, appointment.possibleLoss)
      : { ...syncOf(leadership), standby: from }
  const reign = reignOf(node, appointed, trail, appointment)
  const old = how === 'switchover' ? undefined : view.reigns.get(view.epoch)?.node
  const accept = transactions.accept(leadership, sync, old, reign, appointment)
  return become(
    { ...node, blocked: undefined },
    {
      phase: 'taking',
      trail,
      candidate: appointed,
      reason: appointment,
      leadership,
      sync,
      reign,
      asked: accept,
    },
    { kind: 'transact', transaction: accept },
  )
}

const leadershipOf = ({ config }: Node, { disk, epochSeen }: Candidate): Leadership => ({
  node: config.node,
  disk,
  epoch: epochSeen + 1,
  timeline: 0,
})

const reignOf = (node: Node, candidate: Candidate, { how }: Trail, reason: Reason): Reign => ({
  node: node.config.node,
  how,
  timeline: 0,
  above: begun(node.view, candidate),
  because: reason.because,
  possibleLoss: reason.possibleLoss,
})

/** The highest timeline that anybody may have begun: of two that are numbered alike nobody could tell what they hold. */
const begun = (view: View | undefined, { timeline }: Candidate): number =>
  Math.max(timeline, ...[...(view?.reigns.values() ?? [])].map(({ above }) => above + 1))

const syncOf = ({ node, disk, epoch }: Leadership) => ({ epoch, change: 0, leader: copyOf(node, disk) })

/**
 * Who has every acknowledged write until the new Leader names somebody: itself, and who had the duty before, or else one
 * that stands with the same. Otherwise two Leaders that end before they name anybody would leave a store that asks for two
 * that are out, and one that cannot be promoted would be the only one that may be.
 */
function inherited(
  { sync, candidates, evicted }: View,
  leadership: Leadership,
  own: Candidate,
  possibleLoss: boolean,
): SyncDuty {
  const next = syncOf(leadership)
  const kept = possibleLoss || sync?.standby === next.leader ? null : (sync?.standby ?? null)
  const isEqual = ([node, { epochSeen, timeline, received }]: [string, Candidate]): boolean =>
    node !== leadership.node &&
    !evicted.has(node) &&
    epochSeen === own.epochSeen &&
    timeline === own.timeline &&
    received >= own.received
  const equal = [...candidates].find(isEqual)
  const standby: Copy | null = kept ?? (equal === undefined ? null : copyOf(equal[0], equal[1].disk))
  return { ...next, standby }
}

/** A leadership that was taken unheard is given back: nobody knows when its lease began. */
export function taken(node: Node, role: In<'taking'>, event: Event): Step {
  if (event.kind !== 'transacted' || event.transaction !== role.asked) return stay(node)
  const { leadership } = role
  if (event.ok === undefined) {
    const [next] = standAgain(node, role, event)
    return [next, [{ kind: 'transact', transaction: transactions.resign(leadership) }]]
  }
  if (!event.ok) return standAgain(node, role, event)
  return promoting(node, { ...role, trail: passed(node, role.trail, event, 'taken') }, event)
}
