// What a Leader says of itself and of its Followers (cluster 9).
import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { type LeaderFacts, leaderHealth, startHealth } from '#control-plane/health.ts'
import type { Database } from '#control-plane/ledger/connection.ts'
import { manualClock } from '../../support/manual-clock.ts'

const well: LeaderFacts = {
  main: 'ok',
  audit: 'ok',
  space: { kbytes: 31_024_512, inodes: 2_437_636 },
  outbox: { lines: 2, oldestAt: 400 },
  head: { position: { epoch: 7, seq: 10422 }, contentHash: 'ab'.repeat(32) },
  followers: [
    {
      name: 'edge-1',
      set: 'full',
      position: '7.10422',
      lag_changes: 0,
      age_ms: 640,
      last_ack: '2026-01-01T00:00:00.000Z',
      connected: true,
      audit_queued: 3,
    },
  ],
  auditQueued: 5,
  now: 1_000,
  cluster: undefined,
}

test('has the names of the reference', () => {
  expect(leaderHealth(well)).toEqual({
    ok: true,
    body: {
      ok: true,
      degraded: false,
      role: 'master',
      services: { possum: 'ok', audit: 'ok', replication: 'ok', ok: true },
      database: {
        ok: true,
        connect: { main: 'ok', audit: 'ok' },
        free_space: { main: well.space, audit: well.space },
        replication_status: { pg_stat_replication: [] },
        logical_replication_status: {
          subscriptions: 'followers only',
          initial_replication_in_progress: false,
        },
      },
      replication: { epoch: 7, seq: 10422, age_ms: 0, content_hash: 'ab'.repeat(32) },
      followers: well.followers,
      cluster: { ok: true, status: 'standalone', message: 'one node, no failover', epoch: 7, members: 1 },
      audit: { ok: true, queued: 5, oldest_ms: 600 },
    },
  })
})

test.each<[string, Partial<LeaderFacts>, string]>([
  ['without its database', { main: 'no connection' }, 'database unavailable'],
  ['without its audit database', { audit: 'no connection' }, 'database unavailable'],
  ['on a full disk', { space: { kbytes: 0, inodes: 5 } }, 'the disk is full'],
  ['without inodes', { space: { kbytes: 36, inodes: 0 } }, 'the disk is full'],
])('a Leader %s is not well, and says why', (_name, change, why) => {
  const { ok, body } = leaderHealth({ ...well, ...change })
  expect(ok).toBe(false)
  expect(body).toMatchObject({ ok: false, services: { possum: why, ok: false }, database: { ok: false } })
})

test('nothing waits, so nothing is old', () => {
  const { body } = leaderHealth({ ...well, outbox: { lines: 0, oldestAt: undefined }, auditQueued: 0 })
  expect(body).toMatchObject({ audit: { queued: 0, oldest_ms: 0 } })
})

test('a database that hangs is not waited for, and is asked once', async () => {
  const clock = manualClock()
  const asked: string[] = []
  const hanging = (name: string) =>
    ({
      query: () => {
        asked.push(name)
        return new Promise(() => undefined)
      },
    }) as unknown as Database
  const stop = new AbortController()
  const started = startHealth(
    {
      main: hanging('main'),
      audit: hanging('audit'),
      dataDirectory: tmpdir(),
      clock,
      head: () => well.head,
      followers: () => [],
      auditQueued: () => 0,
      cluster: undefined,
      report: () => undefined,
    },
    stop.signal,
  )
  await clock.sleeping(1_000)
  clock.advance(1_000)
  const { report } = await started
  expect(report()).toMatchObject({
    ok: false,
    body: { database: { connect: { main: 'no answer within 1000 ms', audit: 'no answer within 1000 ms' } } },
  })
  await clock.sleeping(500)
  clock.advance(500)
  await clock.sleeping(1_000)
  expect(asked).toEqual(['main', 'audit'])
  stop.abort()
})
