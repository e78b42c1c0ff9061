// Texts that fit no row of a Durable Object: the row holds their name, and pieces beside it hold them. Only policy texts are
// so large, and nothing looks into them by SQL.
import { concat, fromUtf8, utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { sha256Hex } from '#shared/base/native-crypto.ts'
import type { Cell } from '#shared/ledger/tables.ts'
import type { EngineCell, ObjectStorage } from './platform-types.ts'

/** No text that is stored holds U+0000 (`isStorable`), so none is taken for a name. */
const NAME = '\0large:'

export type LargeCells = {
  /** What the row holds in place of this cell. */
  readonly put: (cell: Cell) => Cell
  readonly get: (cell: string) => string
  /** Forgets what no policy has any more. */
  readonly sweep: () => void
}

export function createLargeCells({ sql }: Pick<ObjectStorage, 'sql'>): LargeCells {
  sql.exec(
    'CREATE TABLE IF NOT EXISTS large_cells (name TEXT NOT NULL, piece INTEGER NOT NULL, bytes BLOB NOT NULL, ' +
      'PRIMARY KEY (name, piece)) WITHOUT ROWID',
  )
  return {
    put(cell) {
      // A character takes three bytes at most.
      if (typeof cell !== 'string' || cell.length * 3 <= limits.objectCellBytes) return cell
      const bytes = utf8(cell)
      if (bytes.length <= limits.objectCellBytes) return cell
      const name = NAME + sha256Hex(bytes)
      for (let at = 0; at < bytes.length; at += limits.objectCellBytes) {
        const piece = bytes.slice(at, at + limits.objectCellBytes)
        sql.exec('INSERT OR REPLACE INTO large_cells VALUES (?1, ?2, ?3)', name, at, piece)
      }
      return name
    },
    get(cell) {
      if (!cell.startsWith(NAME)) return cell
      const pieces = sql.exec('SELECT bytes FROM large_cells WHERE name = ?1 ORDER BY piece', cell).toArray()
      return fromUtf8(concat(...pieces.map(({ bytes }) => bytesOf(bytes)))) ?? ''
    },
    sweep() {
      // A snapshot that has begun holds names too, and forgets them when it ends.
      const [begun] = sql.exec('SELECT id FROM staging').toArray()
      if (begun === undefined)
        sql.exec('DELETE FROM large_cells WHERE name NOT IN (SELECT text FROM policy_versions)')
    },
  }
}

const bytesOf = (cell: EngineCell | undefined): Uint8Array => new Uint8Array(cell as ArrayBuffer)
