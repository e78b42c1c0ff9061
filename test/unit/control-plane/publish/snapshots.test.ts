// What is at stake: a snapshot costs the Leader one reading however many Followers ask, and never all rows in
// memory; what a Follower gets is one position, whole.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ChangeLog, LedgerSnapshot } from '#control-plane/ledger/change-log.ts'
import { createSnapshots, type Snapshots } from '#control-plane/publish/snapshots.ts'
import { fromBase64, fromUtf8 } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { decodeChanges } from '#shared/ledger/change.ts'
import type { Row, TableName } from '#shared/ledger/tables.ts'
import { decodeToFollower, type SnapshotHeader } from '#shared/replication/messages.ts'

const contentHash = 'a'.repeat(64)

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-snapshots-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const role = (n: number): Row => ({ id: `acme:user:u${n}`, policy: null, created_at: n })

/** A log whose snapshot has three pieces; `readings` counts how often it was read. */
function fakeLog() {
  const log: { seq: number; floor: number; readings: number; fails: boolean; readonly port: ChangeLog } = {
    seq: 10,
    floor: 0,
    readings: 0,
    fails: false,
    port: {
      head: () => ({ position: { epoch: 1, seq: log.seq }, contentHash }),
      floor: () => ({ epoch: 1, seq: log.floor }),
      read: async () => [],
      hashAt: async () => undefined,
      subscribe: () => () => undefined,
      snapshot<T>(body: (snapshot: LedgerSnapshot) => Promise<T>): Promise<T> {
        log.readings++
        return body({ position: { epoch: 1, seq: log.seq }, contentHash, at: 7, pieces: pieces() })
      },
    },
  }
  async function* pieces(): AsyncGenerator<{ readonly table: TableName; readonly rows: readonly Row[] }> {
    for (const n of [1, 2, 3]) {
      if (log.fails && n === 2) throw new Error('the database went away')
      yield { table: 'roles', rows: [role(n)] }
    }
  }
  return log
}

async function rowsOf(snapshots: Snapshots, header: SnapshotHeader, from = 0): Promise<unknown[]> {
  const rows: unknown[] = []
  for await (const frame of snapshots.chunks(header, from)) {
    const message = decodeToFollower(frame)
    if (message.type !== 'chunk') throw new Error(message.type)
    const text = fromUtf8(gunzipSync(fromBase64(message.rows)!))!
    rows.push([message.chunk, ...decodeChanges(text).map((change) => change.op === 'put' && change.row)])
  }
  return rows
}

test('many Followers at once cost one reading, and each gets all of it', async () => {
  const log = fakeLog()
  const snapshots = createSnapshots(log.port, folder, randomBytes)
  const headers = await Promise.all([snapshots.current(), snapshots.current(), snapshots.current()])
  expect(log.readings).toBe(1)
  expect(headers[0]).toMatchObject({ position: { epoch: 1, seq: 10 }, contentHash, at: 7, chunks: 3 })
  const all = [
    [0, role(1)],
    [1, role(2)],
    [2, role(3)],
  ]
  expect(await Promise.all(headers.map((header) => rowsOf(snapshots, header)))).toEqual([all, all, all])
  expect(await rowsOf(snapshots, headers[0]!, 2)).toEqual(all.slice(2))
})

test('it is served again while the log goes on from it, and made anew when not; the old file goes', async () => {
  const log = fakeLog()
  const snapshots = createSnapshots(log.port, folder, randomBytes)
  const first = await snapshots.current()
  log.seq = 5_010
  expect(await snapshots.current()).toEqual(first)
  log.seq = 5_011
  const second = await snapshots.current()
  expect(second.position.seq).toBe(5_011)
  log.floor = 6_000
  log.seq = 6_001
  const third = await snapshots.current()
  expect(third.position.seq).toBe(6_001)
  expect(readdirSync(folder)).toEqual([`${third.id}.snapshot`])
})

test('one that is being read stays whole for its reader while a newer one takes its place', async () => {
  const log = fakeLog()
  const snapshots = createSnapshots(log.port, folder, randomBytes)
  const reading = snapshots.chunks(await snapshots.current(), 0)[Symbol.asyncIterator]()
  await reading.next()
  log.seq = 50_000
  await snapshots.current()
  expect((await reading.next()).done).toBe(false)
  expect((await reading.next()).done).toBe(false)
  expect((await reading.next()).done).toBe(true)
})

test('one that fails in the middle leaves nothing, and the next attempt is free', async () => {
  const log = fakeLog()
  log.fails = true
  const snapshots = createSnapshots(log.port, folder, randomBytes)
  await expect(snapshots.current()).rejects.toThrow('the database went away')
  expect(readdirSync(folder)).toEqual([])
  log.fails = false
  expect(await snapshots.current()).toMatchObject({ chunks: 3 })
})
