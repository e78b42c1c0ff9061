// Phases and events by their names, and the two ways a step ends.
import type { Effect, Event, Node, Role, Step } from './types.ts'

export type In<P extends Role['phase']> = Extract<Role, { phase: P }>
export type On<K extends Event['kind']> = Extract<Event, { kind: K }>

export const stay = (node: Node): Step => [node, []]

export const become = (node: Node, role: Role, ...effects: readonly Effect[]): Step => [
  { ...node, role },
  effects,
]
