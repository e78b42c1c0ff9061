// What stands beside the data, and that an interruption at any step leaves one whole.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import {
  clearLeftovers,
  diskOf,
  emptyDisk,
  forgetEmpty,
  markFirst,
  prepareRecovery,
  putInPlace,
  removeThrownAway,
} from '#control-plane/postgres/data.ts'
import type { Room } from '#control-plane/postgres/room.ts'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** A folder with clusters of one word each, under the names that they are kept by. */
function roomWith(clusters: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-data-'))
  folders.push(folder)
  for (const [name, word] of Object.entries(clusters)) {
    mkdirSync(join(folder, name, 'pg_wal'), { recursive: true })
    writeFileSync(join(folder, name, 'PG_VERSION'), word)
  }
  const room = {
    cluster: join(folder, 'postgres'),
    runAs: { prefix: [], owner: undefined },
  } as unknown as Room
  const names = ['postgres', 'postgres.copying', 'postgres.replaced', 'postgres.diverged']
  const wordOf = (name: string): [string, string][] => {
    const file = join(folder, name, 'PG_VERSION')
    return existsSync(file) ? [[name, readFileSync(file, 'utf8')]] : []
  }
  return { room, folder, found: () => Object.fromEntries(names.flatMap(wordOf)) }
}

test('a copy takes the place of what was there, which is kept when it has what nobody else has', async () => {
  const clean = roomWith({ postgres: 'old', 'postgres.copying': 'new', 'postgres.diverged': 'kept' })
  await putInPlace(clean.room, false)
  expect(clean.found()).toEqual({ postgres: 'new', 'postgres.diverged': 'kept' })
  await removeThrownAway(clean.room)
  expect(readdirSync(clean.folder).sort()).toEqual(['postgres', 'postgres.diverged'])
  const diverged = roomWith({ postgres: 'old', 'postgres.copying': 'new', 'postgres.diverged': 'older' })
  await putInPlace(diverged.room, true)
  expect(diverged.found()).toEqual({ postgres: 'new', 'postgres.diverged': 'old' })
  const first = roomWith({ 'postgres.copying': 'new' })
  await putInPlace(first.room, false)
  expect(first.found()).toEqual({ postgres: 'new' })
})

test('what cannot take its place leaves what is there', async () => {
  const { room, found } = roomWith({ postgres: 'old' })
  await expect(putInPlace(room, false)).rejects.toThrow('ENOENT')
  expect(found()).toEqual({ postgres: 'old' })
})

test.each([
  ['while it was taken', { postgres: 'old', 'postgres.copying': 'part' }, { postgres: 'old' }],
  [
    'with the old data moved away',
    { 'postgres.replaced': 'old', 'postgres.copying': 'new' },
    { postgres: 'old' },
  ],
  [
    'before the old data was kept',
    { postgres: 'new', 'postgres.replaced': 'old', 'postgres.diverged': 'older' },
    { postgres: 'new', 'postgres.diverged': 'old' },
  ],
  ['with nothing to replace', { 'postgres.copying': 'part' }, {}],
])('a copy that was interrupted %s', async (_when, clusters, left) => {
  const { room, found } = roomWith(clusters)
  await clearLeftovers(room)
  expect(found()).toEqual(left)
})

test('an empty disk keeps its name until it holds something; one that lost its data is another', async () => {
  const { room } = roomWith({})
  const empty = await emptyDisk(room)
  expect(empty).toEqual({ disk: expect.stringMatching(/^[0-9a-f]{8}$/), first: false })
  expect(await emptyDisk(room)).toEqual(empty)
  await markFirst(room, empty)
  expect(await emptyDisk(room)).toEqual({ ...empty, first: true })
  await forgetEmpty(room)
  expect((await emptyDisk(room)).disk).not.toBe(empty.disk)
})

test('data keeps its name, and what bears the name of another node gets a new one', async () => {
  const { room } = roomWith({ postgres: 'data' })
  const disk = await diskOf(room, 'a')
  expect(await diskOf(room, 'a')).toBe(disk)
  expect(await diskOf(room, 'b')).not.toBe(disk)
})

test('before a start: recovery, no setting in the data, and no history that the log does not lead to', async () => {
  const { room } = roomWith({ postgres: 'data' })
  const at = (name: string): string => join(room.cluster, name)
  writeFileSync(at('postgresql.auto.conf'), "primary_conninfo = 'host=elsewhere'\n")
  writeFileSync(at('recovery.signal'), '')
  writeFileSync(at('pg_wal/000000030000000000000004'), '')
  for (const name of ['00000002.history', '00000003.history', '00000004.history', '00000005.history'])
    writeFileSync(at(`pg_wal/${name}`), name === '00000004.history' ? '' : '1\t0/1\t\n')
  await prepareRecovery(room)
  expect(existsSync(at('standby.signal'))).toBe(true)
  expect(existsSync(at('recovery.signal'))).toBe(false)
  expect(readFileSync(at('postgresql.auto.conf'), 'utf8')).toBe('')
  expect(['2', '3', '4', '5'].map((n) => existsSync(at(`pg_wal/0000000${n}.history`)))).toEqual([
    true,
    true,
    false,
    false,
  ])
})
