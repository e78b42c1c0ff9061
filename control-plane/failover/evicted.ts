// Out of the cluster (cluster 7.4, 7; 8, I11): closed and frozen. It lets itself in again where that is provably harmless,
// because all that it holds is a beginning of the Leader's log; otherwise it says why not, and waits for an operator.
import { type Leadership, type Reign, type Transaction, transactions } from '../coordination/keys.ts'
import type { Eviction } from '../coordination/orders.ts'
import type { Held } from './hands.ts'
import { become, type In, stay } from './phase.ts'
import type { Event, Node, Step } from './types.ts'

export const evictionOf = ({ config, view }: Node): Eviction | undefined => view?.evicted.get(config.node)

/** From any other phase. What it led is over, and there is nothing to give back. */
export function evict(node: Node, event: Event): Step {
  const { role } = node
  const told = { ...node, blocked: undefined }
  if (role.phase !== 'leading')
    return become(told, { ...out, closing: role.phase === 'fenced' ? role.closing : undefined })
  const why = 'this node was removed from the cluster'
  return become(
    told,
    { ...out, closing: event.at },
    { kind: 'close', why, asked: event.at },
    { kind: 'demote' },
  )
}

const out: In<'evicted'> = {
  phase: 'evicted',
  closing: undefined,
  asked: undefined,
  held: undefined,
  asking: undefined,
  waits: undefined,
}

export function evicted(node: Node, role: In<'evicted'>, event: Event): Step {
  if (evictionOf(node) === undefined) return become(node, { phase: 'standby', leader: undefined })
  switch (event.kind) {
    case 'tick':
      if (role.asked === undefined)
        return become(node, { ...role, asked: event.at }, { kind: 'freeze', asked: event.at })
      return judged(node, role)
    case 'frozen': {
      const { disk, timeline, received } = event
      return event.asked === role.asked
        ? become(node, { ...role, held: { disk, timeline, received } })
        : stay(node)
    }
    case 'transacted':
      return event.transaction === role.asking ? become(node, { ...role, asking: undefined }) : stay(node)
    case 'closed':
      return event.asked === role.closing ? become(node, { ...role, closing: undefined }) : stay(node)
    case 'stopped':
      return become(node, { ...out, closing: role.closing })
    default:
      return stay(node)
  }
}

function judged(node: Node, role: In<'evicted'>): Step {
  const { view, config } = node
  const [leader, eviction] = [view!.leader, evictionOf(node)!]
  const { held, closing, asking } = role
  if (held === undefined || closing !== undefined || asking !== undefined) return stay(node)
  if (leader === undefined || leader.timeline === 0) return stay(node)
  const waits = eviction.by === undefined ? differs(held, leader, view!.reigns) : removedBy(eviction.by)
  const ask = (transaction: Transaction): Step =>
    become(node, { ...role, waits, asking: transaction }, { kind: 'transact', transaction })
  if (waits === undefined) return ask(transactions.rejoin(config.node, eviction, leader))
  const said = view!.present.get(config.node)?.reason
  return said === waits
    ? become(node, { ...role, waits })
    : ask(transactions.report(config.node, eviction, waits))
}

const removedBy = (by: string): string =>
  `waiting for the operator: ${by} removed this node, and "cluster rejoin" lets it in again`

/**
 * Why what is held may be another history than the Leader's; undefined: it is a beginning of it. A timeline is begun once,
 * so of two logs that end on the same one the shorter is a beginning of the longer. So it is enough to go back from the
 * Leader's timeline to the one that is held: up to where it was left all of them are the same.
 */
function differs(
  { timeline, received }: Held,
  leader: Leadership,
  reigns: ReadonlyMap<number, Reign>,
): string | undefined {
  const forks = new Map([...reigns.values()].map((reign) => [reign.timeline, reign.fork]))
  const waiting = `waiting for the operator, whose "cluster rejoin" copies it anew: this node has log up to ${received} of timeline ${timeline}, and`
  let [on, limit] = [leader.timeline, Number.POSITIVE_INFINITY]
  while (on > timeline) {
    const fork = forks.get(on)
    if (fork === undefined) return `${waiting} where timeline ${on} begins is not recorded`
    ;[on, limit] = [fork.timeline, fork.at]
  }
  if (on === timeline && received <= limit) return undefined
  return on === timeline
    ? `${waiting} ${leader.node} has that timeline only up to ${limit}`
    : `${waiting} ${leader.node} has nothing of that timeline`
}
