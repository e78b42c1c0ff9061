// Health of a Follower, from what its thread knows (cluster 9). Nothing here waits for anyone.
import type { Json } from '#shared/base/json.ts'
import { hasRoom, type Space } from '#shared/base/space.ts'
import { format } from '#shared/ledger/position.ts'
import type { LinkStatus } from './link/link.ts'
import type { AuditBudget, AuditQueue } from './store/audit-queue.ts'
import type { ReplicaState } from './store/state.ts'

export type FollowerMeasured = {
  readonly name: string
  readonly state: ReplicaState | undefined
  readonly ageMs: number
  readonly degradedAgeMs: number
  /** 0: no limit. */
  readonly maxOfflineAgeMs: number
  /** When the whole copy was last compared with its digests; undefined when not since the start. */
  readonly verifiedAt: number | undefined
  readonly space: Space
  readonly link: LinkStatus
  readonly audit: ReturnType<AuditQueue['pending']>
  readonly auditForwarder: string
  readonly auditBudget: AuditBudget
  readonly now: number
}

export function followerHealth(m: FollowerMeasured): { ok: boolean; body: Json } {
  // The queue is full when either is reached.
  const auditPart = Math.max(m.audit.records / m.auditBudget.records, m.audit.bytes / m.auditBudget.bytes)
  const tooOld = m.maxOfflineAgeMs > 0 && m.ageMs > m.maxOfflineAgeMs
  const hasSpace = hasRoom(m.space)
  // Commits that the Leader has lost are still what it once said: they are served until its snapshot is here. Other
  // content than the Leader's is not to be relied on, so balancers are told to go elsewhere.
  const differs = m.link.distrust === 'HASH_MISMATCH'
  const isOut = m.link.state === 'superseded' || m.link.state === 'revoked'
  const ok = m.state !== undefined && auditPart < 1 && !tooOld && hasSpace && !differs && !isOut
  const degraded = m.ageMs > m.degradedAgeMs || auditPart >= 0.7 || m.link.distrust !== undefined
  const position = m.state?.position ?? { epoch: 0, seq: 0 }
  const connected = m.link.state === 'live'
  const body = {
    ok,
    degraded,
    role: 'follower',
    services: {
      possum: m.state === undefined ? 'no snapshot yet' : differs ? 'content differs from the Leader' : 'ok',
      audit: auditPart < 1 ? 'ok' : 'full',
      ok,
    },
    database: {
      ok: m.state !== undefined,
      connect: { main: m.state === undefined ? 'empty' : 'ok' },
      free_space: { main: m.space },
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
      snapshot_id: m.state?.snapshotId ?? null,
      verified_at: m.verifiedAt === undefined ? null : new Date(m.verifiedAt).toISOString(),
      distrust: m.link.distrust ?? null,
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
