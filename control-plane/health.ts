// Health and info of a Leader that stands alone (cluster 9, 10). Measured in the background, never while asked.
import { statfs } from 'node:fs/promises'
import { API_VERSION } from '#shared/api/routes/status.ts'
import type { Json } from '#shared/base/json.ts'
import type { Clock } from '#shared/base/time.ts'
import type { Database } from './ledger/connection.ts'
import type { Head } from './ledger/writer.ts'
import type { FollowerStatus } from './publish/publisher.ts'

export type LeaderMeasured = {
  readonly main: string
  readonly audit: string
  readonly freeKbytes: number
  readonly freeInodes: number
}

export type LeaderHealthOptions = {
  readonly main: Database
  readonly audit: Database
  readonly dataDirectory: string
  readonly clock: Clock
  readonly head: () => Head
  readonly followers: () => readonly FollowerStatus[]
  readonly auditQueued: () => number
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
      if (!signal.aborted) measured = await measure(options)
    }
  })()
  return { report: () => healthBody(measured, options) }
}

async function measure({ main, audit, dataDirectory }: LeaderHealthOptions): Promise<LeaderMeasured> {
  const answers = (database: Database): Promise<string> =>
    database.query('SELECT 1').then(
      () => 'ok',
      () => 'no connection',
    )
  const space = await statfs(dataDirectory)
  return {
    main: await answers(main),
    audit: await answers(audit),
    freeKbytes: Math.floor((space.bavail * space.bsize) / 1024),
    freeInodes: space.ffree,
  }
}

function healthBody(m: LeaderMeasured, options: LeaderHealthOptions): { ok: boolean; body: Json } {
  const ok = m.main === 'ok' && m.audit === 'ok'
  const { position, contentHash } = options.head()
  const space = { kbytes: m.freeKbytes, inodes: m.freeInodes }
  const body = {
    ok,
    degraded: false,
    role: 'master',
    services: { possum: ok ? 'ok' : 'database unavailable', audit: m.audit, replication: 'ok', ok },
    database: {
      ok,
      connect: { main: m.main, audit: m.audit },
      free_space: { main: space, audit: space },
      replication_status: { pg_stat_replication: [] },
      logical_replication_status: { subscriptions: 'followers only', initial_replication_in_progress: false },
    },
    replication: { epoch: position.epoch, seq: position.seq, age_ms: 0, content_hash: contentHash },
    followers: options.followers().map((follower) => ({ ...follower })),
    // Nothing takes this node's place when it is lost: said here, so that nobody believes otherwise.
    cluster: {
      ok: true,
      status: 'standalone',
      message: 'one node, no failover',
      epoch: position.epoch,
      members: 1,
    },
    audit: { ok: m.audit === 'ok', queued: options.auditQueued() },
  }
  return { ok, body }
}

export function leaderInfo(name: string, account: string, trustedProxies: readonly string[]): Json {
  return {
    release: API_VERSION,
    version: API_VERSION,
    role: 'master',
    container: name,
    services: { possum: { desired: 'i', status: 'i', name: 'holdfast', version: API_VERSION, arch: 'any' } },
    configuration: {
      conjur: { account, role: 'master', hostname: name, trusted_proxies: [...trustedProxies] },
    },
    authenticators: { installed: ['authn'], configured: ['authn'], enabled: ['authn'] },
    fips_mode: 'disabled',
    feature_flags: {},
  }
}
