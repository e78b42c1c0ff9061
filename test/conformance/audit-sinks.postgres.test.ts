// What is at stake: the audit files hold each record of the database once, in one order, whenever the process ends
// and whoever moves a file away.
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openSinks, type Sinks } from '#control-plane/audit/sinks.ts'
import { type AuditStore, auditMigrations, createAuditStore } from '#control-plane/audit/store.ts'
import type { Database } from '#control-plane/ledger/connection.ts'
import { migrate } from '#control-plane/ledger/migrate.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { chained, fetchLine, noLines } from '../support/audit-lines.ts'
import { type ManualClock, manualClock } from '../support/manual-clock.ts'
import { emptyDatabase } from '../support/postgres.ts'

let database: Database
let clock: ManualClock
let store: AuditStore
let folder: string
let reported: string[]
const files = () => ({ json: join(folder, 'audit.json'), text: join(folder, 'audit.log') })

beforeEach(async () => {
  database = await emptyDatabase()
  clock = manualClock()
  await migrate(database, auditMigrations)
  store = await createAuditStore({
    database,
    outbox: noLines,
    report: () => undefined,
    node: 'leader-1',
    random: randomBytes,
    clock,
  })
  folder = mkdtempSync(join(tmpdir(), 'holdfast-audit-'))
  reported = []
})
afterEach(async () => {
  await database.close()
  rmSync(folder, { recursive: true })
})

const open = (over: Database = database): Promise<Sinks> =>
  openSinks({ database: over, files: files(), clock, report: (message) => void reported.push(message) }).then(
    (sinks) => {
      void sinks.follow()
      return sinks
    },
  )

/** Until the files have what is in the database now. */
async function followed(sinks: Sinks): Promise<void> {
  const next = sinks.follow()
  let done = false
  void next.then(() => {
    done = true
  })
  while (!done) {
    await Promise.race([next, clock.sleeping(limits.auditBatchWaitMs)])
    clock.advance(limits.auditBatchWaitMs)
  }
}

/** As a start and an orderly end do it. */
const openAndClose = async (): Promise<void> => (await open()).close()

const append = (...names: string[]): Promise<void> => store.append(names.map((name) => fetchLine(name)))
const linesOf = (file: string): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1)
const jsonNames = (file = files().json): string[] =>
  linesOf(file).map((line) => (JSON.parse(line) as { PID: string }).PID)
const textNames = (file = files().text): string[] => linesOf(file).map((line) => line.split(' ')[4]!)

function expectFiles(...names: string[]): void {
  expect(jsonNames()).toEqual(names)
  expect(textNames()).toEqual(names)
}

describe('audit files', () => {
  test('hold the elements of a record under their full names, and what tells where it is from', async () => {
    await append('req-1')
    await openAndClose()
    expect(JSON.parse(linesOf(files().json)[0]!)).toEqual({
      meta: { sequenceId: '1' },
      'auth@43868': { user: 'acme:host:app' },
      'subject@43868': { resource: 'acme:variable:db/pw' },
      'client@43868': { ip: '10.0.0.7' },
      'action@43868': { result: 'success', operation: 'fetch' },
      PROGRAM: 'conjur',
      PID: 'req-1',
      MSGID: 'fetch',
      MESSAGE: 'acme:host:app fetched acme:variable:db/pw',
      LEVEL: 'info',
      ISODATE: new Date(1_767_600_000_000).toISOString(),
      FACILITY: 'authpriv',
      NODE: 'leader-1',
      SEQ: 1,
    })
    const [line] = linesOf(files().text)
    expect(line).toBe(fetchLine('req-1').replace('fetch [auth', 'fetch [meta sequenceId="1"][auth'))
  })

  test('belong to their owner alone', async () => {
    await openAndClose()
    for (const file of Object.values(files())) expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  test('follow while records come, more than one batch of them', async () => {
    const sinks = await open()
    const names = Array.from({ length: limits.auditBatchRecords * 2 + 7 }, (_, i) => `r${i}`)
    await append(...names)
    await followed(sinks)
    expectFiles(...names)
    await append('late')
    await sinks.close()
    expectFiles(...names, 'late')
  })

  test('a record whose commit comes after that of a later one is not passed over', async () => {
    let release: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    let inserted: () => void = () => undefined
    const drawn = new Promise<void>((resolve) => {
      inserted = resolve
    })
    const slow: Database = {
      ...database,
      transaction: (body) =>
        database.transaction(async (session) => {
          const result = await body(session)
          inserted()
          await gate
          return result
        }),
    }
    const slowStore = await createAuditStore({
      database: slow,
      outbox: noLines,
      report: () => undefined,
      node: 'leader-1',
      random: randomBytes,
      clock,
    })
    const sinks = await open()
    const early = slowStore.receive({ node: 'follower-1', incarnation: 'i' }, chained([fetchLine('early')]))
    await drawn
    await append('late')
    // Either it waits for the early one, or it gives up and says so; it never goes past it.
    await followed(sinks)
    const passedOver = jsonNames()
    release()
    await early
    expect(passedOver).toEqual([])
    await sinks.close()
    expectFiles('early', 'late')
  })

  test('a torn last line is cut off, and the file goes on after the last whole one', async () => {
    await append('r1', 'r2', 'r3')
    await openAndClose()
    for (const file of Object.values(files())) truncateSync(file, statSync(file).size - 20)
    await append('r4')
    await openAndClose()
    expectFiles('r1', 'r2', 'r3', 'r4')
  })

  test('a file that was cut to nothing but a torn line starts again', async () => {
    await append('r1')
    await openAndClose()
    await database.query('DELETE FROM audit_files')
    for (const file of Object.values(files())) truncateSync(file, 10)
    await openAndClose()
    expectFiles('r1')
  })

  test('somebody else’s last line is passed over', async () => {
    await append('r1')
    await openAndClose()
    for (const file of Object.values(files())) appendFileSync(file, '-- checked by the auditor --\n')
    await append('r2')
    await openAndClose()
    expect(linesOf(files().json)).toHaveLength(3)
    expect(textNames().at(-1)).toBe('r2')
  })

  test('a file that is moved away is continued in a new one, while running and after a start', async () => {
    const sinks = await open()
    await append('r1', 'r2')
    await followed(sinks)
    for (const file of Object.values(files())) renameSync(file, `${file}.1`)
    await append('r3')
    await sinks.close()
    expectFiles('r3')
    expect(jsonNames(`${files().json}.1`)).toEqual(['r1', 'r2'])
    for (const file of Object.values(files())) renameSync(file, `${file}.2`)
    await append('r4')
    await openAndClose()
    expectFiles('r4')
  })

  test('the file of an earlier installation is added to from the first record on', async () => {
    await append('r1', 'r2', 'r3')
    await openAndClose()
    await database.query('TRUNCATE messages, audit_streams, audit_files RESTART IDENTITY')
    await append('new')
    await openAndClose()
    expectFiles('r1', 'r2', 'r3', 'new')
  })

  test('a name that looks like a number of ours is not taken for one', async () => {
    await append('r1', 'r2')
    await store.append([fetchLine('[meta', 'x:variable: [meta sequenceId="1"]')])
    await openAndClose()
    await append('r4')
    await openAndClose()
    expectFiles('r1', 'r2', '[meta', 'r4')
  })

  test('while the database is away they wait, and say so once', async () => {
    let gone = false
    const flaky: Database = {
      ...database,
      transaction: (body) => (gone ? Promise.reject(new Error('gone')) : database.transaction(body)),
    }
    const sinks = await open(flaky)
    await followed(sinks)
    gone = true
    await append('r1')
    await followed(sinks)
    await followed(sinks)
    expect(reported).toEqual(['the audit files wait: gone'])
    gone = false
    await sinks.close()
    expectFiles('r1')
  })
})
