// The table: every phase and what becomes of every event in it. A phase's own file says how.
import { unreachable } from '#shared/base/assert.ts'
import type { View } from '../coordination/keys.ts'
import { attending, chosen, followed, frozen, locked, taken, triggered, waited } from './election.ts'
import { evict, evicted, evictionOf } from './evicted.ts'
import { fenced, lead } from './leader.ts'
import { after } from './lease.ts'
import { stay } from './phase.ts'
import { isSilent } from './switchover.ts'
import type { Config, Effect, Event, Node, Step } from './types.ts'

export const begin = (config: Config): Node => ({
  config,
  role: { phase: 'standby', leader: undefined },
  view: undefined,
  own: undefined,
  nodeLeaseSentAt: undefined,
  calendar: undefined,
  failures: undefined,
  blocked: undefined,
})

/** What every phase hears of; then the phase's own. */
export function step(node: Node, event: Event): Step {
  const [heard, kept] = hear(node, event)
  const isOut = heard.role.phase !== 'evicted' && evictionOf(heard) !== undefined
  const [next, effects] = isOut ? evict(heard, event) : inPhase(heard, event)
  return [next, [...kept, ...effects]]
}

/** Facts are kept, and the node's own lease is renewed, whatever the phase. */
function hear(node: Node, event: Event): Step {
  const { config } = node
  switch (event.kind) {
    case 'viewed':
      return [{ ...node, view: newer(node.view, event.view) }, []]
    case 'probed':
      return [{ ...node, own: event.own }, []]
    case 'tick': {
      const { wall, at } = event
      const effects: Effect[] = [{ kind: 'probe', silent: isSilent(node) }]
      const told = { ...node, calendar: { wall, at } }
      const due = node.nodeLeaseSentAt === undefined || at >= after(node.nodeLeaseSentAt, config.renewEveryMs)
      if (!due) return [told, effects]
      effects.push({ kind: 'renew', lease: 'node' })
      return [{ ...told, nodeLeaseSentAt: at }, effects]
    }
    default:
      return [node, []]
  }
}

const newer = (held: View | undefined, view: View): View =>
  held === undefined || view.revision >= held.revision ? view : held

function inPhase(node: Node, event: Event): Step {
  const { role } = node
  switch (role.phase) {
    case 'standby':
      return standby(node, event)
    case 'waiting':
      return event.kind === 'viewed' || event.kind === 'tick'
        ? (followed(node) ?? waited(node, role, event))
        : stay(node)
    case 'freezing':
      return event.kind === 'frozen' && event.asked === role.asked
        ? frozen(node, role, event)
        : (whenHeard(node, event, followed) ?? stay(node))
    case 'standing':
      return (
        whenHeard(node, event, followed) ?? (event.kind === 'tick' ? chosen(node, role, event) : stay(node))
      )
    case 'locking':
      return locked(node, role, event)
    case 'taking':
      return taken(node, role, event)
    case 'leading':
      return lead(node, role, event)
    case 'fenced':
      return fenced(node, role, event)
    case 'evicted':
      return evicted(node, role, event)
    default:
      return unreachable(role)
  }
}

function standby(node: Node, event: Event): Step {
  // It is told again whom to follow.
  if (event.kind === 'stopped') return [{ ...node, role: { phase: 'standby', leader: undefined } }, []]
  if (event.kind !== 'viewed' && event.kind !== 'tick') return stay(node)
  const [next, effects] = followed(node) ?? triggered(node, event)
  return [next, [...effects, ...attending(node, event)]]
}

const whenHeard = (node: Node, event: Event, then: (node: Node) => Step | undefined): Step | undefined =>
  event.kind === 'viewed' ? then(node) : undefined
