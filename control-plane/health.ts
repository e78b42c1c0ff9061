// Health of a Leader (cluster 9), in a cluster or alone. Measured in the background, never while asked.
import type { Health } from '#shared/api/node.ts'
import type { Json } from '#shared/base/json.ts'
import { hasRoom, type Space } from '#shared/base/space.ts'
import type { Clock } from '#shared/base/time.ts'
import { type ClusterFacts, clusterHealth, replicationStatus, shortcomings } from './cluster-health.ts'
import type { Database } from './ledger/connection.ts'
import { outboxWaiting } from './ledger/log.ts'
import type { Head } from './ledger/storing.ts'
import { spaceOf } from './local-facts.ts'
import { type ManagedFacts, managedHealth, managedShortcomings } from './managed/health.ts'
import type { FollowerStatus } from './publish/publisher.ts'

export type LeaderMeasured = {
  readonly main: string
  readonly audit: string
  readonly space: Space
  /** Audit lines of writes that are not in the audit database yet. */
  readonly outbox: { readonly lines: number; readonly oldestAt: number | undefined }
}

/** `audit_queued`: records that wait there; null while its queues are not connected. */
type FollowerHealth = FollowerStatus & { readonly audit_queued: number | null }

export type LeaderHealthOptions = {
  readonly main: Database
  readonly audit: Database
  readonly dataDirectory: string
  readonly clock: Clock
  readonly head: () => Head
  readonly followers: () => readonly FollowerHealth[]
  /** Requests that wait for their audit record. */
  readonly auditQueued: () => number
  /** Undefined: it stands alone. */
  readonly cluster: (() => ClusterFacts | ManagedFacts) | undefined
  readonly report: (error: unknown) => void
}

const REFRESH_MS = 500

/** Measures until the signal is aborted; `report` answers at once from the newest measurement. */
export async function startHealth(
  options: LeaderHealthOptions,
  signal: AbortSignal,
): Promise<{ report: () => Health }> {
  const answers = { main: asker(options.main), audit: asker(options.audit) }
  let measured = await measure(options, answers)
  void (async () => {
    while (!signal.aborted) {
      await options.clock.sleep(REFRESH_MS, signal)
      if (signal.aborted) return
      // The last figures stand until there are new ones: a disk that does not answer must not end the Leader.
      measured = await measure(options, answers).catch((error: unknown) => {
        options.report(error)
        return measured
      })
    }
  })()
  return {
    report: () =>
      leaderHealth({
        ...measured,
        head: options.head(),
        followers: options.followers(),
        auditQueued: options.auditQueued() + measured.outbox.lines,
        now: options.clock.wall(),
        cluster: options.cluster?.(),
      }),
  }
}

type Answers = () => Promise<string>

/** One question at a time, however long a database takes. */
function asker(database: Database): Answers {
  let asked: Promise<string> | undefined
  return () => {
    asked ??= database
      .query('SELECT 1')
      .then(
        () => 'ok',
        () => 'no connection',
      )
      .finally(() => {
        asked = undefined
      })
    return asked
  }
}

/** A database that hangs is not waited for any longer. */
const PATIENCE_MS = 1_000

async function measure(
  { main, dataDirectory, clock }: LeaderHealthOptions,
  answers: { readonly main: Answers; readonly audit: Answers },
): Promise<LeaderMeasured> {
  const over = new AbortController()
  const late = clock.sleep(PATIENCE_MS, over.signal).then(() => `no answer within ${PATIENCE_MS} ms`)
  const [mainAnswers, auditAnswers] = await Promise.all([
    Promise.race([answers.main(), late]),
    Promise.race([answers.audit(), late]),
  ])
  over.abort()
  return {
    main: mainAnswers,
    audit: auditAnswers,
    space: await spaceOf(dataDirectory),
    // What a database that is away holds is not known.
    outbox: mainAnswers === 'ok' ? await outboxWaiting(main) : { lines: 0, oldestAt: undefined },
  }
}

export type LeaderFacts = LeaderMeasured & {
  readonly head: Head
  readonly followers: readonly FollowerHealth[]
  readonly auditQueued: number
  readonly now: number
  readonly cluster: ClusterFacts | ManagedFacts | undefined
}

export function leaderHealth(m: LeaderFacts): Health {
  const hasSpace = hasRoom(m.space)
  const ok = m.main === 'ok' && m.audit === 'ok' && hasSpace
  const { position, contentHash } = m.head
  const around = aroundOf(m.cluster, position.epoch)
  const body = {
    ok,
    degraded: around.faults.length > 0,
    role: 'master',
    services: {
      possum: ok ? 'ok' : hasSpace ? 'database unavailable' : 'the disk is full',
      audit: m.audit,
      replication: 'ok',
      ok,
    },
    database: {
      ok,
      connect: { main: m.main, audit: m.audit },
      free_space: { main: m.space, audit: m.space },
      replication_status: around.replication,
      logical_replication_status: { subscriptions: 'followers only', initial_replication_in_progress: false },
    },
    replication: { epoch: position.epoch, seq: position.seq, age_ms: 0, content_hash: contentHash },
    followers: m.followers.map((follower) => ({ ...follower })),
    cluster: around.cluster,
    audit: {
      ok: m.audit === 'ok',
      queued: m.auditQueued,
      oldest_ms: m.outbox.oldestAt === undefined ? 0 : Math.max(0, m.now - m.outbox.oldestAt),
    },
  }
  return { ok, body }
}

type Around = {
  /** Why it is less than it should be. */
  readonly faults: readonly string[]
  readonly replication: Json
  readonly cluster: Json
}

/** What there is beside the Leader itself. */
function aroundOf(facts: LeaderFacts['cluster'], epoch: number): Around {
  const none = replicationStatus(undefined, null)
  if (facts === undefined) return { faults: [], replication: none, cluster: alone(epoch) }
  if ('managed' in facts)
    return { faults: managedShortcomings(facts), replication: none, cluster: managedHealth(facts) }
  return {
    faults: shortcomings(facts),
    replication: replicationStatus(facts.replication, facts.status?.next ?? null),
    cluster: clusterHealth(facts, true),
  }
}

/** Nothing takes this node's place when it is lost: said here, so that nobody believes otherwise. */
const alone = (epoch: number): Json => ({
  ok: true,
  status: 'standalone',
  message: 'one node, no failover',
  epoch,
  members: 1,
})
