// The permanent record of a failover (cluster 7.4, 13), made while its steps are passed through: who, why, from which
// candidates, and when.
import { jsonInstant } from '#shared/base/time.ts'
import type { Candidate, View } from '../coordination/keys.ts'
import type { FailoverRecord, FailoverTimes, How, Order } from '../coordination/orders.ts'
import { wallAt } from './calendar.ts'
import type { In } from './phase.ts'
import type { Event, Node, Trail } from './types.ts'

const never: FailoverTimes = {
  triggered: null,
  frozen: null,
  chosen: null,
  taken: null,
  promoted: null,
  opened: null,
}

const instantOf = (node: Node, event: Event): string | null => {
  const at = wallAt(node, event)
  return at === undefined ? null : jsonInstant(at)
}

/** Nobody leads, and this node is about to do something about it. */
export function trailFrom(node: Node, event: Event): Trail {
  const old = oldOf(node.view)
  const times = { ...never, triggered: instantOf(node, event) }
  return { how: 'election', trigger: triggerOf(old), order: null, old, candidates: [], times }
}

/** The same, when it is an operator's will. */
export const ordered = (trail: Trail, how: How, order: Order): Trail => ({
  ...trail,
  how,
  order,
  trigger: `${order.by} ordered it: ${order.why}`,
})

export const passed = (
  node: Node,
  trail: Trail,
  event: Event,
  step: Exclude<keyof FailoverTimes, 'triggered'>,
): Trail => ({ ...trail, times: { ...trail.times, [step]: instantOf(node, event) } })

/** Of all that stood in this epoch, and of the one that is chosen. Others may have tried since it was triggered. */
export const among = (trail: Trail, view: View, own: string, candidate: Candidate): Trail => ({
  ...trail,
  old: oldOf(view),
  trigger: trail.how === 'election' ? triggerOf(oldOf(view)) : trail.trigger,
  candidates: [...new Map([...view.candidates, [own, candidate]])]
    .filter(([, { epochSeen }]) => epochSeen === view.epoch)
    .map(([node, stood]) => ({ node, ...stood })),
})

const oldOf = (view: View | undefined): string | null => view?.reigns.get(view.epoch)?.node ?? null

const triggerOf = (old: string | null): string => (old === null ? 'nobody ever led' : `${old} leads no more`)

/** Of a leadership that opens. */
export function recordOf({ leadership, reign, trail }: In<'leading'>): FailoverRecord {
  const { node, disk, epoch, timeline } = leadership
  const { because, possibleLoss, fork } = reign
  return {
    epoch,
    how: trail.how,
    trigger: trail.trigger,
    order: trail.order,
    because,
    possibleLoss,
    leader: { node, disk, timeline },
    old: trail.old,
    fork: fork ?? null,
    candidates: trail.candidates,
    times: trail.times,
  }
}

/** Its one form in bytes, to be signed: members in the order of their names, no space (as RFC 8785 has it for such values). */
export const textOf = (record: FailoverRecord): string => JSON.stringify(inOrder(record))

function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inOrder)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, inOrder(member)]),
  )
}
