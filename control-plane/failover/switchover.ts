// An operator's order to hand over (cluster 8): the target gets the sync duty and is level, writes are drained, this node
// closes and gives the leadership to that very copy. What goes wrong ends the order, with the reason, and writes go on.
import { jsonInstant } from '#shared/base/time.ts'
import {
  type Copy,
  copyOf,
  diskOf,
  nodeOf,
  type Reason,
  type Transaction,
  transactions,
} from '../coordination/keys.ts'
import type { Appointment, Switchover } from '../coordination/orders.ts'
import { isOver } from './calendar.ts'
import { has, isLevel } from './duty.ts'
import { after } from './lease.ts'
import type { In } from './phase.ts'
import type { Effect, Event, Handing, Node } from './types.ts'

/** Until the target has the duty and is level, and again until it is when nothing is written any more. */
const LEVEL_MS = 5_000
/** For the writes in flight. */
const DRAIN_MS = 2_000
/** For the target to freeze and to take what it is given. */
const TAKE_MS = 3_000

type Leading = In<'leading'>
type At<A extends Handing['at']> = Extract<Handing, { at: A }>

/** `lost`: this node leads no more. */
export type Handed = {
  readonly role: Leading
  readonly effects: readonly Effect[]
  readonly lost?: boolean
}

const keep = (role: Leading): Handed => ({ role, effects: [] })
const become = (role: Leading, handing: Handing, ...effects: readonly Effect[]): Handed => ({
  role: { ...role, handing },
  effects,
})
const ask = (transaction: Transaction): Effect => ({ kind: 'transact', transaction })

/** From here the duty stays as it is: it is a condition of what is given. */
export function isDutyKept({ handing }: Leading): boolean {
  if (handing === undefined || handing.at === 'preparing') return false
  return handing.at !== 'abandoning' || handing.api !== 'open'
}

/**
 * Nothing is written any more: what one Standby got and the target did not would part their logs. Nor by who does not lead:
 * one that has handed over is not in recovery at once, and the other Standbys still hear it.
 */
export function isSilent({ role }: Node): boolean {
  if (role.phase !== 'leading') return true
  const at = role.handing?.at
  return at === 'closing' || at === 'levelling' || at === 'giving' || at === 'given'
}

/** Who is to have the sync duty, if it is another one. */
export function wished({ own }: Node, { handing }: Leading): Copy | undefined {
  const target = handing?.at === 'preparing' ? handing.order.target : null
  return target === null
    ? undefined
    : [...(own?.replicas.keys() ?? [])].find((copy) => nodeOf(copy) === target)
}

/** While it serves. `before`: its role before this event. */
export function prepared(node: Node, before: Leading, role: Leading, event: Event): Handed {
  const { handing } = role
  if (handing === undefined) return begun(node, role, event)
  if (handing.at === 'abandoning') return abandoned(role, handing, event)
  if (handing.at !== 'preparing') return keep(role)
  const { order, until } = handing
  const { duty, published } = role
  const to = duty.kind === 'held' && published.standby === duty.by ? duty.by : undefined
  const isTarget = to !== undefined && (order.target === null || nodeOf(to) === order.target)
  if (event.kind === 'probed' && isTarget && isLevel(node, before.duty))
    return become(
      role,
      { at: 'draining', order, to, asked: event.at, until: after(event.at, DRAIN_MS) },
      { kind: 'drain', asked: event.at },
    )
  if (event.at < until) return keep(role)
  return abandon(
    role,
    order,
    `${order.target ?? 'a Standby'} had not the sync duty, or was not level, after ${LEVEL_MS / 1_000} s`,
    'open',
  )
}

function begun(node: Node, role: Leading, event: Event): Handed {
  const order = node.view?.switchover
  if (order === undefined || order.id === role.lastOrder) return keep(role)
  const why = impossible(node, role, order, event)
  if (why !== undefined) return abandon(role, order, why, 'open')
  return become(role, { at: 'preparing', order, until: after(event.at, LEVEL_MS) })
}

function impossible(
  node: Node,
  { leadership }: Leading,
  order: Switchover,
  event: Event,
): string | undefined {
  const { config, view } = node
  const { target, epoch, until } = order
  if (epoch !== leadership.epoch)
    return `it was for the Leader of epoch ${epoch}, and this is ${leadership.epoch}`
  if (isOver(until, node, event)) return `it was to be done before ${jsonInstant(until)}`
  if (target === null) return undefined
  const member = config.members.find(({ name }) => name === target)
  if (member === undefined) return `${target} is no member of the cluster`
  if (member.dr) return `${target} is a DR Standby, which is promoted by hand only`
  if (target === config.node) return `${target} leads already`
  return view?.evicted.has(target) === true ? `${target} was removed from the cluster` : undefined
}

/** When nothing is begun any more: drain, close, level, give (cluster 8, 2–3). */
export function handing(node: Node, role: Leading, event: Event): Handed {
  const { handing: now } = role
  switch (now?.at) {
    case 'draining':
      return drained(role, now, event)
    case 'closing':
      if (event.kind === 'closed' && event.asked === now.asked)
        return become(role, { ...now, at: 'levelling', mark: undefined })
      return inTime(role, now, event, 'this node could not be closed')
    case 'levelling':
      return levelled(node, role, now, event)
    case 'giving':
      return giving(role, now, event)
    case 'given':
      return given(role, now, event)
    case 'reclaiming':
      return reclaimed(role, now, event)
    case 'abandoning':
      return abandoned(role, now, event)
    default:
      return keep(role)
  }
}

function drained(role: Leading, now: At<'draining'>, event: Event): Handed {
  const { order, to } = now
  if (event.kind !== 'drained' || event.asked !== now.asked)
    return inTime(role, now, event, `writes were still in flight after ${DRAIN_MS / 1_000} s`)
  return become(
    role,
    { at: 'closing', order, to, asked: event.at, until: after(event.at, LEVEL_MS) },
    { kind: 'close', why: `it hands over to ${nodeOf(to)}`, asked: event.at },
  )
}

function inTime(
  role: Leading,
  { at, order, until }: At<'draining' | 'closing' | 'levelling'>,
  event: Event,
  why: string,
): Handed {
  return event.at < until ? keep(role) : abandon(role, order, why, at === 'draining' ? 'drained' : 'closed')
}

function levelled(node: Node, role: Leading, now: At<'levelling'>, event: Event): Handed {
  const { order, to, mark } = now
  if (event.kind !== 'probed')
    return inTime(role, now, event, `${nodeOf(to)} was not level when all was written`)
  const { end, busy } = event.own
  // Twice the same, with nobody left who could write.
  if (busy) return become(role, { ...now, mark: undefined })
  if (mark?.end !== end) return become(role, { ...now, mark: { end, at: event.at } })
  if (!has(node, to, mark)) return keep(role)
  const appointment = appointmentOf(role, order, to)
  const asked = transactions.handOver(role.leadership, role.published, order, appointment)
  return become(role, { at: 'giving', order, appointment, asked }, ask(asked))
}

function appointmentOf({ leadership }: Leading, order: Switchover, to: Copy): Appointment {
  const { id, by, why, drill } = order
  const reason: Reason = {
    because: `${leadership.node} handed over, as ${by} ordered: ${why}`,
    possibleLoss: false,
  }
  return {
    ...reason,
    node: nodeOf(to),
    disk: diskOf(to),
    nextEpoch: leadership.epoch + 1,
    how: 'switchover',
    order: { id, by, why, drill },
    from: copyOf(leadership.node, leadership.disk),
    until: null,
  }
}

/** What may have been done is asked again until it is known. */
function giving(role: Leading, now: At<'giving'>, event: Event): Handed {
  if (event.kind !== 'transacted' || event.transaction !== now.asked) return keep(role)
  const { order, appointment, asked } = now
  if (event.ok === undefined) return { role, effects: [ask(asked)] }
  return event.ok
    ? become(role, { at: 'given', order, appointment, until: after(event.at, TAKE_MS) })
    : abandon(role, order, 'the store refused it', 'closed')
}

/** Who has taken it is seen by its leadership. */
function given(role: Leading, { order, appointment, until }: At<'given'>, event: Event): Handed {
  if (event.at < until) return keep(role)
  const because = `${appointment.node} did not take the leadership within ${TAKE_MS / 1_000} s`
  const asked = transactions.reclaim(role.leadership, appointment, because)
  return become(role, { at: 'reclaiming', order, asked }, ask(asked))
}

function reclaimed(role: Leading, { order, asked }: At<'reclaiming'>, event: Event): Handed {
  if (event.kind !== 'transacted' || event.transaction !== asked) return keep(role)
  if (event.ok === undefined) return { role, effects: [ask(asked)] }
  return event.ok ? resumed(role, order) : { role, effects: [], lost: true }
}

function abandon(role: Leading, order: Switchover, because: string, api: At<'abandoning'>['api']): Handed {
  const asked = transactions.abandon(role.leadership, order, because)
  return become(role, { at: 'abandoning', order, asked, api }, ask(asked))
}

/** Only the Leader ends his order: refused, he leads no more, or it was one of which an old view told. */
function abandoned(role: Leading, now: At<'abandoning'>, event: Event): Handed {
  if (event.kind !== 'transacted' || event.transaction !== now.asked) return keep(role)
  const { order, asked, api } = now
  if (event.ok === undefined) return { role, effects: [ask(asked)] }
  if (!event.ok && api !== 'open') return { role, effects: [], lost: true }
  if (api === 'open') return keep({ ...role, handing: undefined, lastOrder: order.id })
  const { role: open, effects } = resumed(role, order)
  const why = 'it does not hand over, and begins anew'
  return {
    role: open,
    effects: api === 'drained' ? [{ kind: 'close', why, asked: event.at }, ...effects] : effects,
  }
}

/** It leads as before, in the same epoch: nobody else has. */
function resumed(role: Leading, order: Switchover): Handed {
  const { leadership, deadline } = role
  return {
    role: { ...role, handing: undefined, lastOrder: order.id },
    effects: [
      { kind: 'setDeadline', deadline },
      { kind: 'open', epoch: leadership.epoch },
    ],
  }
}
