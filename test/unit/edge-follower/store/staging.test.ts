// A snapshot comes in pieces, perhaps over several connections, and takes the place of the old data at once.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { HashMismatch } from '#edge-follower/store/replica.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { wall } from '#shared/base/time.ts'
import { put } from '#shared/ledger/change.ts'
import { schemaSql } from '#shared/ledger/schema.ts'
import { tableNames } from '#shared/ledger/tables.ts'
import { contentIn, contentOf, stageChunks, takeSnapshot, temporaryFolder } from '../../../support/copy.ts'
import { runSeed, seeded } from '../../../support/random.ts'
import { randomChanges, Source } from '../../../support/source.ts'

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => folder.remove())

function filled(seed: number, changes = 300): Source {
  const source = new Source()
  source.commit(randomChanges(seeded(seed), changes))
  return source
}

const openCopy = () => openSqlite(`${folder.path}/data.db`, 'writer')

describe('a snapshot', () => {
  test('becomes the content of an empty copy, with its position', () => {
    const source = filled(runSeed('snapshot'))
    const sqlite = openCopy()
    const replica = createReplicaStore(sqlite)
    expect(replica.held()).toBeUndefined()
    takeSnapshot(replica, source)
    expect(contentIn(sqlite)).toEqual(contentOf(source))
    expect(replica.held()).toEqual({ position: source.position, contentHash: source.contentHash })
    expect(replica.staged()).toBeUndefined()
    sqlite.close()
  })

  test('an empty one has no chunks', () => {
    const sqlite = openCopy()
    const replica = createReplicaStore(sqlite)
    takeSnapshot(replica, new Source())
    expect(replica.held()?.position).toEqual({ epoch: 1, seq: 0 })
    sqlite.close()
  })

  test('goes on after a restart where it was, and passes over chunks that it has', () => {
    const source = filled(runSeed('resumed snapshot'))
    const snapshot = source.snapshot(20)
    const first = openCopy()
    const begun = createReplicaStore(first)
    begun.stageBegin(snapshot.header)
    stageChunks(begun, { ...snapshot, chunks: snapshot.chunks.slice(0, 3) })
    first.close()

    const sqlite = openCopy()
    const replica = createReplicaStore(sqlite)
    expect(replica.staged()).toEqual({ id: snapshot.header.id, nextChunk: 3 })
    stageChunks(replica, snapshot, 1)
    replica.stageFinish(wall(0))
    expect(contentIn(sqlite)).toEqual(contentOf(source))
    sqlite.close()
  })

  test('readers see the old data until the switch, and the new data from then on', async () => {
    const old = filled(1)
    const writer = openCopy()
    const replica = createReplicaStore(writer)
    takeSnapshot(replica, old)
    const reader = openSqlite(`${folder.path}/data.db`, 'reader')

    const source = filled(2)
    const snapshot = source.snapshot()
    replica.stageBegin(snapshot.header)
    stageChunks(replica, snapshot)
    expect(contentIn(reader)).toEqual(contentOf(old))
    reader.readForThisTurn()
    expect(contentIn(reader)).toEqual(contentOf(old))
    replica.stageFinish(wall(0))
    expect(contentIn(reader), 'the turn has its own data until it ends').toEqual(contentOf(old))
    await new Promise((resolve) => setImmediate(resolve))
    expect(contentIn(reader)).toEqual(contentOf(source))
    reader.close()
    writer.close()
  })

  test('a switch that breaks off at any step leaves the old data, and can be made again', () => {
    const old = filled(1)
    const source = filled(2)
    const sqlite = openCopy()
    takeSnapshot(createReplicaStore(sqlite), old)
    let steps = Number.POSITIVE_INFINITY
    const breaking = createReplicaStore({
      ...sqlite,
      run(sql, params) {
        if (steps-- === 0) throw new Error('broken off')
        sqlite.run(sql, params)
      },
    })
    const snapshot = source.snapshot()
    breaking.stageBegin(snapshot.header)
    stageChunks(breaking, snapshot)
    for (let broken = 0; ; broken++) {
      steps = broken
      try {
        breaking.stageFinish(wall(0))
      } catch {
        expect(contentIn(sqlite)).toEqual(contentOf(old))
        expect(breaking.held()?.contentHash).toBe(old.contentHash)
        continue
      }
      expect(broken).toBeGreaterThan(2 * tableNames.length)
      break
    }
    expect(contentIn(sqlite)).toEqual(contentOf(source))
    sqlite.close()
  })

  test('is dropped when its rows are not what its header promised, and the old data stays', () => {
    const old = filled(1)
    const sqlite = openCopy()
    const replica = createReplicaStore(sqlite)
    takeSnapshot(replica, old)
    const snapshot = filled(2).snapshot()
    replica.stageBegin(snapshot.header)
    const wrong = snapshot.chunks.map((chunk, i) =>
      i === 0 ? { ...chunk, rows: chunk.rows.slice(1) } : chunk,
    )
    stageChunks(replica, { ...snapshot, chunks: wrong })
    expect(() => replica.stageFinish(wall(0))).toThrow(HashMismatch)
    expect(contentIn(sqlite)).toEqual(contentOf(old))
    expect(replica.staged()).toBeUndefined()
    expect(tablesIn(sqlite)).not.toContain('next_roles')
    sqlite.close()
  })

  test('is not finished before its last chunk, and chunks do not come out of order', () => {
    const sqlite = openCopy()
    const replica = createReplicaStore(sqlite)
    const snapshot = filled(2).snapshot(20)
    replica.stageBegin(snapshot.header)
    expect(() => replica.stageChunk(1, snapshot.chunks[1]!.table, [])).toThrow(/before chunk 0/)
    expect(() => replica.stageFinish(wall(0))).toThrow(HashMismatch)
    sqlite.close()
  })

  test('another one takes the place of one that was begun', () => {
    const source = filled(2)
    const sqlite = openCopy()
    const replica = createReplicaStore(sqlite)
    const abandoned = filled(1).snapshot()
    replica.stageBegin(abandoned.header)
    stageChunks(replica, { ...abandoned, chunks: abandoned.chunks.slice(0, 2) })
    takeSnapshot(replica, source)
    expect(contentIn(sqlite)).toEqual(contentOf(source))
    sqlite.close()
  })

  test('of a lower epoch is refused', () => {
    const sqlite = openCopy()
    const replica = createReplicaStore(sqlite)
    const source = filled(1)
    source.commit([], 3)
    takeSnapshot(replica, source)
    expect(() => replica.stageBegin(filled(2).snapshot().header)).toThrow(/I8/)
    sqlite.close()
  })

  test('leaves the schema of a new database: tables, indexes and nothing beside them', () => {
    const sqlite = openCopy()
    const replica = createReplicaStore(sqlite)
    const before = schemaIn(sqlite)
    takeSnapshot(replica, filled(1))
    takeSnapshot(replica, filled(2))
    expect(schemaIn(sqlite)).toEqual(before)
    expect(before).toHaveLength(schemaSql('sqlite', 1).length + schemaSql('sqlite', 2).length + 3)
    sqlite.close()
  })

  test('commits go on from it', () => {
    const source = filled(5)
    const sqlite = openCopy()
    const replica = createReplicaStore(sqlite)
    takeSnapshot(replica, source)
    replica.apply(source.commit([put('roles', { id: 'acme:user:z', policy: null, created_at: 1 })]), wall(0))
    expect(contentIn(sqlite)).toEqual(contentOf(source))
    sqlite.close()
  })
})

function schemaIn(sqlite: ReturnType<typeof openSqlite>): unknown[] {
  const sql = 'SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name'
  return sqlite.all(sql, []).map((row) => String(row.sql).replaceAll('"', '').replaceAll('next_', ''))
}

function tablesIn(sqlite: ReturnType<typeof openSqlite>): unknown[] {
  return sqlite.all("SELECT name FROM sqlite_master WHERE type = 'table'", []).map((row) => row.name)
}
