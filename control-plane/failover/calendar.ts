// What is over at some hour of the calendar, and what keeps a cluster from an election until then (cluster 2). Nothing that
// must never happen depends on it: calendars differ.
import { jsonInstant, type Wall, wall } from '#shared/base/time.ts'
import type { Event, Node } from './types.ts'

/** Undefined before the first tick. */
export const wallAt = ({ calendar }: Node, { at }: Pick<Event, 'at'>): Wall | undefined =>
  calendar && wall(calendar.wall + Math.round(at - calendar.at))

export const isOver = (until: Wall, node: Node, event: Pick<Event, 'at'>): boolean =>
  (wallAt(node, event) ?? Number.NEGATIVE_INFINITY) >= until

/** As of the last tick. */
export const isPaused = ({ view, calendar }: Node): boolean =>
  view?.pause !== undefined && (calendar === undefined || calendar.wall < view.pause.until)

/** Why nobody is to stand, if there is a reason. Who leads goes on. */
export function heldBack(node: Node, event: Pick<Event, 'at'>): string | undefined {
  const { pause, appointment } = node.view ?? {}
  if (pause !== undefined && !isOver(pause.until, node, event))
    return `${pause.by} has paused automatic failover until ${jsonInstant(pause.until)}: ${pause.why}`
  if (appointment !== undefined && (appointment.until === null || !isOver(appointment.until, node, event)))
    return `${appointment.node} was appointed by ${appointment.order.by} and has not taken the leadership yet`
  return undefined
}
