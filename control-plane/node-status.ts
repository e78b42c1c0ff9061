// What the supervisor tells the process that answers clients, read from what the machine knows.
import type { Monotonic } from '#shared/base/time.ts'
import { nodeOf } from './coordination/keys.ts'
import { isPaused } from './failover/calendar.ts'
import { nextOf } from './failover/duty.ts'
import type { Node } from './failover/types.ts'
import type { NodeStatus } from './node-link.ts'

export function statusOf(node: Node, storeHeardAt: Monotonic | undefined): NodeStatus {
  const { role, view, config, blocked } = node
  const sync = view?.sync?.standby ?? undefined
  const next = role.phase === 'leading' ? nextOf(node, sync) : undefined
  const others = config.members.filter(({ name }) => name !== config.node)
  return {
    phase: role.phase === 'leading' ? role.stage : role.phase,
    epoch: view?.epoch ?? 0,
    leader: view?.leader?.node ?? null,
    sync: sync === undefined ? null : nodeOf(sync),
    next: next === undefined ? null : nodeOf(next),
    members: config.members.length,
    standbys: others.filter(({ name, dr }) => !dr && !view?.evicted.has(name)).map(({ name }) => name),
    dr: config.members.some(({ name, dr }) => dr && name === config.node),
    paused: isPaused(node),
    blocked: (role.phase === 'evicted' ? role.waits : blocked) ?? null,
    why: role.phase === 'fenced' ? role.why : null,
    storeHeardAt: storeHeardAt ?? null,
  }
}
