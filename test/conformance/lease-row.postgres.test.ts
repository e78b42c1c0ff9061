// The lease in the database: one has it, in an epoch of his own, and by the database's clock.
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Database } from '#control-plane/ledger/connection.ts'
import { beginGuarded, newestEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { createWriter } from '#control-plane/ledger/writer.ts'
import { createLeaseRow, type LeaseRow } from '#control-plane/managed/lease-row.ts'
import { put } from '#shared/ledger/change.ts'
import { systemClock } from '#shared/node/clock.ts'
import { ledgerDatabase, testUrl } from '../support/postgres.ts'

let database: Database
let url: string
const rows: LeaseRow[] = []
beforeEach(async () => {
  database = await ledgerDatabase()
  const named = await database.query('SELECT current_database() AS name')
  url = await testUrl(named.rows[0]!.name as string)
})
afterEach(async () => {
  await Promise.all(rows.splice(0).map((row) => row.close()))
  await database.close()
})

function rowOf(node: string, lifeMs = 60_000): LeaseRow {
  const report = (): void => undefined
  const row = createLeaseRow({ url, node, lifeMs, renewWithinMs: 5_000, clock: systemClock, report })
  rows.push(row)
  return row
}

/** As if the newest renewal was that long ago. */
const age = (ms: number) =>
  database.query("UPDATE leader_lease SET renewed_at = renewed_at - $1 * interval '1 millisecond'", [ms])

test('the first who asks has it; the others hear who, until it was not renewed for its life', async () => {
  const [first, second] = [rowOf('node-1'), rowOf('node-2', 5_000)]
  expect(await first.take()).toMatchObject({ kind: 'ours', epoch: 1 })
  expect(await second.take()).toEqual({ kind: 'held', by: { node: 'node-1', epoch: 1 } })
  // Its life is the holder's, not the one who asks.
  await age(50_000)
  expect(await second.take()).toMatchObject({ kind: 'held' })
  expect(await first.renew(1)).toMatchObject({ kind: 'ours', epoch: 1 })
  await age(61_000)
  expect(await second.take()).toMatchObject({ kind: 'ours', epoch: 2 })
  expect(await first.renew(1)).toEqual({ kind: 'held', by: { node: 'node-2', epoch: 2 } })
  const { rows: epochs } = await database.query('SELECT epoch, node FROM cluster_epoch ORDER BY epoch')
  expect(epochs).toEqual([
    { epoch: 1, node: 'node-1' },
    { epoch: 2, node: 'node-2' },
  ])
})

test('of many who ask at once one has it', async () => {
  const asking = Array.from({ length: 6 }, (_, i) => rowOf(`node-${i}`))
  for (let epoch = 1; epoch <= 3; epoch++) {
    const heard = await Promise.all(asking.map((row) => row.take()))
    expect(heard.filter(({ kind }) => kind === 'ours')).toMatchObject([{ epoch }])
    expect(heard.filter(({ kind }) => kind === 'held')).toHaveLength(5)
    await age(61_000)
  }
})

test('one that is given back is free at once, and only its holder gives it back', async () => {
  const [first, second] = [rowOf('node-1'), rowOf('node-2')]
  await first.take()
  await second.giveBack(1)
  expect(await second.take()).toMatchObject({ kind: 'held' })
  await first.giveBack(1)
  expect(await second.take()).toMatchObject({ kind: 'ours', epoch: 2 })
})

test('who was deposed writes nothing, and one that stands still within a write holds nobody up', async () => {
  const [first, second] = [rowOf('node-1'), rowOf('node-2')]
  await first.take()
  const writer = await createWriter({ database, epoch: 1, clock: systemClock })
  const stuck = await database.session()
  await beginGuarded(stuck, 1)
  await stuck.query("INSERT INTO roles (id, created_at, digest) VALUES ('a:user:stuck', 1, '')")
  await age(61_000)
  expect(await second.take()).toMatchObject({ kind: 'ours', epoch: 2 })
  await expect(stuck.query('COMMIT')).rejects.toThrow()
  stuck.release(true)
  const changes = [put('roles', { id: 'a:user:late', policy: null, created_at: 1 })]
  const late = writer.submit({
    statements: [],
    caller: undefined,
    decide: () => ({ changes, records: [] }),
  })
  await expect(late).rejects.toMatchObject({ code: 'stale_epoch' })
  expect((await database.query('SELECT id FROM roles')).rows).toEqual([])
  expect(await newestEpoch(database)).toBe(2)
})
