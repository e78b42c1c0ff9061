// The Sqlite port on the SQLite of a Durable Object: synchronous, without control statements, and everything written in one
// turn is one flush. No answer and no message leaves the object before what was written is durable (its output gate).
import type { Cell, Row } from '#shared/ledger/tables.ts'
import type { Sqlite } from '../store/sqlite.ts'
import { createLargeCells, type LargeCells } from './large-cells.ts'
import type { EngineCell, ObjectStorage } from './platform-types.ts'

/** `large`: what of the cells does not fit a row. */
export function objectSqlite(
  storage: Pick<ObjectStorage, 'sql' | 'transactionSync' | 'sync'>,
  large: LargeCells = createLargeCells(storage),
): Sqlite {
  const { sql: engine } = storage
  let turn = 1
  return {
    all(sql, params) {
      const rows = engine.exec(sql, ...params).toArray()
      for (const row of rows) convert(row, large)
      return rows as Row[]
    },
    run(sql, params) {
      turn++
      engine.exec(sql, ...params.map(large.put))
    },
    transaction(body) {
      try {
        return storage.transactionSync(body)
      } finally {
        // What was taken back is another position again.
        turn++
      }
    },
    // One event at a time, and all that writes the same tables does so here: until then it is the same position.
    readForThisTurn: () => turn,
    settled: () => storage.sync(),
    close: () => undefined,
  }
}

function convert(row: Record<string, EngineCell | Cell>, large: LargeCells): void {
  for (const name in row) {
    const cell = row[name]
    if (cell instanceof ArrayBuffer) row[name] = new Uint8Array(cell)
    else if (typeof cell === 'string' && cell.charCodeAt(0) === 0) row[name] = large.get(cell)
  }
}
