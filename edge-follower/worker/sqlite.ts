// The Sqlite port on the SQLite of a Durable Object: synchronous, without control statements, and everything written in one
// turn is one flush. No answer and no message leaves the object before what was written is durable (its output gate).
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Cell, Row } from '#shared/ledger/tables.ts'
import type { Sqlite } from '../store/sqlite.ts'
import type { EngineCell, ObjectStorage } from './platform-types.ts'

export function objectSqlite(storage: Pick<ObjectStorage, 'sql' | 'transactionSync' | 'sync'>): Sqlite {
  const { sql: engine } = storage
  let turn = 0
  return {
    all: (sql, params) =>
      engine
        .exec(sql, ...params)
        .toArray()
        .map(rowOf),
    run(sql, params) {
      for (const cell of params) mustFit(cell)
      engine.exec(sql, ...params)
    },
    transaction: (body) => storage.transactionSync(body),
    // One event at a time: what is read without waiting belongs together.
    readForThisTurn: () => ++turn,
    settled: () => storage.sync(),
    close: () => undefined,
  }
}

function rowOf(row: Record<string, EngineCell>): Row {
  for (const name in row) {
    const cell = row[name]
    if (cell instanceof ArrayBuffer) (row as Record<string, Cell>)[name] = new Uint8Array(cell)
  }
  return row as Row
}

function mustFit(cell: Cell): void {
  if (cell === null || typeof cell === 'number' || cell.length <= limits.objectRowBytes) return
  throw new DomainError(
    'too_large',
    `a record of ${cell.length} bytes does not fit a row of a Durable Object (${limits.objectRowBytes} bytes): load that policy in parts`,
  )
}
