// Health and info of a Follower, from what its thread knows (cluster 9, 10). Nothing here waits for anyone.
import { API_VERSION } from '#shared/api/routes/status.ts'
import type { Json } from '#shared/base/json.ts'
import { format } from '#shared/ledger/position.ts'
import type { LinkStatus } from './link/link.ts'
import type { AuditQueue } from './store/audit-queue.ts'
import type { ReplicaState } from './store/state.ts'

export type FollowerMeasured = {
  readonly name: string
  readonly account: string
  readonly state: ReplicaState | undefined
  readonly ageMs: number
  readonly degradedAgeMs: number
  /** 0: no limit. */
  readonly maxOfflineAgeMs: number
  readonly link: LinkStatus
  readonly audit: ReturnType<AuditQueue['pending']>
  readonly auditForwarder: string
  readonly auditBudgetRecords: number
  readonly now: number
}

export function followerHealth(m: FollowerMeasured): { ok: boolean; body: Json } {
  const auditPart = m.audit.records / m.auditBudgetRecords
  const tooOld = m.maxOfflineAgeMs > 0 && m.ageMs > m.maxOfflineAgeMs
  const ok = m.state !== undefined && auditPart < 1 && !tooOld && m.link.state !== 'superseded'
  const degraded = m.ageMs > m.degradedAgeMs || auditPart >= 0.7
  const position = m.state?.position ?? { epoch: 0, seq: 0 }
  const connected = m.link.state === 'live'
  const body = {
    ok,
    degraded,
    role: 'follower',
    services: {
      possum: m.state === undefined ? 'no snapshot yet' : 'ok',
      audit: auditPart < 1 ? 'ok' : 'full',
      ok,
    },
    database: {
      ok: m.state !== undefined,
      connect: { main: m.state === undefined ? 'empty' : 'ok' },
      logical_replication_status: {
        subscriptions: [
          {
            name: m.name,
            enabled: true,
            received_lsn: format(position),
            apply_error_count: 0,
            replication_sets: ['full'],
          },
        ],
        initial_replication_in_progress: m.link.state === 'snapshot',
      },
    },
    replication: {
      connected,
      epoch: position.epoch,
      seq: position.seq,
      age_ms: m.ageMs,
      state: m.link.state,
      content_hash: m.state?.contentHash ?? null,
      last_error: m.link.lastError ?? null,
    },
    audit: {
      ok: auditPart < 1,
      queued: m.audit.records,
      oldest_ms: m.audit.oldestAt === undefined ? 0 : Math.max(0, m.now - m.audit.oldestAt),
      capacity_pct: Math.round(auditPart * 1000) / 10,
      forwarder: m.auditForwarder,
    },
  }
  return { ok, body }
}

export function followerInfo(name: string, account: string, trustedProxies: readonly string[]): Json {
  return {
    release: API_VERSION,
    version: API_VERSION,
    role: 'follower',
    container: name,
    services: { possum: { desired: 'i', status: 'i', name: 'holdfast', version: API_VERSION, arch: 'any' } },
    configuration: {
      conjur: { account, role: 'follower', hostname: name, trusted_proxies: [...trustedProxies] },
    },
    authenticators: { installed: ['authn'], configured: ['authn'], enabled: ['authn'] },
    fips_mode: 'disabled',
    feature_flags: {},
  }
}
