import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { describe, expect, test, vi } from 'vitest'
import { nodeOf } from '#control-plane/coordination/keys.ts'
import { findRunAs } from '#control-plane/postgres/run-as.ts'
import { segmentAt } from '#control-plane/postgres/timeline.ts'
import {
  allBinaries,
  follows,
  type HandsNode,
  handsClusters,
  killPostgres,
  leads,
  ledBy,
  level,
  makeTable,
  processOf,
  startHandsCluster,
  until,
  untilWaiting,
  write,
  writeAlone,
  written,
} from '../support/hands.ts'

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined

const PAGE_BYTES = 8_192
const SEGMENT_BYTES = 16 * 1024 * 1024
/** Of a message without content and its commit. */
const MESSAGE_BYTES = 104

const disk = async (node: HandsNode): Promise<string> => (await node.hands.freeze()).disk

// Copies and starts take their time where other tests run too.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 })

describe.each(await allBinaries())('the hands on $name', ({ binaries }) => {
  const cluster = handsClusters(binaries)

  test('an empty node holds nothing, makes the first data, and lets no commit go before somebody is named', async () => {
    const a = await (await cluster()).add('a')
    expect(await a.hands.probe()).toMatchObject({ answers: true, writes: false, receiving: false, end: 0 })
    const before = await a.hands.freeze()
    expect(before).toEqual({ disk: expect.stringMatching(/^[0-9a-f]{8}$/), timeline: 0, received: 0 })
    expect(await a.hands.freeze()).toEqual(before)
    const promoted = await a.hands.promote(0)
    expect(promoted).toEqual({ timeline: 2, fork: expect.any(Number) })
    await makeTable(a)
    const one = write(a, 1)
    await untilWaiting(a, 2)
    expect(one.isDone()).toBe(false)
    const { end } = await a.hands.setSync([])
    await one.done
    expect(end).toBeGreaterThan(promoted.fork)
    expect(await a.hands.probe()).toMatchObject({ answers: true, writes: true })
    // The data is on the disk that was announced.
    await a.hands.demote()
    expect(await a.hands.freeze()).toMatchObject({ disk: before.disk, timeline: 2 })
  })

  test('a node without data does not begin anew where others have led', async () => {
    const a = await (await cluster()).add('a')
    await expect(a.hands.promote(3)).rejects.toThrow('others have led before')
    expect(exists(join(a.folder, 'postgres'))).toBe(false)
  })

  test('the epoch is raised once, by a repeated word too, and never to an earlier one', async () => {
    const a = await (await cluster()).add('a')
    await a.hands.promote(0)
    await a.hands.raiseEpoch(4)
    await a.hands.raiseEpoch(4)
    await expect(a.hands.raiseEpoch(3)).rejects.toMatchObject({ code: 'stale_epoch' })
    expect(await a.ask('SELECT epoch, node, timeline FROM cluster_epoch', 'main')).toEqual([
      { epoch: 4, node: 'a', timeline: 2 },
    ])
    expect(await a.ask('SELECT count(*)::integer AS n FROM messages', 'audit')).toEqual([{ n: 0 }])
  })

  test('a Standby is copied, streams, and is shown by its copy; what is behind waits for it alone', async () => {
    const { leader, standbys, copies } = await ledBy(await cluster(), 'a', 'b', 'c')
    const [b, c] = standbys as [HandsNode, HandsNode]
    expect(copies.map(nodeOf)).toEqual(['b', 'c'])
    expect(await b.hands.probe()).toMatchObject({ answers: true, writes: false, receiving: true })
    await leader.hands.setSync([copies[0]!])
    await write(leader, 1).done
    const receiver = await processOf(b, 'walreceiver')
    process.kill(receiver, 'SIGSTOP')
    const two = write(leader, 2)
    await untilWaiting(leader, 1)
    // The other one has it, and that is not enough.
    await level(leader, c)
    expect(await written(c)).toEqual([1, 2])
    expect(two.isDone()).toBe(false)
    process.kill(receiver, 'SIGCONT')
    await two.done
    expect(await written(leader)).toEqual([1, 2])
  })

  test('a probe says who is at work in Postgres until all that he leaves is in the log', async () => {
    const { leader, copies } = await ledBy(await cluster(), 'a', 'b')
    await leader.hands.setSync(copies)
    const busy = async (): Promise<boolean> => (await leader.hands.probe(true)).busy
    const connected = async (): Promise<pg.Client> => {
      const client = new pg.Client(leader.hands.url('postgres'))
      client.on('error', () => undefined)
      await client.connect()
      return client
    }
    await until(async () => !(await busy()))
    const client = await connected()
    expect(await busy()).toBe(false)
    await client.query('BEGIN')
    await client.query('INSERT INTO written VALUES (77)')
    expect(await busy()).toBe(true)
    await leader.ask(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'",
    )
    await until(async () => !(await busy()))
    const { end } = await leader.hands.probe(true)
    const writer = await connected()
    const say = (bytes: number): Promise<unknown> =>
      writer.query("SELECT pg_logical_emit_message(true, 'test', repeat('x', $1))", [bytes])
    await say(1_000)
    // The log ends with a page: the header of the next one is not taken for something that is left.
    await until(async () => {
      const left = PAGE_BYTES - ((await leader.hands.probe(true)).end % PAGE_BYTES)
      if (left === PAGE_BYTES) return true
      await say(left > MESSAGE_BYTES + 8 ? left - MESSAGE_BYTES : 1_000)
      return false
    })
    await until(async () => !(await busy()))
    expect((await leader.hands.probe(true)).end).toBeGreaterThan(end)
    await Promise.all([client.end(), writer.end()])
  })

  test('the duty moves from a Standby that has stopped to another one, and no commit goes without the new one', async () => {
    const { leader, standbys, copies } = await ledBy(await cluster(), 'a', 'b', 'c')
    const [b, c] = standbys as [HandsNode, HandsNode]
    const [toB, toC] = copies as [string, string]
    await leader.hands.setSync([toB])
    await write(leader, 1).done
    const stopped = await processOf(b, 'walreceiver')
    process.kill(stopped, 'SIGSTOP')
    const two = write(leader, 2)
    await untilWaiting(leader, 1)
    const { end } = await leader.hands.setSync([toB, toC])
    expect((await leader.hands.probe()).end).toBeGreaterThanOrEqual(end)
    await level(leader, c)
    expect(two.isDone()).toBe(false)
    await leader.hands.setSync([toC])
    await two.done
    // And the new one alone counts.
    const receiver = await processOf(c, 'walreceiver')
    process.kill(receiver, 'SIGSTOP')
    const three = write(leader, 3)
    await untilWaiting(leader, 1)
    process.kill(stopped, 'SIGCONT')
    await level(leader, b)
    expect(three.isDone()).toBe(false)
    process.kill(receiver, 'SIGCONT')
    await three.done
  })

  test('new names are not in force before what goes by the old ones is gone', async () => {
    const { leader, copies } = await ledBy(await cluster(), 'a', 'b', 'c')
    await leader.hands.setSync([copies[0]!])
    const [row] = await leader.ask(
      `SELECT pid FROM pg_stat_replication WHERE application_name = '${copies[0]}'`,
    )
    const slow = row!.pid as number
    process.kill(slow, 'SIGSTOP')
    let moved = false
    const moving = leader.hands.setSync([...copies]).then(() => {
      moved = true
    })
    await until(async () => {
      const rows = await leader.ask(
        "SELECT 1 WHERE current_setting('synchronous_standby_names') LIKE 'FIRST 2%'",
      )
      return rows.length > 0
    })
    await leader.hands.probe()
    expect(moved).toBe(false)
    process.kill(slow, 'SIGCONT')
    await moving
    const left = await leader.ask(`SELECT 1 FROM pg_stat_activity WHERE pid = ${slow}`)
    expect(left).toEqual([])
  })

  test('after a time of waiting for nobody, nobody is named before commits are seen to wait', async () => {
    const { leader, standbys, copies } = await ledBy(await cluster(), 'a', 'b')
    const receiver = await processOf(standbys[0]!, 'walreceiver')
    // It is the one that tells all others that commits wait.
    const slow = await processOf(leader, 'checkpointer')
    process.kill(slow, 'SIGSTOP')
    let named = false
    const naming = leader.hands.setSync(copies).then(() => {
      named = true
    })
    await until(
      async () => (await leader.ask('SHOW synchronous_standby_names'))[0]?.synchronous_standby_names !== '',
    )
    process.kill(receiver, 'SIGSTOP')
    await write(leader, 1).done
    expect(named).toBe(false)
    process.kill(slow, 'SIGCONT')
    await naming
    const two = write(leader, 2)
    await untilWaiting(leader, 2)
    expect(two.isDone()).toBe(false)
    process.kill(receiver, 'SIGCONT')
    await two.done
  })

  test('a freeze counts all that has come, takes nothing more, and lasts over a crash', async () => {
    const { leader, standbys } = await ledBy(await cluster(), 'a', 'b')
    const [b] = standbys as [HandsNode]
    await writeAlone(leader, 1)
    await level(leader, b)
    const { end } = await leader.hands.probe()
    const frozen = await b.hands.freeze()
    expect(frozen).toMatchObject({ timeline: 2 })
    expect(frozen.received).toBeGreaterThanOrEqual(end)
    await writeAlone(leader, 2)
    await killPostgres(b)
    expect(await b.hands.freeze()).toEqual(frozen)
    expect(await b.hands.probe()).toMatchObject({ answers: true, receiving: false, end: frozen.received })
    expect(await written(b)).toEqual([1])
  })

  test('a promotion goes onto exactly the timeline after the one it is told, and others follow across the gap', async () => {
    const { leader, standbys } = await ledBy(await cluster(), 'a', 'b', 'c')
    const [b, c] = standbys as [HandsNode, HandsNode]
    await writeAlone(leader, 1)
    await level(leader, b)
    const frozen = await b.hands.freeze()
    await leader.hands.demote()
    expect(await b.hands.promote(6)).toEqual({ timeline: 7, fork: frozen.received })
    await b.hands.raiseEpoch(2)
    await b.hands.setSync([])
    const before = await disk(c)
    await follows(c, b)
    await follows(leader, b)
    await writeAlone(b, 2)
    await level(b, c)
    expect(await c.hands.freeze()).toMatchObject({ timeline: 7, disk: before })
    // Numbers that were only taken up do not keep it from starting, nor from leading.
    const again = await c.again()
    expect(await again.hands.freeze()).toMatchObject({ timeline: 7, disk: before })
    expect(await again.hands.promote(7)).toMatchObject({ timeline: 8 })
    expect(await written(again)).toEqual([1, 2])
  })

  test('numbers that were taken for a promotion that never was do not keep Postgres from starting', async () => {
    const { standbys } = await ledBy(await cluster(), 'a', 'b')
    const [b] = standbys as [HandsNode]
    const frozen = await b.hands.freeze()
    for (const name of ['00000003.history', '00000004.history'])
      writeFileSync(join(b.folder, 'postgres', 'pg_wal', name), '', { mode: 0o600 })
    await killPostgres(b)
    expect(await b.hands.freeze()).toEqual(frozen)
    expect(await b.hands.promote(4)).toMatchObject({ timeline: 5 })
  })

  test('who has begun to follow a Leader and has nothing of him begins beside him, not after him', async () => {
    const { leader, standbys } = await ledBy(await cluster(), 'a', 'b', 'c')
    const [b, c] = standbys as [HandsNode, HandsNode]
    const frozen = await b.hands.freeze()
    await writeAlone(leader, 1)
    await level(leader, c)
    await c.hands.freeze()
    await c.hands.promote(2)
    const known = readFileSync(join(c.folder, 'postgres', 'pg_wal', '00000003.history'))
    writeFileSync(join(b.folder, 'postgres', 'pg_wal', '00000003.history'), known, { mode: 0o600 })
    const log = join(b.folder, 'postgres.log')
    await until(async () => readFileSync(log, 'utf8').includes('new target timeline is 3'))
    expect(await b.hands.freeze()).toEqual(frozen)
    expect(await b.hands.promote(3)).toEqual({ timeline: 4, fork: frozen.received })
    const history = readFileSync(join(b.folder, 'postgres', 'pg_wal', '00000004.history'), 'utf8')
    expect([...history.matchAll(/^(\d+)\t/gm)].map(([, timeline]) => timeline)).toEqual(['1', '2'])
  })

  test('who ends while the first log of a new timeline comes has all that it had, and follows', async () => {
    const { leader: a, standbys } = await ledBy(await cluster(), 'a', 'b')
    const [b] = standbys as [HandsNode]
    await a.ask('SET synchronous_commit = local; INSERT INTO written SELECT generate_series(1, 10000)')
    await level(a, b)
    await a.hands.demote()
    const frozen = await a.hands.freeze()
    await b.hands.freeze()
    const { fork } = await b.hands.promote(2)
    const wal = (node: HandsNode, name: string): string => join(node.folder, 'postgres', 'pg_wal', name)
    // What Postgres has then: the history, and the segment of the fork from its beginning to anywhere before the fork.
    const segment = segmentAt(3, fork, SEGMENT_BYTES)
    const begun = readFileSync(wal(b, segment))
    begun.fill(0, (fork % SEGMENT_BYTES) - 8 * PAGE_BYTES)
    writeFileSync(wal(a, '00000003.history'), readFileSync(wal(b, '00000003.history')), { mode: 0o600 })
    writeFileSync(wal(a, segment), begun, { mode: 0o600 })
    await killPostgres(a)
    expect(await a.hands.freeze()).toEqual(frozen)
    await writeAlone(b, 0)
    await follows(a, b)
    await level(b, a)
    expect((await written(a)).length).toBe(10_001)
    expect(a.said.filter((said) => said.includes('copied'))).toEqual([])
  })

  test('a Leader that goes on alone is copied anew from the next one, as another disk, and what it had is kept', async () => {
    const { leader, standbys } = await ledBy(await cluster(), 'a', 'b')
    const [b] = standbys as [HandsNode]
    await b.hands.freeze()
    await writeAlone(leader, 1)
    await leads(b, 2, 2)
    await writeAlone(b, 2)
    await leader.hands.demote()
    const before = await disk(leader)
    await follows(leader, b)
    expect(await disk(leader)).not.toBe(before)
    expect(await written(leader)).toEqual([2])
    expect(exists(join(leader.folder, 'postgres.diverged', 'PG_VERSION'))).toBe(true)
    expect(leader.said.join()).toContain(`is kept in ${leader.folder}/postgres.diverged`)
  })

  test('a Standby that has more than the next Leader is copied anew', async () => {
    const { leader, standbys } = await ledBy(await cluster(), 'a', 'b', 'c')
    const [b, c] = standbys as [HandsNode, HandsNode]
    await b.hands.freeze()
    await writeAlone(leader, 1)
    await level(leader, c)
    await leads(b, 2, 2)
    const before = await disk(c)
    await follows(c, b)
    expect(await disk(c)).not.toBe(before)
    expect(await written(c)).toEqual([])
  })

  test('a part of a record that nobody else has is no reason to copy anew', async () => {
    const { leader, standbys } = await ledBy(await cluster(), 'a', 'b', 'c')
    const [b, c] = standbys as [HandsNode, HandsNode]
    const { received: end } = await c.hands.freeze()
    const [row] = await leader.ask("SELECT pid FROM pg_stat_replication WHERE application_name LIKE 'b#%'")
    const sender = row!.pid as number
    // One record of many chunks, and whoever sends them is stopped between two of them.
    const long = leader.ask(
      "SET synchronous_commit = local; SELECT pg_logical_emit_message(true, 'test', repeat('x', 200000000))",
    )
    await until(async () => (await b.hands.probe()).end > end + 1_000_000)
    process.kill(sender, 'SIGSTOP')
    await long
    const before = await b.hands.freeze()
    process.kill(sender, 'SIGCONT')
    const [part] = await b.ask("SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint AS replayed")
    expect(part!.replayed).toBe(end)
    expect(before.received).toBeGreaterThan(end)
    await leader.hands.demote()
    await leads(c, 2, 2)
    await writeAlone(c, 1)
    await follows(b, c)
    expect(await written(b)).toEqual([1])
    expect(await disk(b)).toBe(before.disk)
  })

  test('a Standby whose log the Leader has not any more is copied anew, and nothing is kept', async () => {
    const { leader, standbys } = await ledBy(await cluster(), 'a', 'b')
    const [b] = standbys as [HandsNode]
    const before = await disk(b)
    await leader.ask("ALTER SYSTEM SET wal_keep_size = '0'")
    await leader.ask("ALTER SYSTEM SET min_wal_size = '32MB'")
    await leader.ask('SET synchronous_commit = local; SELECT pg_reload_conf()')
    for (let segment = 0; segment < 4; segment++) await leader.ask('SELECT pg_switch_wal(); CHECKPOINT')
    await follows(b, leader)
    expect(await disk(b)).not.toBe(before)
    expect(exists(join(b.folder, 'postgres.diverged'))).toBe(false)
    expect(exists(join(b.folder, 'postgres.replaced'))).toBe(false)
  })

  test('a copy that is interrupted leaves what was there', async () => {
    const { leader, standbys } = await ledBy(await cluster(), 'a', 'b')
    const [b] = standbys as [HandsNode]
    await b.hands.freeze()
    await writeAlone(leader, 1)
    await leads(b, 2, 2)
    await leader.hands.demote()
    const before = await leader.hands.freeze()
    await leader.hands.follow('b')
    await until(async () => leader.said.some((line) => line.startsWith('all data is copied from b')))
    expect(await leader.hands.freeze()).toEqual(before)
    expect(exists(join(leader.folder, 'postgres.copying'))).toBe(false)
    expect(await written(leader)).toEqual([1])
    await follows(leader, b)
    expect(await disk(leader)).not.toBe(before.disk)
  })

  test('data of another cluster is left alone, and the operator is told', async () => {
    const { leader, nodes } = await ledBy(await cluster(), 'a')
    const stranger = await leads(await nodes.add('x'), 1, 0)
    await makeTable(stranger)
    await stranger.hands.demote()
    const before = await stranger.hands.freeze()
    await stranger.hands.follow('a')
    await until(async () => stranger.said.some((line) => line.includes('is of another cluster')))
    expect(await stranger.hands.freeze()).toEqual(before)
    expect((await leader.hands.probe()).replicas.size).toBe(0)
  })
})

test.skipIf(process.getuid?.() !== 0 || !exists('/usr/lib/postgresql/15/bin'))(
  'root without namespaces: another user owns what is made, copied and promoted',
  async () => {
    const nodes = await startHandsCluster('/usr/lib/postgresql/15/bin', await findRunAs(false))
    try {
      const a = await leads(await nodes.add('a'), 1, 0)
      await makeTable(a)
      const b = await nodes.add('b')
      await follows(b, a)
      await b.hands.freeze()
      await writeAlone(a, 1)
      await leads(b, 2, 5)
      await a.hands.demote()
      await follows(a, b)
      expect(await written(a)).toEqual([])
      const { uid } = statSync(join(a.folder, 'postgres'))
      expect(uid).not.toBe(0)
      expect(statSync(join(a.folder, 'postgres', 'holdfast.disk')).uid).toBe(uid)
    } finally {
      await nodes.close()
    }
  },
)

const [packaged, system] = await allBinaries()

test.skipIf(system === undefined || system.binaries === packaged!.binaries)(
  'a copy is not taken from a Postgres of another version',
  async () => {
    const nodes = await startHandsCluster(packaged!.binaries)
    try {
      const a = await leads(await nodes.add('a'), 1, 0)
      const b = await nodes.add('b', system!.binaries)
      await b.hands.follow('a')
      await until(async () =>
        b.said.some((line) => /a is not followed: it runs Postgres \d+, and this node 15/.test(line)),
      )
      expect(await b.hands.freeze()).toMatchObject({ received: 0 })
      expect((await a.hands.probe()).replicas.size).toBe(0)
    } finally {
      await nodes.close()
    }
  },
)
