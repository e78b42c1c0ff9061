// What happens at the bounds of the ledger: of its queue, its lanes, its log and its schema.
import { expect, test } from 'vitest'
import type { Database } from '#control-plane/ledger/connection.ts'
import { currentEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { createLanes } from '#control-plane/ledger/lanes.ts'
import { createChangeLog } from '#control-plane/ledger/log.ts'
import { ledgerMigrations, migrate } from '#control-plane/ledger/migrate.ts'
import { createWriter, type Writer } from '#control-plane/ledger/writer.ts'
import { limits } from '#shared/base/limits.ts'
import { wall } from '#shared/base/time.ts'
import { type Change, put } from '#shared/ledger/change.ts'
import { systemClock } from '#shared/node/clock.ts'
import { emptyDatabase, ledgerDatabase } from '../support/postgres.ts'

const role = (id: string): Change => put('roles', { id, policy: null, created_at: 1 })

const write = (writer: Writer, changes: readonly Change[], records: readonly string[] = []) =>
  writer.submit({ statements: [], caller: undefined, decide: () => ({ changes, records }) })

async function newWriter(database: Database, now = () => Date.now()): Promise<Writer> {
  const epoch = await currentEpoch(database, 'leader-1', 1)
  return createWriter({ database, epoch, clock: { ...systemClock, wall: () => wall(now()) } })
}

test('beyond the queue a write is refused at once, and the others are not touched', async () => {
  const writer = await newWriter(await ledgerDatabase())
  const queued = Array.from({ length: limits.commandsWaiting }, () => write(writer, []))
  await expect(write(writer, [role('a:user:x')])).rejects.toMatchObject({ code: 'unavailable' })
  const answers = await Promise.all(queued)
  expect(answers.every(({ changed }) => !changed)).toBe(true)
  expect((await write(writer, [role('a:user:x')])).position.seq).toBe(1)
})

test('a lane is waited for only so long', async () => {
  const lanes = createLanes(1)
  await lanes.enter('policy a')
  await expect(lanes.enter('policy a')).rejects.toMatchObject({ code: 'policy_conflict' })
  await lanes.enter('policy b')
  lanes.leave('policy a')
  await lanes.enter('policy a')
})

test('a lane is free again after a load that failed', async () => {
  const writer = await newWriter(await ledgerDatabase())
  const load = (decide: () => { changes: Change[]; records: string[] }) =>
    writer.submit({ statements: [], caller: undefined, lane: 'policy a', decide })
  const refused = load(() => {
    throw new Error('refused')
  })
  const next = load(() => ({ changes: [role('a:user:x')], records: [] }))
  await expect(refused).rejects.toThrow('refused')
  expect((await next).position.seq).toBe(1)
})

test('the log is cut by age, oldest first, and the floor says so', async () => {
  const database = await ledgerDatabase()
  let now = 1_000_000
  const writer = await newWriter(database, () => now)
  const log = await createChangeLog(database, writer, { ageMs: 1_000, bytes: 1_000_000 })
  for (let n = 1; n <= 5; n++) {
    await write(writer, [role(`a:user:${n}`)])
    now += 400
  }
  await log.trim()
  // Written at 0, 400, 800, 1200, 1600: what is more than 1000 older than the newest has gone.
  expect(log.floor().seq).toBe(2)
  expect((await log.read({ epoch: 1, seq: 2 }, 1_000_000)).map(({ position }) => position.seq)).toEqual([
    3, 4, 5,
  ])
  now += 1_000_000
  await write(writer, [role('a:user:6')])
  await log.trim()
  expect(log.floor().seq).toBe(5)
  expect(await log.hashAt({ epoch: 1, seq: 6 })).toBe(writer.head().contentHash)
})

test('the log is cut by size, what was there at the start included', async () => {
  const database = await ledgerDatabase()
  const before = await newWriter(database)
  for (let n = 1; n <= 20; n++) await write(before, [role(`a:user:${String(n).padStart(60, '0')}`)])
  await before.idle()
  const writer = await newWriter(database)
  const sizes = await createChangeLog(database, writer)
  const one = (await sizes.read({ epoch: 1, seq: 0 }, 1))[0]!.bytes
  const log = await createChangeLog(database, writer, { ageMs: 1e12, bytes: 10 * one })
  for (let n = 21; n <= 25; n++) await write(writer, [role(`a:user:${String(n).padStart(60, '0')}`)])
  await log.trim()
  expect(log.floor().seq).toBe(15)
  await write(writer, [role(`a:user:${'6'.repeat(60)}`)])
  await log.trim()
  expect(log.floor().seq).toBe(16)
  // One commit above the bound by itself stays while it is the newest.
  await write(
    writer,
    Array.from({ length: 200 }, (_, n) => role(`a:user:large${n}`)),
  )
  await log.trim()
  expect(log.floor().seq).toBe(26)
})

test('several processes may migrate at once; a database of a newer program is refused', async () => {
  const database = await emptyDatabase()
  await Promise.all(Array.from({ length: 4 }, () => migrate(database, ledgerMigrations)))
  const { rows } = await database.query('SELECT epoch, seq FROM ledger_state')
  expect(rows).toEqual([{ epoch: 0, seq: 0 }])
  const newest = ledgerMigrations.at(-1)!.version
  await database.query('INSERT INTO schema_version VALUES ($1)', [newest + 1])
  await expect(migrate(database, ledgerMigrations)).rejects.toMatchObject({
    code: 'settings_invalid',
    message: `the database has schema ${newest + 1} and this program knows ${newest}: start a newer holdfast`,
  })
})

test('a step that fails leaves the schema as it was', async () => {
  const database = await emptyDatabase()
  const broken = { version: 2, sql: ['CREATE TABLE half (n integer)', 'CREATE TABLE half (n integer)'] }
  await expect(migrate(database, [...ledgerMigrations, broken])).rejects.toThrow('already exists')
  await migrate(database, ledgerMigrations)
  const { rows } = await database.query("SELECT to_regclass('half') AS half")
  expect(rows).toEqual([{ half: null }])
})
