// Health of a Leader that stands alone (cluster 9). Measured in the background, never while asked.
import { statfs } from 'node:fs/promises'
import type { Json } from '#shared/base/json.ts'
import type { Clock } from '#shared/base/time.ts'
import type { Database } from './ledger/connection.ts'
import { outboxWaiting } from './ledger/log.ts'
import type { Head } from './ledger/storing.ts'
import type { FollowerStatus } from './publish/publisher.ts'

export type LeaderMeasured = {
  readonly main: string
  readonly audit: string
  readonly freeKbytes: number
  readonly freeInodes: number
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
  readonly report: (error: unknown) => void
}

const REFRESH_MS = 500

/** Measures until the signal is aborted; `report` answers at once from the newest measurement. */
export async function startHealth(
  options: LeaderHealthOptions,
  signal: AbortSignal,
): Promise<{ report: () => { ok: boolean; body: Json } }> {
  let measured = await measure(options)
  void (async () => {
    while (!signal.aborted) {
      await options.clock.sleep(REFRESH_MS, signal)
      if (signal.aborted) return
      // The last figures stand until there are new ones: a disk that does not answer must not end the Leader.
      measured = await measure(options).catch((error: unknown) => {
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
      }),
  }
}

async function measure({ main, audit, dataDirectory }: LeaderHealthOptions): Promise<LeaderMeasured> {
  const answers = (database: Database): Promise<string> =>
    database.query('SELECT 1').then(
      () => 'ok',
      () => 'no connection',
    )
  const space = await statfs(dataDirectory)
  const mainAnswers = await answers(main)
  return {
    main: mainAnswers,
    audit: await answers(audit),
    freeKbytes: Math.floor((space.bavail * space.bsize) / 1024),
    freeInodes: space.ffree,
    // What a database that is away holds is not known.
    outbox: mainAnswers === 'ok' ? await outboxWaiting(main) : { lines: 0, oldestAt: undefined },
  }
}

export type LeaderFacts = LeaderMeasured & {
  readonly head: Head
  readonly followers: readonly FollowerHealth[]
  readonly auditQueued: number
  readonly now: number
}

export function leaderHealth(m: LeaderFacts): { ok: boolean; body: Json } {
  const hasSpace = m.freeKbytes > 0 && m.freeInodes > 0
  const ok = m.main === 'ok' && m.audit === 'ok' && hasSpace
  const { position, contentHash } = m.head
  const space = { kbytes: m.freeKbytes, inodes: m.freeInodes }
  const body = {
    ok,
    degraded: false,
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
      free_space: { main: space, audit: space },
      replication_status: { pg_stat_replication: [] },
      logical_replication_status: { subscriptions: 'followers only', initial_replication_in_progress: false },
    },
    replication: { epoch: position.epoch, seq: position.seq, age_ms: 0, content_hash: contentHash },
    followers: m.followers.map((follower) => ({ ...follower })),
    // Nothing takes this node's place when it is lost: said here, so that nobody believes otherwise.
    cluster: {
      ok: true,
      status: 'standalone',
      message: 'one node, no failover',
      epoch: position.epoch,
      members: 1,
    },
    audit: {
      ok: m.audit === 'ok',
      queued: m.auditQueued,
      oldest_ms: m.outbox.oldestAt === undefined ? 0 : Math.max(0, m.now - m.outbox.oldestAt),
    },
  }
  return { ok, body }
}
