// What a node of a cluster says of the cluster and of its part in it (cluster 9): pure, from what the supervisor tells and
// what its own Postgres says.
import type { Health } from '#shared/api/node.ts'
import type { Json } from '#shared/base/json.ts'
import { hasRoom } from '#shared/base/space.ts'
import type { Monotonic } from '#shared/base/time.ts'
import { nodeOf } from './coordination/keys.ts'
import type { LocalFacts } from './local-facts.ts'
import type { NodeStatus } from './node-link.ts'
import type { Replica, ReplicationFacts } from './postgres/replication.ts'

export type ClusterFacts = LocalFacts & {
  /** Name of the cluster. */
  readonly cluster: string
  readonly node: string
  /** Undefined until the supervisor has told. */
  readonly status: NodeStatus | undefined
  /** Of the clock that the supervisor's times are of. */
  readonly now: Monotonic
}

const QUORUM_MS = 2_000

/** Only a majority of the store answers reads, so one that was answered just now says that there is one. */
const hasQuorum = ({ status, now }: ClusterFacts): boolean =>
  status !== undefined && status.storeHeardAt !== null && now - status.storeHeardAt < QUORUM_MS

type Words = { readonly status: string; readonly message: (status: NodeStatus) => string }

const election: Words = { status: 'electing', message: () => 'nobody leads; an election is under way' }
const opening: Words = { status: 'promoting', message: () => 'chosen, and about to lead' }
const words: Readonly<Record<NodeStatus['phase'], Words>> = {
  standby: {
    status: 'running',
    message: ({ leader }) => (leader === null ? 'nobody leads' : `follows ${leader}`),
  },
  waiting: { status: 'electing', message: () => 'nobody leads, but log still comes from who did' },
  freezing: election,
  standing: election,
  locking: election,
  taking: election,
  promoting: opening,
  raising: opening,
  naming: opening,
  open: { status: 'running', message: () => 'leader' },
  fenced: {
    status: 'fenced',
    message: ({ why }) => (why === null ? 'leads no more' : `leads no more: ${why}`),
  },
  evicted: {
    status: 'evicted',
    message: () => 'removed from the cluster, until an operator lets this node in again',
  },
}

/** Names of those that stream from here. */
const streaming = ({ replication }: ClusterFacts): ReadonlySet<string> =>
  new Set(replication?.replicas.filter(({ state }) => state === 'streaming').map(nodeOfReplica))

/** A Standby streams under the name of its copy; others, such as a base copy, under any. */
const nodeOfReplica = ({ application_name: name }: Replica): string =>
  name.includes('#') ? nodeOf(name) : name

/** Why a Leader that serves is less than it should be; nothing: it is not. */
export function shortcomings(facts: ClusterFacts): string[] {
  const { status, replication } = facts
  if (status === undefined) return ['the supervisor has told nothing yet']
  const there = streaming(facts)
  const missing = status.standbys.filter((name) => !there.has(name))
  return [
    ...(hasQuorum(facts) ? [] : ['the coordination store does not answer']),
    ...(status.sync === null ? ['no Standby is synchronous'] : []),
    ...(replication === undefined ? ['Postgres does not say who streams from it'] : []),
    ...(replication !== undefined && missing.length > 0 ? [`does not stream: ${missing.join(', ')}`] : []),
    ...(status.standbys.length < ADVISED_STANDBYS ? ['fewer than two Standbys could take over'] : []),
  ]
}

/** With one Standby less a cluster still has one that can take over (cluster 1). */
const ADVISED_STANDBYS = 2

/** `serving`: of a Leader. */
export function clusterHealth(facts: ClusterFacts, serving: boolean): { [key: string]: Json } {
  const { cluster, status } = facts
  const quorum = hasQuorum(facts)
  if (status === undefined) {
    return { ok: false, status: 'starting', message: shortcomings(facts)[0]!, name: cluster, quorum }
  }
  const shown = words[status.phase]
  const follows = status.phase === 'standby' && status.leader !== null
  const receiving = facts.replication?.receiving === true
  const faults = serving ? shortcomings(facts) : []
  return {
    ok: quorum && (serving || (follows && receiving)),
    status: follows && !receiving ? 'syncing' : shown.status,
    message: [shown.message(status), ...faults].join('; '),
    name: cluster,
    epoch: status.epoch,
    leader: status.leader,
    members: status.members,
    quorum,
    sync_standby: status.sync,
    failover_blocked: blockedBy(status, quorum),
    paused: status.paused,
  }
}

/** Why nobody would be promoted if the Leader were lost now (cluster 7.4, 5). */
function blockedBy(status: NodeStatus, quorum: boolean): string | null {
  if (status.blocked !== null) return status.blocked
  if (status.paused) return 'failover is paused'
  if (!quorum) return 'the coordination store does not answer'
  const leads = status.phase === 'open'
  return leads && status.sync === null
    ? 'no Standby is synchronous: only this node has the last writes'
    : null
}

/** `next`: who becomes synchronous when the present one is lost. */
export function replicationStatus(
  replication: ReplicationFacts | undefined,
  next: string | null,
): { [key: string]: Json } {
  if (replication === undefined) return { pg_stat_replication: [] }
  const { recovering, replicas, end, endBytes } = replication
  const place = recovering ? 'pg_last_xlog_replay_location' : 'pg_current_xlog_location'
  return {
    pg_stat_replication: replicas.map((replica) => {
      const node = nodeOfReplica(replica)
      return { ...replica, node, ...(node === next ? { sync_candidate: true } : {}) }
    }),
    [place]: end,
    [`${place}_bytes`]: endBytes,
  }
}

/** Of a node that does not lead: `ok` when it is a Standby that could take over, or a DR Standby that follows. */
export function standbyHealth(facts: ClusterFacts): Health {
  const { status, replication, space } = facts
  const cluster = clusterHealth(facts, false)
  const databaseOk = replication !== undefined && space !== undefined && hasRoom(space)
  const ok = cluster.ok === true && databaseOk && replication.recovering
  const body = {
    ok,
    degraded: !ok,
    role: 'standby',
    dr: status?.dr ?? false,
    services: {
      possum: 'disabled',
      replication: replication?.receiving === true ? 'ok' : 'no log comes in',
      ok,
    },
    database: {
      ok: databaseOk,
      connect: { main: replication === undefined ? 'no connection' : 'ok' },
      free_space: space === undefined ? {} : { main: { ...space } },
      replication_status: replicationStatus(replication, null),
      logical_replication_status: { subscriptions: 'followers only', initial_replication_in_progress: false },
    },
    cluster,
  }
  return { ok, body }
}
