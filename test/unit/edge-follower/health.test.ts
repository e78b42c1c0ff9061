// Balancers and people act on what a Follower says of itself: well while it can serve, even cut off (cluster 9).
import { describe, expect, test } from 'vitest'
import { type FollowerMeasured, followerHealth } from '#edge-follower/health.ts'
import type { LinkStatus } from '#edge-follower/link/link.ts'
import { wall } from '#shared/base/time.ts'

const live: LinkStatus = {
  state: 'live',
  leaderUrl: 'http://l',
  cluster: undefined,
  lastError: undefined,
  distrust: undefined,
}
const well: FollowerMeasured = {
  name: 'edge-1',
  state: {
    position: { epoch: 7, seq: 10422 },
    contentHash: 'ab'.repeat(32),
    newestAt: wall(0),
    dataVersion: 3,
    snapshotId: 'snapshot-1',
  },
  ageMs: 640,
  degradedAgeMs: 30_000,
  maxOfflineAgeMs: 0,
  verifiedAt: Date.UTC(2026, 0, 5),
  space: { kbytes: 4_000, inodes: 77 },
  link: live,
  audit: { records: 12, bytes: 3_000, oldestAt: 100 },
  auditForwarder: 'connected',
  auditBudget: { records: 10_000, bytes: 10_000_000 },
  now: 1_000,
}

test('has the names of the reference', () => {
  expect(followerHealth(well)).toEqual({
    ok: true,
    body: {
      ok: true,
      degraded: false,
      role: 'follower',
      services: { possum: 'ok', audit: 'ok', ok: true },
      database: {
        ok: true,
        connect: { main: 'ok' },
        free_space: { main: { kbytes: 4_000, inodes: 77 } },
        logical_replication_status: {
          subscriptions: [
            {
              name: 'edge-1',
              enabled: true,
              received_lsn: '7.10422',
              apply_error_count: 0,
              replication_sets: ['full'],
            },
          ],
          initial_replication_in_progress: false,
        },
      },
      replication: {
        connected: true,
        epoch: 7,
        seq: 10422,
        age_ms: 640,
        state: 'live',
        content_hash: 'ab'.repeat(32),
        snapshot_id: 'snapshot-1',
        verified_at: '2026-01-05T00:00:00.000Z',
        distrust: null,
        last_error: null,
      },
      audit: { ok: true, queued: 12, oldest_ms: 900, capacity_pct: 0.1, forwarder: 'connected' },
    },
  })
})

const link = (change: Partial<LinkStatus>): Partial<FollowerMeasured> => ({ link: { ...live, ...change } })
const queued = (records: number, bytes = 1): Partial<FollowerMeasured> => ({
  audit: { records, bytes, oldestAt: undefined },
})

describe.each<[string, Partial<FollowerMeasured>, { ok: boolean; degraded: boolean }]>([
  ['cut off', link({ state: 'connecting', lastError: 'refused' }), { ok: true, degraded: false }],
  ['thirty seconds old', { ageMs: 30_000 }, { ok: true, degraded: false }],
  ['older', { ageMs: 30_001 }, { ok: true, degraded: true }],
  ['as old as it may be', { ageMs: 100, maxOfflineAgeMs: 100 }, { ok: true, degraded: false }],
  ['older than it may be', { ageMs: 101, maxOfflineAgeMs: 100 }, { ok: false, degraded: false }],
  ['with a queue nearly at 70 %', queued(6_999), { ok: true, degraded: false }],
  ['with a queue at 70 %', queued(7_000), { ok: true, degraded: true }],
  ['with a full queue', queued(10_000), { ok: false, degraded: true }],
  ['with a queue at 70 % of its bytes', queued(1, 7_000_000), { ok: true, degraded: true }],
  ['with a queue whose bytes are full', queued(1, 10_000_000), { ok: false, degraded: true }],
  ['without a snapshot', { state: undefined }, { ok: false, degraded: false }],
  ['superseded', link({ state: 'superseded' }), { ok: false, degraded: false }],
  ['with other content than the Leader', link({ distrust: 'HASH_MISMATCH' }), { ok: false, degraded: true }],
  ['ahead of the Leader', link({ distrust: 'POSITION_AHEAD' }), { ok: true, degraded: true }],
  ['on a full disk', { space: { kbytes: 0, inodes: 5 } }, { ok: false, degraded: false }],
  ['without inodes', { space: { kbytes: 36, inodes: 0 } }, { ok: false, degraded: false }],
])('a Follower that is %s', (_name, change, expected) => {
  test(`ok: ${expected.ok}, degraded: ${expected.degraded}`, () => {
    const { ok, body } = followerHealth({ ...well, ...change })
    expect({ ok, ...(body as object) }).toMatchObject({ ...expected, services: { ok: expected.ok } })
  })
})
