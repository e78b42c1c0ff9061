// A snapshot is filled into `next_` tables beside the ones that serve, and takes their place in one transaction
// (P3). The same code runs on every SQLite; a crash leaves either the old data or the new.
import { assert } from '#shared/base/assert.ts'
import type { Wall } from '#shared/base/time.ts'
import { putParams, putSql } from '#shared/ledger/change.ts'
import { ContentHash, rowDigest } from '#shared/ledger/digest.ts'
import { format } from '#shared/ledger/position.ts'
import { createIndexSql, createTableSql } from '#shared/ledger/schema.ts'
import { type Row, type TableName, tableNames } from '#shared/ledger/tables.ts'
import type { SnapshotHeader } from '#shared/replication/messages.ts'
import { HashMismatch, type Held } from './replica.ts'
import type { Sqlite } from './sqlite.ts'
import { readState, writeState } from './state.ts'

type Stage = {
  readonly header: SnapshotHeader
  readonly nextChunk: number
  /** Of the rows staged so far. */
  readonly hash: ContentHash
}

export function readStage(sqlite: Sqlite): Stage | undefined {
  const [row] = sqlite.all('SELECT header, next_chunk, hash FROM staging', [])
  if (row === undefined) return undefined
  return {
    header: JSON.parse(row.header as string) as SnapshotHeader,
    nextChunk: row.next_chunk as number,
    hash: ContentHash.parse(row.hash as string),
  }
}

export function beginStage(sqlite: Sqlite, header: SnapshotHeader): void {
  const held = readState(sqlite)
  assert(
    held === undefined || header.position.epoch >= held.position.epoch,
    'I8: a lower epoch changes nothing',
  )
  dropStage(sqlite)
  sqlite.transaction(() => {
    for (const table of tableNames) sqlite.run(createTableSql('sqlite', table, 'next_'), [])
    writeStage(sqlite, { header, nextChunk: 0, hash: new ContentHash() })
  })
}

function writeStage(sqlite: Sqlite, stage: Stage): void {
  sqlite.run(
    'INSERT INTO staging VALUES (1, ?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET header = excluded.header, ' +
      'next_chunk = excluded.next_chunk, hash = excluded.hash',
    [JSON.stringify(stage.header), stage.nextChunk, stage.hash.toString()],
  )
}

/** Chunks come in order; one that was staged before (a resumed transfer) is passed over. */
export function stageChunk(sqlite: Sqlite, chunk: number, table: TableName, rows: readonly Row[]): void {
  sqlite.transaction(() => {
    const stage = readStage(sqlite)
    if (stage === undefined || chunk < stage.nextChunk) return
    if (chunk > stage.nextChunk) throw new Error(`chunk ${chunk} came before chunk ${stage.nextChunk}`)
    const sql = putSql(table).replace(`INSERT INTO ${table} `, `INSERT INTO next_${table} `)
    const digests = rows.map((row) => {
      const digest = rowDigest(table, row)
      sqlite.run(sql, putParams(table, row, digest))
      return digest
    })
    writeStage(sqlite, { ...stage, nextChunk: chunk + 1, hash: stage.hash.change(digests, []) })
  })
}

/** The switch. Throws `HashMismatch`, with the stage dropped, when the rows are not what the header promised. */
export function finishStage(sqlite: Sqlite, newestAt: Wall): Held {
  const stage = readStage(sqlite)
  if (stage === undefined) throw new Error('there is no snapshot to finish')
  const { header } = stage
  if (stage.nextChunk !== header.chunks || stage.hash.toString() !== header.contentHash) {
    dropStage(sqlite)
    throw new HashMismatch(format(header.position))
  }
  sqlite.transaction(() => {
    for (const table of tableNames) {
      sqlite.run(`DROP TABLE ${table}`, [])
      sqlite.run(`ALTER TABLE next_${table} RENAME TO ${table}`, [])
      for (const sql of createIndexSql('sqlite', table)) sqlite.run(sql, [])
    }
    writeState(sqlite, {
      position: header.position,
      contentHash: header.contentHash,
      newestAt,
      dataVersion: (readState(sqlite)?.dataVersion ?? 0) + 1,
      snapshotId: header.id,
    })
    sqlite.run('DELETE FROM staging', [])
  })
  return { position: header.position, contentHash: header.contentHash }
}

export function dropStage(sqlite: Sqlite): void {
  sqlite.transaction(() => {
    for (const table of tableNames) sqlite.run(`DROP TABLE IF EXISTS next_${table}`, [])
    sqlite.run('DELETE FROM staging', [])
  })
}
