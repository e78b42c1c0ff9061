// What an operator can do to a cluster of real processes: every order through the command line, at any node's door.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect } from '#control-plane/ledger/connection.ts'
import { Client } from '../support/nodes.ts'
import { type Cluster, type ControlNode, missing, send, startCluster } from './cluster.ts'
import { lost, overlaps, prepareLoad, startLoad } from './load.ts'
import { operate } from './operator.ts'
import { eventually, settled, startAll } from './settled.ts'

const without = missing()

describe.skipIf(without !== undefined)(
  `an operator${without ? ` (${without})` : ''}`,
  { timeout: 120_000 },
  () => {
    let cluster: Cluster
    let workerKey: string

    beforeAll(async () => {
      cluster = await startCluster({ followers: 0 })
      await startAll(cluster)
      workerKey = await prepareLoad(cluster)
    }, 120_000)
    afterAll(() => cluster?.close(), 60_000)

    /** The same, asked at one node. */
    const at = (node: ControlNode): Cluster => ({ ...cluster, url: node.process.url })

    /** Audit records about the cluster in an epoch: operations and results. */
    async function audited(leader: ControlNode, epoch: number): Promise<string[]> {
      const admin = await new Client(leader.process.url, cluster.account).login('admin', cluster.adminKey())
      const response = await admin.request('GET', `/audit?msgid=cluster&procid=epoch-${epoch}`)
      const rows = response.status === 404 ? [] : ((await response.json()) as { sdata: Sdata }[])
      return rows
        .map(({ sdata }) => `${sdata['action@43868'].operation} ${sdata['subject@43868'].node}`)
        .sort()
    }

    test('sees who leads, from any node, and what the store is made of', async () => {
      const { leader, sync } = await settled(cluster)
      for (const node of cluster.nodes) {
        const { exit, value } = await operate(node, 'cluster', 'status')
        expect(exit).toBe(0)
        expect(value).toMatchObject({ quorum: true, leader: { node: leader.name }, sync: sync.name })
        expect(value.members.map((member: { state: string }) => member.state)).toEqual([
          'running',
          'running',
          'running',
        ])
      }
      const { value } = await operate(leader, 'cluster', 'member', 'list')
      expect(value).toHaveLength(3)
      expect(Object.keys(value[0]).sort()).toEqual(['clientURLs', 'id', 'name', 'peerURLs'])
      expect((await operate(leader, 'role', 'show')).value).toMatchObject({ role: 'master' })
      expect((await operate(sync, 'role', 'show')).value).toMatchObject({ role: 'standby' })
      const compared = await operate(sync, 'replication', 'rebase', '--dry-run', leader.name)
      expect(compared.value).toMatchObject({ verdict: 'stream', other: { leads: true } })
    })

    test('is told what to do when an order is none', async () => {
      const { leader, sync } = await settled(cluster)
      const refused = async (code: string, ...words: readonly string[]): Promise<string> => {
        const { exit, error } = await operate(leader, ...words)
        expect({ exit, code: error?.code }).toEqual({ exit: 1, code })
        return error!.message
      }
      expect(await refused('unknown_node', 'cluster', 'rejoin', 'x')).toContain('its members are a, b, c')
      expect(await refused('unknown_node', 'cluster', 'switchover', '--to', 'x')).toContain('no member')
      expect(await refused('leads', 'cluster', 'drill', '--to', leader.name)).toContain('another node')
      expect(await refused('leads', 'cluster', 'member', 'remove', leader.name)).toContain(
        'cluster switchover',
      )
      expect(await refused('refused', 'cluster', 'member', 'remove', sync.name)).toContain('sync duty')
      expect(await refused('refused', 'role', 'promote')).toContain('leads: use "cluster switchover"')
      expect(await refused('unsupported', 'cluster', 'recover')).toContain('the store is sound')
      expect(await refused('unreachable', 'replication', 'rebase', '--dry-run', '127.0.0.1:1')).toContain(
        'host:port',
      )
      expect(await refused('unreachable', 'replication', 'rebase', '--dry-run', 'x')).toContain(
        'give a member',
      )
      // What is so already is done.
      const same = await operate(leader, 'cluster', 'switchover', '--to', leader.name)
      expect({ exit: same.exit, value: same.value }).toEqual({
        exit: 0,
        value: { leader: leader.name, record: null },
      })
      expect((await operate(leader, 'cluster', 'resume')).value).toEqual({ paused: false, was_paused: false })
      expect((await operate(leader, 'cluster', 'rejoin', sync.name)).value).toMatchObject({ was_out: false })
    })

    test('hands over under writes: none is lost, the record is signed, and the audit has it once', async () => {
      const { leader } = await settled(cluster)
      const load = await startLoad(cluster, workerKey)
      const { exit, value } = await operate(leader, 'cluster', 'drill', '--why', 'as every month')
      expect(exit).toBe(0)
      const { record } = value.there
      expect(record).toMatchObject({
        how: 'switchover',
        old: leader.name,
        possibleLoss: false,
        order: { drill: true },
      })
      // Whoever writes the audit may end at any moment, and is told again.
      send(cluster.node(value.there.leader).pidOf('api')!, 'SIGKILL')
      await load.acknowledgedAfter(performance.now())
      await load.stop()
      expect(overlaps(load.journal)).toEqual([])
      const after = await settled(cluster)
      expect(await lost(at(after.leader), workerKey, load.journal)).toEqual([])
      const status = await eventually(
        'the record is signed',
        async () => (await operate(after.leader, 'cluster', 'status', '--verify')).value,
        (seen) => recordOf(seen, record.epoch)?.verified !== undefined,
      )
      expect(recordOf(status, record.epoch)).toMatchObject({ record, verified: true })
      expect(memberOf(status, leader.name).state).not.toBe('evicted')
      const expected = [`demote ${leader.name}`, `promote ${value.there.leader}`]
      await eventually(
        'the audit has it',
        () => audited(after.leader, record.epoch),
        (seen) => seen.length >= expected.length,
      )
      expect(await audited(after.leader, record.epoch)).toEqual(expected)
    })

    test('practises a failover there and back', async () => {
      const { leader } = await settled(cluster)
      const { exit, value } = await operate(leader, 'cluster', 'drill', '--back', '--why', 'practice')
      expect(exit).toBe(0)
      expect(value.there.leader).not.toBe(leader.name)
      expect(value.back).toMatchObject({ leader: leader.name, record: { order: { drill: true } } })
      expect((await settled(cluster)).leader.name).toBe(leader.name)
    })

    test('pauses: nobody is promoted until he resumes', async () => {
      const { leader, sync } = await settled(cluster)
      const paused = await operate(
        sync,
        'cluster',
        'pause',
        '--for',
        '10m',
        '--why',
        'the network is rebuilt',
      )
      expect(paused).toMatchObject({ exit: 0, value: { paused: true } })
      leader.signal('SIGKILL')
      await leader.process.kill()
      const waits = await eventually(
        'a Standby says why it waits',
        async () => (await operate(sync, 'cluster', 'status')).value,
        (seen) => seen.leader === null && seen.blocked !== null,
      )
      expect(waits.blocked).toContain('the network is rebuilt')
      expect((await operate(sync, 'cluster', 'switchover')).error).toMatchObject({ code: 'no_leader' })
      const resumed = await operate(sync, 'cluster', 'resume')
      expect(resumed.value).toEqual({ paused: false, was_paused: true })
      const next = await cluster.leader([leader.name])
      leader.process.start()
      await settled(cluster)
      expect(next.name).not.toBe(leader.name)
    })

    test('promotes a node by hand, when he has seen that it has everything', async () => {
      const { leader, sync } = await settled(cluster)
      const third = cluster.nodes.find((node) => node !== leader && node !== sync)!
      await operate(sync, 'cluster', 'pause', '--for', '10m')
      leader.signal('SIGKILL')
      await leader.process.kill()
      const alone = await eventually(
        'nobody leads',
        () => operate(third, 'role', 'promote'),
        ({ error }) => error?.code === 'data_loss_possible',
      )
      expect(alone.error!.message).toContain(`${leader.name}: cannot be reached`)
      const promoted = await operate(sync, 'role', 'promote', '--why', 'it has all')
      expect(promoted).toMatchObject({
        exit: 0,
        value: { leader: sync.name, record: { how: 'hand', possibleLoss: false } },
      })
      await operate(sync, 'cluster', 'resume')
      leader.process.start()
      await settled(cluster)
    })

    test('lets a node in that holds what nobody else has', async () => {
      const { leader } = await settled(cluster)
      const worker = await new Client(leader.process.url, cluster.account).login(
        'host/load/worker',
        workerKey,
      )
      const cut = (state: 'hole' | 'open'): void => {
        for (const other of cluster.nodes) {
          if (other === leader) continue
          other.toNodes.get(leader.name)!.set(state)
          leader.toNodes.get(other.name)!.set(state)
        }
      }
      cut('hole')
      // Stored there, and acknowledged by nobody.
      const written = worker.setSecret('load/v0', 'nobody else has this').catch(() => undefined)
      await eventually(
        'it is in the log',
        () => isWaiting(leader),
        (waiting) => waiting,
      )
      leader.signal('SIGKILL')
      await leader.process.kill()
      await written
      cut('open')
      const next = await cluster.leader([leader.name])
      leader.process.start()
      const out = await eventually(
        'it says why it is out',
        async () => (await operate(next, 'cluster', 'status')).value,
        (seen) => memberOf(seen, leader.name).reason?.includes('cluster rejoin') === true,
      )
      expect(memberOf(out, leader.name).state).toBe('evicted')
      expect((await operate(next, 'cluster', 'switchover', '--to', leader.name)).error).toMatchObject({
        code: 'evicted',
      })
      const rejoined = await operate(next, 'cluster', 'rejoin', leader.name)
      expect(rejoined).toMatchObject({ exit: 0, value: { was_out: true, present: true } })
      await settled(cluster)
    })

    test('removes a Standby, which stays out until he lets it in', async () => {
      const { leader, sync } = await settled(cluster)
      const third = cluster.nodes.find((node) => node !== leader && node !== sync)!
      expect(await operate(leader, 'cluster', 'member', 'remove', third.name)).toMatchObject({ exit: 0 })
      const out = await eventually(
        'it says why it is out',
        async () => (await operate(leader, 'cluster', 'status')).value,
        (seen) => memberOf(seen, third.name).reason?.includes('removed this node') === true,
      )
      expect(memberOf(out, third.name).state).toBe('evicted')
      expect(await operate(leader, 'cluster', 'rejoin', third.name)).toMatchObject({ exit: 0 })
      await settled(cluster)
    })
  },
)

type Sdata = {
  readonly 'action@43868': { readonly operation: string }
  readonly 'subject@43868': { readonly node: string }
}

type Member = { readonly node: string; readonly state: string; readonly reason: string | null }

type Reign = { readonly epoch: number; readonly verified?: boolean }

const recordOf = (status: { readonly records: readonly Reign[] }, epoch: number): Reign | undefined =>
  status.records.find((reign) => reign.epoch === epoch)

const memberOf = (status: { readonly members: readonly Member[] }, name: string): Member =>
  status.members.find(({ node }) => node === name)!

/** Its Postgres has written something, and a commit waits for a Standby to have it. */
async function isWaiting({ directory }: ControlNode): Promise<boolean> {
  const database = connect(readFileSync(join(directory, 'postgres.url'), 'utf8').trim(), 1)
  try {
    const { rows } = await database.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    return rows.length > 0
  } finally {
    await database.close()
  }
}
