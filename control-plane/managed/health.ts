// What a node on a managed Postgres says of itself (cluster 9): it has no data of its own, and no node has a copy.
import type { Health } from '#shared/api/node.ts'
import type { Json } from '#shared/base/json.ts'
import { hasRoom, type Space } from '#shared/base/space.ts'
import type { Monotonic } from '#shared/base/time.ts'
import type { NodeStatus } from '../node-link.ts'

export type ManagedFacts = {
  readonly managed: true
  /** As the nodes on one database are called together. */
  readonly cluster: string
  /** Undefined until the supervisor has told. */
  readonly status: NodeStatus | undefined
  /** Of the clock that the supervisor's times are of. */
  readonly now: Monotonic
  readonly space: Space | undefined
}

/** A node asks for the lease, or renews it, more often than this. */
const HEARD_WITHIN_MS = 10_000

const isHeard = ({ status, now }: ManagedFacts): boolean =>
  status !== undefined && status.storeHeardAt !== null && now - status.storeHeardAt < HEARD_WITHIN_MS

/** Why a Leader that serves is less than it should be; nothing: it is not. */
export const managedShortcomings = (facts: ManagedFacts): string[] =>
  isHeard(facts) ? [] : ['the managed database does not answer for the lease']

const wordsOf = ({ phase, leader, why }: NodeStatus): string => {
  if (phase === 'open') return 'leader'
  if (phase === 'naming') return 'chosen, and about to lead'
  if (phase === 'fenced') return why === null ? 'leads no more' : `leads no more: ${why}`
  return leader === null ? 'nobody leads' : `${leader} leads; this node waits for its lease`
}

export function managedHealth(facts: ManagedFacts): Json {
  const { status, cluster } = facts
  const heard = isHeard(facts)
  return {
    ok: heard && status !== undefined && (status.phase === 'open' || status.leader !== null),
    status: 'managed',
    message: [
      status === undefined ? 'the supervisor has told nothing yet' : wordsOf(status),
      'no physical Standbys: what is committed is kept by the managed database',
      ...managedShortcomings(facts),
    ].join('; '),
    name: cluster,
    epoch: status?.epoch ?? 0,
    leader: status?.leader ?? null,
    physical_standbys: 0,
    durability: 'managed database',
  }
}

/** Of a node that does not lead; well where it could take over. */
export function managedStandbyHealth(facts: ManagedFacts): Health {
  const { status, space } = facts
  const heard = isHeard(facts)
  const room = space !== undefined && hasRoom(space)
  const ok = heard && room && status?.phase === 'standby'
  const body = {
    ok,
    degraded: !ok,
    role: 'standby',
    dr: false,
    services: { possum: 'disabled', replication: 'none: the data is in the managed database', ok },
    database: {
      ok: heard && room,
      connect: { main: heard ? 'ok' : 'no connection' },
      free_space: space === undefined ? {} : { main: { ...space } },
      replication_status: { pg_stat_replication: [] },
      logical_replication_status: { subscriptions: 'followers only', initial_replication_in_progress: false },
    },
    cluster: managedHealth(facts),
  }
  return { ok, body }
}
