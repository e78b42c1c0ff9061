// A Follower's copy for tests: a file of its own, or one in memory.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import type { ReplicaStore } from '#edge-follower/store/replica.ts'
import type { Sqlite } from '#edge-follower/store/sqlite.ts'
import { type Wall, wall } from '#shared/base/time.ts'
import { columnsOf, type Row, type TableName, tableNames } from '#shared/ledger/tables.ts'
import { inKeyOrder, type Source, type SourceSnapshot } from './source.ts'

export function temporaryFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-copy-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** One connection that reads and writes: an engine that runs one event at a time, as a Durable Object does. */
export function inMemory(): Sqlite {
  let turn = 0
  return { ...openSqlite(':memory:', 'writer'), readForThisTurn: () => ++turn }
}

export function takeSnapshot(replica: ReplicaStore, source: Source, at: Wall = wall(0)): void {
  const snapshot = source.snapshot()
  replica.stageBegin(snapshot.header)
  stageChunks(replica, snapshot)
  replica.stageFinish(at)
}

export function stageChunks(replica: ReplicaStore, { chunks }: SourceSnapshot, from = 0): void {
  for (let chunk = from; chunk < chunks.length; chunk++) {
    const { table, rows } = chunks[chunk]!
    replica.stageChunk(chunk, table, rows)
  }
}

/** Everything that is stored, to be compared with `contentOf` the source. */
export function contentIn(sqlite: Sqlite): Record<string, Row[]> {
  return byTable((table) => sqlite.all(`SELECT ${columnsOf(table).join(', ')} FROM ${table}`, []))
}

export function contentOf(source: Source): Record<string, Row[]> {
  return byTable((table) => source.rows(table))
}

function byTable(rows: (table: TableName) => Row[]): Record<string, Row[]> {
  return Object.fromEntries(
    tableNames.map((table) => [table, inKeyOrder(table, rows(table)).map((row) => comparable(table, row))]),
  )
}

/** Columns in one order, bytes of one class. */
function comparable(table: TableName, row: Row): Row {
  return Object.fromEntries(
    columnsOf(table).map((column) => {
      const cell = row[column] ?? null
      return [column, cell instanceof Uint8Array ? cell.toHex() : cell]
    }),
  )
}
