// The one vocabulary from policy text to edge row: a list of row changes.
import { fromBase64, toBase64 } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import type { Position } from './position.ts'
import {
  type Cell,
  columnsOf,
  columnType,
  type KeyOf,
  type Row,
  type RowOf,
  type TableName,
  tables,
} from './tables.ts'

export type Change =
  | { readonly op: 'put'; readonly table: TableName; readonly row: Row }
  | { readonly op: 'delete'; readonly table: TableName; readonly key: Row }

/** All that one Leader transaction changed; a Follower applies it whole or not at all. */
export type Commit = {
  readonly position: Position
  /** Wall time of the Leader, milliseconds. */
  readonly at: number
  readonly changes: readonly Change[]
  /** Content hash of the whole set after this commit (digest.ts), hex. */
  readonly contentHash: string
}

export function put<N extends TableName>(table: N, row: RowOf<N>): Change {
  return { op: 'put', table, row: row as Row }
}

export function remove<N extends TableName>(table: N, key: KeyOf<N>): Change {
  return { op: 'delete', table, key: key as Row }
}

/** Text that is equal for equal keys of one table. */
export function keyText(table: TableName, row: Row): string {
  const key: readonly string[] = tables[table].key
  return key.length === 1 ? String(row[key[0]!]) : JSON.stringify(key.map((column) => row[column]))
}

/** `digest` is stored beside every row (P10), last. */
export function putSql(table: TableName, rows = 1): string {
  const columns = [...columnsOf(table), 'digest']
  const key: readonly string[] = tables[table].key
  const updates = columns.filter((c) => !key.includes(c)).map((c) => `${c} = excluded.${c}`)
  const tuples = Array.from({ length: rows }, (_, r) => {
    return `(${columns.map((_c, i) => `?${r * columns.length + i + 1}`).join(', ')})`
  })
  return (
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES ${tuples.join(', ')} ` +
    `ON CONFLICT (${key.join(', ')}) DO UPDATE SET ${updates.join(', ')}`
  )
}

export function putParams(table: TableName, row: Row, digest: Uint8Array): Cell[] {
  return [...columnsOf(table).map((column) => row[column] ?? null), digest]
}

export function deleteSql(table: TableName): string {
  return `DELETE FROM ${table} WHERE ${keyCondition(table)}`
}

export function digestSql(table: TableName): string {
  return `SELECT digest FROM ${table} WHERE ${keyCondition(table)}`
}

export function keyParams(table: TableName, row: Row): Cell[] {
  const key: readonly string[] = tables[table].key
  return key.map((column) => row[column] ?? null)
}

function keyCondition(table: TableName): string {
  return tables[table].key.map((column, i) => `${column} = ?${i + 1}`).join(' AND ')
}

// On the wire and in the change log a change is a small array, cells in the order of the columns; bytes are
// base64 because the type of the column says what the text means.
type WireCell = string | number | null
type WireChange = readonly ['p' | 'd', TableName, readonly WireCell[]]

export function encodeChanges(changes: readonly Change[]): string {
  return JSON.stringify(changes.map(toWire))
}

export function toWire(change: Change): WireChange {
  return change.op === 'put'
    ? ['p', change.table, encodeCells(columnsOf(change.table), change.row)]
    : ['d', change.table, encodeCells(tables[change.table].key, change.key)]
}

/** Throws `bad_request` when the text is not a list of changes to known tables: the peer lied or is newer. */
export function decodeChanges(text: string): Change[] {
  const list: unknown = JSON.parse(text)
  if (!Array.isArray(list)) throw malformed('not a list')
  return list.map(fromWire)
}

export function fromWire(item: unknown): Change {
  if (!Array.isArray(item) || item.length !== 3) throw malformed('not a change')
  const [op, table, cells] = item as [unknown, unknown, unknown]
  if (typeof table !== 'string' || !Object.hasOwn(tables, table)) throw malformed(`unknown table ${table}`)
  const name = table as TableName
  if (op === 'p') return { op: 'put', table: name, row: decodeCells(name, columnsOf(name), cells) }
  if (op === 'd') return { op: 'delete', table: name, key: decodeCells(name, tables[name].key, cells) }
  throw malformed(`unknown operation ${String(op)}`)
}

function encodeCells(columns: readonly string[], row: Row): WireCell[] {
  return columns.map((column) => {
    const cell = row[column] ?? null
    return cell instanceof Uint8Array ? toBase64(cell) : cell
  })
}

function decodeCells(table: TableName, columns: readonly string[], cells: unknown): Row {
  if (!Array.isArray(cells) || cells.length !== columns.length) throw malformed(`wrong width for ${table}`)
  const row: Record<string, Cell> = {}
  columns.forEach((column, i) => {
    row[column] = decodeCell(table, column, cells[i])
  })
  return row
}

function decodeCell(table: TableName, column: string, cell: unknown): Cell {
  const type = columnType(table, column)
  if (cell === null && type.endsWith('?')) return null
  const base = type.replace('?', '')
  if (base === 'text' && typeof cell === 'string') return cell
  if ((base === 'int' || base === 'flag') && Number.isSafeInteger(cell)) return cell as number
  if (base === 'bytes' && typeof cell === 'string') {
    const bytes = fromBase64(cell)
    if (bytes) return bytes
  }
  throw malformed(`${table}.${column} is not of type ${type}`)
}

function malformed(detail: string): DomainError {
  return new DomainError('bad_request', `malformed change: ${detail}`)
}
