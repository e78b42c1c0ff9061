// What a control node says of its cluster (cluster 9.2): what monitors and balancers rely on.
import { describe, expect, test } from 'vitest'
import {
  type ClusterFacts,
  clusterHealth,
  replicationStatus,
  shortcomings,
  standbyHealth,
} from '#control-plane/cluster-health.ts'
import { type LeaderFacts, leaderHealth } from '#control-plane/health.ts'
import type { NodeStatus } from '#control-plane/node-link.ts'
import type { Replica, ReplicationFacts } from '#control-plane/postgres/replication.ts'
import { monotonic } from '#shared/base/time.ts'

const replica = (name: string, more: Partial<Replica> = {}): Replica => ({
  usename: 'replicator',
  application_name: `${name}#5f3a9c01`,
  client_addr: '10.0.0.12',
  client_hostname: null,
  backend_start: '2026-01-01 00:00:00 +0000',
  state: 'streaming',
  sent_lsn: '0/907AD78',
  replay_lsn: '0/907AD78',
  sync_priority: 0,
  sync_state: 'async',
  sent_lsn_bytes: 151_498_104,
  replay_lsn_bytes: 151_498_104,
  replication_lag_bytes: 0,
  ...more,
})
const sync = replica('node-2', { sync_priority: 1, sync_state: 'sync' })

const leading: ReplicationFacts = {
  recovering: false,
  receiving: false,
  end: '0/907AD78',
  endBytes: 151_498_104,
  replicas: [sync, replica('node-3')],
}
const following: ReplicationFacts = { ...leading, recovering: true, receiving: true, replicas: [] }

const status: NodeStatus = {
  phase: 'open',
  epoch: 7,
  leader: 'node-1',
  sync: 'node-2',
  next: 'node-3',
  members: 3,
  standbys: ['node-2', 'node-3'],
  dr: false,
  paused: false,
  blocked: null,
  why: null,
  storeHeardAt: monotonic(9_000),
}
const space = { kbytes: 31_024_512, inodes: 2_437_636 }
const facts: ClusterFacts = {
  cluster: 'production',
  node: 'node-1',
  status,
  replication: leading,
  space,
  now: monotonic(10_000),
}
const besides = (change: Partial<NodeStatus>, more: Partial<ClusterFacts> = {}): ClusterFacts => ({
  ...facts,
  ...more,
  status: { ...status, ...change },
})
const standby = (change: Partial<NodeStatus> = {}, more: Partial<ClusterFacts> = {}): ClusterFacts =>
  besides({ phase: 'standby', next: null, ...change }, { node: 'node-2', replication: following, ...more })

describe('a Leader', () => {
  test('of a cluster in which all is well', () => {
    expect(clusterHealth(facts, true)).toEqual({
      ok: true,
      status: 'running',
      message: 'leader',
      name: 'production',
      epoch: 7,
      leader: 'node-1',
      members: 3,
      quorum: true,
      sync_standby: 'node-2',
      failover_blocked: null,
      paused: false,
    })
    expect(shortcomings(facts)).toEqual([])
  })

  test('shows who streams from it, and who is synchronous next', () => {
    expect(replicationStatus(leading, 'node-3')).toEqual({
      pg_stat_replication: [
        { ...sync, node: 'node-2' },
        { ...replica('node-3'), node: 'node-3', sync_candidate: true },
      ],
      pg_current_xlog_location: '0/907AD78',
      pg_current_xlog_location_bytes: 151_498_104,
    })
  })

  test.each<[string, ClusterFacts, string]>([
    ['that is alone', besides({ sync: null }), 'no Standby is synchronous'],
    [
      'from which a Standby does not stream',
      besides({}, { replication: { ...leading, replicas: [sync, replica('node-3', { state: 'catchup' })] } }),
      'does not stream: node-3',
    ],
    ['with one Standby', besides({ standbys: ['node-2'] }), 'fewer than two Standbys could take over'],
    [
      'without the store',
      besides({ storeHeardAt: monotonic(8_000) }),
      'the coordination store does not answer',
    ],
    ['that never heard the store', besides({ storeHeardAt: null }), 'the coordination store does not answer'],
    [
      'whose Postgres does not say',
      besides({}, { replication: undefined }),
      'Postgres does not say who streams from it',
    ],
  ])('%s serves and is degraded, and says why', (_, given, why) => {
    expect(shortcomings(given)).toEqual([why])
    expect(clusterHealth(given, true).message).toBe(`leader; ${why}`)
    const { ok, body } = leaderHealth({ ...alone, cluster: given })
    expect([ok, body]).toMatchObject([true, { ok: true, degraded: true, role: 'master' }])
  })

  test.each<[string, Partial<NodeStatus>, string | null]>([
    ['nothing stands in the way', {}, null],
    ['what the machine says', { blocked: 'no candidate has it all' }, 'no candidate has it all'],
    ['a pause', { paused: true }, 'failover is paused'],
    ['no store', { storeHeardAt: null }, 'the coordination store does not answer'],
    ['no Standby', { sync: null }, 'no Standby is synchronous: only this node has the last writes'],
  ])('says what would stop a failover: %s', (_, change, blocked) => {
    expect(clusterHealth(besides(change), true).failover_blocked).toBe(blocked)
  })
})

const alone: LeaderFacts = {
  main: 'ok',
  audit: 'ok',
  space: { kbytes: 1, inodes: 1 },
  outbox: { lines: 0, oldestAt: undefined },
  head: { position: { epoch: 7, seq: 1 }, contentHash: 'ab'.repeat(32) },
  followers: [],
  auditQueued: 0,
  now: 1_000,
  cluster: undefined,
}

describe('a Standby', () => {
  test('that is well says so', () => {
    expect(standbyHealth(standby())).toEqual({
      ok: true,
      body: {
        ok: true,
        degraded: false,
        role: 'standby',
        dr: false,
        services: { possum: 'disabled', replication: 'ok', ok: true },
        database: {
          ok: true,
          connect: { main: 'ok' },
          free_space: { main: space },
          replication_status: {
            pg_stat_replication: [],
            pg_last_xlog_replay_location: '0/907AD78',
            pg_last_xlog_replay_location_bytes: 151_498_104,
          },
          logical_replication_status: {
            subscriptions: 'followers only',
            initial_replication_in_progress: false,
          },
        },
        cluster: {
          ok: true,
          status: 'running',
          message: 'follows node-1',
          name: 'production',
          epoch: 7,
          leader: 'node-1',
          members: 3,
          quorum: true,
          sync_standby: 'node-2',
          failover_blocked: null,
          paused: false,
        },
      },
    })
    expect(standbyHealth(standby({ dr: true }))).toMatchObject({ ok: true, body: { dr: true } })
  })

  test.each<[string, ClusterFacts, object]>([
    [
      'that gets no log',
      standby({}, { replication: { ...following, receiving: false } }),
      { status: 'syncing' },
    ],
    ['that nobody leads', standby({ leader: null }), { message: 'nobody leads' }],
    ['without the store', standby({ storeHeardAt: monotonic(8_000) }), { quorum: false }],
    ['of which nothing was told', { ...standby(), status: undefined }, { status: 'starting' }],
    ['that waits', standby({ phase: 'waiting', leader: null }), { status: 'electing' }],
    ['that stands', standby({ phase: 'standing', leader: null }), { status: 'electing' }],
    ['that is being promoted', standby({ phase: 'naming', leader: 'node-2' }), { status: 'promoting' }],
    [
      'that led',
      standby({ phase: 'fenced', why: 'its lease is gone' }),
      { status: 'fenced', message: 'leads no more: its lease is gone' },
    ],
    ['that was removed', standby({ phase: 'evicted' }), { status: 'evicted' }],
  ])('%s is not well, and says why', (_, given, cluster) => {
    const { ok, body } = standbyHealth(given)
    expect([ok, body]).toMatchObject([
      false,
      {
        ok: false,
        degraded: true,
        role: 'standby',
        services: { ok: false },
        cluster: { ok: false, ...cluster },
      },
    ])
  })

  test.each<[string, Partial<ClusterFacts>]>([
    ['whose Postgres does not answer', { replication: undefined }],
    ['whose disk does not answer', { space: undefined }],
    ['whose disk is full', { space: { ...space, kbytes: 0 } }],
    ['without inodes', { space: { ...space, inodes: 0 } }],
  ])('%s is not well', (_, more) => {
    expect(standbyHealth(standby({}, more))).toMatchObject({ ok: false, body: { database: { ok: false } } })
  })

  test('whose Postgres is in recovery no more is none', () => {
    expect(standbyHealth(standby({}, { replication: leading })).ok).toBe(false)
  })
})
