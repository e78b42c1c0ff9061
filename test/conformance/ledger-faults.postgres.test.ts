// What the writer promises when the database fails under it. Repeat a run with HOLDFAST_SEED.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { LoggedCommit } from '#control-plane/ledger/change-log.ts'
import { connect, type Database, type HeldSession } from '#control-plane/ledger/connection.ts'
import { currentEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { createChangeLog, createOutbox } from '#control-plane/ledger/log.ts'
import { createDatabases, ledgerMigrations, migrate } from '#control-plane/ledger/migrate.ts'
import { createPlannedLedger } from '#control-plane/ledger/planned.ts'
import { createWriter } from '#control-plane/ledger/writer.ts'
import { findBinaries } from '#control-plane/postgres/binaries.ts'
import { createPostgres } from '#control-plane/postgres/server.ts'
import { type Change, put } from '#shared/ledger/change.ts'
import { ContentHash } from '#shared/ledger/digest.ts'
import type { Ledger } from '#shared/ledger/store.ts'
import { systemClock } from '#shared/node/clock.ts'
import { ledgerDatabase } from '../support/postgres.ts'
import { runSeed, seeded } from '../support/random.ts'

const cleanups: (() => Promise<unknown> | unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const role = (id: string): Change => put('roles', { id, policy: null, created_at: 1 })

const write = (writer: Ledger, changes: readonly Change[], records: readonly string[] = []) =>
  writer.submit({ statements: [], caller: undefined, decide: () => ({ changes, records }) })

type Fault = 'none' | 'reply lost' | 'connection lost' | 'no head'

/** A database whose sessions fail as told, once. */
function faulty(database: Database): Database & { next: Fault; held: number } {
  const proxy = {
    ...database,
    next: 'none' as Fault,
    held: 0,
    async session(): Promise<HeldSession> {
      const session = await database.session()
      proxy.held++
      return {
        async query(text, params) {
          const due = text === 'COMMIT' && (proxy.next === 'reply lost' || proxy.next === 'connection lost')
          if (!due) return session.query(text, params)
          if (proxy.next === 'reply lost') await session.query(text)
          proxy.next = 'none'
          throw new Error('Connection terminated unexpectedly')
        },
        async prepared(name, text, params) {
          if (name === 'ledger state' && proxy.next === 'no head') {
            proxy.next = 'none'
            throw new Error('Connection terminated unexpectedly')
          }
          return session.prepared(name, text, params)
        },
        release(broken) {
          proxy.held--
          session.release(broken)
        },
      }
    },
  }
  return proxy
}

async function faultyWriter() {
  const real = await ledgerDatabase()
  const database = faulty(real)
  const epoch = await currentEpoch(real, 'leader-1', 1)
  const writer = await createWriter({ database, epoch, clock: systemClock })
  const heard: number[] = []
  writer.onCommit(({ position }) => heard.push(position.seq))
  return { real, database, writer, heard }
}

test('a commit whose reply is lost is answered as unknown, and listeners hear of it all the same', async () => {
  const { real, database, writer, heard } = await faultyWriter()
  await write(writer, [role('a:user:first')])
  let records = 0
  writer.onRecords(() => records++)
  database.next = 'reply lost'
  await expect(write(writer, [role('a:user:unknown')], ['line'])).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('outcome unknown'),
  })
  expect(heard).toEqual([1])
  const { position } = await write(writer, [role('a:user:later')])
  expect(position.seq).toBe(3)
  expect(heard).toEqual([1, 2, 3])
  expect(records).toBeGreaterThan(0)
  expect((await createOutbox(real, writer).read(0)).groups.flatMap(({ lines }) => lines)).toEqual(['line'])
})

test('a commit that did not happen leaves no hole', async () => {
  const { real, database, writer, heard } = await faultyWriter()
  database.next = 'connection lost'
  await expect(write(writer, [role('a:user:unknown')])).rejects.toMatchObject({ code: 'unavailable' })
  expect((await write(writer, [role('a:user:later')])).position.seq).toBe(1)
  expect(heard).toEqual([1])
  expect((await real.query('SELECT id FROM roles')).rows).toEqual([{ id: 'a:user:later' }])
})

test.each([
  ['reply lost', 'outcome unknown', [1, 2]],
  ['connection lost', 'outcome unknown', [1]],
] as const)(
  'a turn that ends with its %s leaves the ledger as the database has it',
  async (fault, says, seqs) => {
    const { real, database, writer, heard } = await faultyWriter()
    const planned = createPlannedLedger({ database, epoch: 1, turns: writer })
    await write(writer, [role('a:user:first')])
    database.next = fault
    await expect(write(planned, [role('a:user:planned')])).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(says),
    })
    // Turn after turn too: the head is the database's again.
    const { position } = await write(planned, [role('a:user:later')])
    expect([...seqs, position.seq]).toEqual(heard)
    const { rows } = await real.query('SELECT seq FROM change_log ORDER BY seq')
    expect(rows.map(({ seq }) => Number(seq))).toEqual(heard)
  },
)

test('a log line that the database refuses is known not to be stored, and its neighbours are', async () => {
  const { real, writer, heard } = await faultyWriter()
  await real.query("ALTER TABLE audit_outbox ADD CHECK (position('refused'::bytea in lines) = 0)")
  const answers = await Promise.allSettled([
    write(writer, [role('a:user:x')], ['one']),
    write(writer, [role('a:user:lost')], ['refused']),
    write(writer, [role('a:user:y')], ['two']),
  ])
  expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(answers[1]).toMatchObject({ reason: { message: expect.stringContaining('nothing was stored') } })
  expect((await real.query('SELECT id FROM roles ORDER BY id')).rows).toEqual([
    { id: 'a:user:x' },
    { id: 'a:user:y' },
  ])
  expect((await createOutbox(real, writer).read(0)).groups.flatMap(({ lines }) => lines)).toEqual([
    'one',
    'two',
  ])
  expect(heard).toEqual([1, 2])
})

test('a connection that fails before its first write is given back', async () => {
  const { database, writer } = await faultyWriter()
  for (let n = 0; n < 20; n++) {
    database.next = 'no head'
    await expect(write(writer, [role(`a:user:${n}`)])).rejects.toMatchObject({ code: 'unavailable' })
    expect(database.held).toBe(0)
  }
  await write(writer, [role('a:user:x')])
  await writer.idle()
  expect(database.held).toBe(0)
})

test('SIGKILL of Postgres under eight clients: nothing acknowledged is lost, positions are dense', async () => {
  const random = seeded(runSeed('ledger faults'))
  const dataDirectory = mkdtempSync(join(tmpdir(), 'holdfast-pg-'))
  cleanups.push(() => rmSync(dataDirectory, { recursive: true, force: true }))
  const binaries = await findBinaries(process.env.PGBIN)
  const postgres = createPostgres({ dataDirectory, binaries, clock: systemClock, log: () => undefined })
  cleanups.push(() => postgres.stop())
  await postgres.start()
  const admin = connect(postgres.url('postgres'), 1)
  await createDatabases(admin, ['main'])
  await admin.close()
  const database = connect(postgres.url('main'))
  cleanups.push(() => database.close())
  await migrate(database, ledgerMigrations)
  const epoch = await currentEpoch(database, 'leader-1', 1)
  const writer = await createWriter({ database, epoch, clock: systemClock })
  const heard: LoggedCommit[] = []
  writer.onCommit((commit) => heard.push(commit))

  const acknowledged = new Map<string, number>()
  let going = true
  const clients = Array.from({ length: 8 }, async (_, client) => {
    for (let n = 0; going; n++) {
      const id = `a:user:c${client}-${n}`
      try {
        const { position } = await write(writer, [role(id)], [id])
        acknowledged.set(id, position.seq)
      } catch (error) {
        expect(error).toMatchObject({ code: 'unavailable' })
        await systemClock.sleep(5)
      }
    }
  })
  let killed: number | undefined
  for (let kill = 0; kill < 5; kill++) {
    const enough = acknowledged.size + random.int(20, 300)
    // What was on its way is acknowledged after a kill too: the next one waits for the server that came after.
    while (acknowledged.size < enough || postgres.pid() === killed || postgres.pid() === undefined) {
      await systemClock.sleep(1)
    }
    killed = postgres.pid()
    process.kill(killed!, 'SIGKILL')
  }
  const enough = acknowledged.size + 50
  while (acknowledged.size < enough) await systemClock.sleep(1)
  going = false
  await Promise.all(clients)
  await writer.idle()

  const { rows: roles } = await database.query('SELECT id, digest FROM roles')
  const { rows: log } = await database.query('SELECT seq FROM change_log WHERE part = 0 ORDER BY seq')
  const { rows: groups } = await database.query(
    "SELECT convert_from(lines, 'UTF8') AS lines FROM audit_outbox",
  )
  const lines = groups.flatMap(({ lines }) => String(lines).split('\n'))
  const stored = new Set(roles.map(({ id }) => id as string))
  expect([...acknowledged.keys()].filter((id) => !stored.has(id))).toEqual([])
  const dense = Array.from({ length: stored.size }, (_, i) => i + 1)
  expect(log.map(({ seq }) => Number(seq))).toEqual(dense)
  expect(heard.map(({ position }) => position.seq)).toEqual(dense)
  expect(new Set(lines)).toEqual(stored)
  expect(lines.length).toBe(stored.size)
  const digests = roles.map(({ digest }) => digest as Uint8Array)
  expect(writer.head().contentHash).toBe(new ContentHash().change(digests, []).toString())
})

test('a commit whose wait for the Standby was cut off is told to nobody before the Standby has it (I6)', async () => {
  const { real, writer, heard } = await faultyWriter()
  const waiting =
    "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
  const waitsFor = async (names: string): Promise<void> => {
    await real.query(`ALTER SYSTEM SET synchronous_standby_names = '${names}'`)
    await real.query('SELECT pg_reload_conf()')
  }
  const backendThatWaits = async (given = () => false): Promise<number | undefined> => {
    while (!given()) {
      const { rows } = await real.query(waiting)
      if (rows.length > 0) return Number(rows[0]!.pid)
    }
    return undefined
  }
  /** The setting counts some time after it was given. */
  const untilItWaits = async (): Promise<void> => {
    for (let pid: number | undefined; pid === undefined; ) {
      let done = false
      const end = (): void => {
        done = true
      }
      const probe = real.query("SELECT pg_logical_emit_message(true, 'probe', '')").then(end, end)
      pid = await backendThatWaits(() => done)
      if (pid !== undefined) await real.query('SELECT pg_terminate_backend($1)', [pid])
      await probe
    }
  }
  await write(writer, [role('a:user:first')])
  await waitsFor('nobody')
  await untilItWaits()
  const cutOff = expect(write(writer, [role('a:user:second')])).rejects.toThrow('outcome unknown')
  await real.query('SELECT pg_terminate_backend($1)', [await backendThatWaits()])
  await cutOff
  const log = await createChangeLog(real, writer)
  const given: string[] = []
  const next = Promise.all([
    writer.certain()!.then(() => given.push('to who reads')),
    log.read({ epoch: 1, seq: 1 }, 1_000).then(() => given.push('to a Follower that catches up')),
    log.snapshot(async () => undefined).then(() => given.push('to a new Follower')),
    write(writer, [role('a:user:third')]),
  ])
  await backendThatWaits()
  // The second can be read, and is told and given to nobody.
  expect(given).toEqual([])
  expect((await real.query('SELECT seq FROM ledger_state')).rows).toEqual([{ seq: 2 }])
  expect(heard).toEqual([1])
  await waitsFor('')
  await next
  expect(heard).toEqual([1, 2, 3])
  expect(given.sort()).toEqual(['to a Follower that catches up', 'to a new Follower', 'to who reads'])
  expect(writer.certain()).toBeUndefined()
})
