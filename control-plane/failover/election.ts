// From a lost Leader to the next one (cluster 7.4, 0–7): trigger, backoff, freeze, stand, choose, lock, take.
import {
  type Candidate,
  copyOf,
  type Leadership,
  type Reason,
  type SyncDuty,
  transactions,
  type View,
} from '../coordination/keys.ts'
import { choose } from './choose.ts'
import { promoting } from './leader.ts'
import { after } from './lease.ts'
import type { Effect, Event, Node, Role, Step } from './types.ts'

type In<P extends Role['phase']> = Extract<Role, { phase: P }>
type On<K extends Event['kind']> = Extract<Event, { kind: K }>

const stay = (node: Node): Step => [node, []]
const become = (node: Node, role: Role, ...effects: readonly Effect[]): Step => [{ ...node, role }, effects]

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

/** Nobody leads: go on alone if this node may (cluster 7.4, 0–2). */
export function triggered(node: Node, event: Event): Step {
  const { own, config } = node
  if (!mayStand(node)) return attended(node, event)
  if (own!.receiving) return become(node, { phase: 'waiting', until: after(event.at, config.raceBackoffMs) })
  return freezing(node, event)
}

const freezing = (node: Node, { at }: Event): Step =>
  become(node, { phase: 'freezing', asked: at }, { kind: 'freeze', asked: at })

/** Seen by the others, so that they wait for it. */
function attended(node: Node, event: Event): Step {
  const { view, config } = node
  if (event.kind !== 'tick' || view === undefined || view.present.has(config.node)) return stay(node)
  return [node, [{ kind: 'transact', transaction: transactions.attend(config.node) }]]
}

function mayStand({ view, own, config }: Node): boolean {
  const member = config.members.find(({ name }) => name === config.node)
  return (
    view !== undefined &&
    view.leader === undefined &&
    !view.paused &&
    own?.well === true &&
    member?.dr === false &&
    view.present.has(config.node)
  )
}

export function waited(node: Node, { until }: In<'waiting'>, event: Event): Step {
  if (!mayStand(node)) return become(node, { phase: 'standby', leader: undefined })
  return event.at < until ? stay(node) : freezing(node, event)
}

/** From here the old Leader gets no acknowledgement from this node (cluster 7.4, 3). */
export function frozen(node: Node, event: On<'frozen'>): Step {
  const { view, config } = node
  const { disk, timeline, received } = event
  const candidate = { epochSeen: view?.epoch ?? 0, disk, timeline, received }
  return become(
    node,
    { phase: 'standing', candidate, since: event.at, until: after(event.at, config.electionWindowMs) },
    // With a Leader there it would be refused, or come when this node has followed him and has more.
    ...(view?.leader === undefined
      ? [{ kind: 'transact', transaction: transactions.stand(config.node, candidate) } as const]
      : []),
  )
}

/** All that are alive have stood, or were waited for long enough (cluster 7.4, 4–6). */
export function chosen(node: Node, role: In<'standing'>, event: On<'tick'>): Step {
  const { view, config } = node
  if (event.at < role.until || view === undefined || view.leader !== undefined) return stay(node)
  const { candidate } = role
  if (view.promotion !== undefined) {
    // The lock was given, and the answer was not heard.
    const { node: holder, disk, nextEpoch } = view.promotion
    const mine = holder === config.node && disk === candidate.disk && nextEpoch === candidate.epochSeen + 1
    if (mine) return taking(node, candidate, view.promotion)
    const unlock: Effect = { kind: 'transact', transaction: transactions.unlock(view.promotion) }
    return [node, holder === config.node ? [unlock] : []]
  }
  const again = after(event.at, config.electionWindowMs)
  // The store let a round pass without this node, or knows what it had before, or the epoch is another: it stands again.
  if (!stands(view, config.node, candidate)) {
    const renewed = { ...candidate, epochSeen: view.epoch }
    return become(
      node,
      { ...role, candidate: renewed, until: again },
      { kind: 'transact', transaction: transactions.stand(config.node, renewed) },
    )
  }
  const expected = config.members.filter(
    ({ name, dr }) => !dr && view.present.has(name) && !view.evicted.has(name),
  )
  const missing = expected.some(({ name }) => view.candidates.get(name)?.epochSeen !== view.epoch)
  if (missing && event.at < after(role.since, 3 * config.electionWindowMs)) return stay(node)
  const choice = choose(view, config)
  if (choice.winner !== config.node)
    return become(
      { ...node, blocked: choice.winner === undefined ? choice.because : undefined },
      { ...role, until: again },
    )
  const lock = transactions.lock(config.node, candidate, choice)
  return become(
    { ...node, blocked: undefined },
    { phase: 'locking', candidate, reason: choice, asked: lock },
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

const standAgain = (node: Node, candidate: Candidate, event: Event): Step =>
  become(node, {
    phase: 'standing',
    candidate,
    since: event.at,
    until: after(event.at, node.config.electionWindowMs),
  })

/** Every transaction is answered, if only with nobody's knowing: none is waited for by a clock. */
export function locked(node: Node, { candidate, reason, asked }: In<'locking'>, event: Event): Step {
  if (event.kind !== 'transacted' || event.transaction !== asked) return stay(node)
  return event.ok === true ? taking(node, candidate, reason) : standAgain(node, candidate, event)
}

function taking(node: Node, candidate: Candidate, { because, possibleLoss }: Reason): Step {
  const { config, view } = node
  const reason = { because, possibleLoss }
  const old = view?.reigns.get(candidate.epochSeen)?.node
  const leadership = {
    node: config.node,
    disk: candidate.disk,
    epoch: candidate.epochSeen + 1,
    timeline: 0,
  }
  const sync = inherited(view?.sync, leadership, possibleLoss)
  const reign = { node: config.node, timeline: 0, above: begun(view, candidate), ...reason }
  const take = transactions.take(leadership, sync, old, reign)
  return become(
    node,
    { phase: 'taking', candidate, reason, leadership, sync, reign, asked: take },
    { kind: 'transact', transaction: take },
  )
}

/** The highest timeline that anybody may have begun: of two that are numbered alike nobody could tell what they hold. */
const begun = (view: View | undefined, { timeline }: Candidate): number =>
  Math.max(timeline, ...[...(view?.reigns.values() ?? [])].map(({ above }) => above + 1))

/**
 * Who has every acknowledged write until the new Leader names somebody: itself, and who had the duty before. Otherwise
 * two Leaders that end before they name anybody would leave a store that asks for two that are out.
 */
function inherited(
  sync: SyncDuty | undefined,
  { node, disk, epoch }: Leadership,
  possibleLoss: boolean,
): SyncDuty {
  const leader = copyOf(node, disk)
  const kept = possibleLoss || sync?.standby === leader ? null : (sync?.standby ?? null)
  return { epoch, change: 0, leader, standby: kept }
}

/** A leadership that was taken unheard is left to lapse: nobody knows when its lease began. */
export function taken(node: Node, role: In<'taking'>, event: Event): Step {
  if (event.kind !== 'transacted' || event.transaction !== role.asked) return stay(node)
  return event.ok === true ? promoting(node, role, event) : standAgain(node, role.candidate, event)
}
