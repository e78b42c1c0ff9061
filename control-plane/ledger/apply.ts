// `Change[]` → rows of Postgres: few statements, however many rows, and in whatever order a plan names them.
import { limits } from '#shared/base/limits.ts'
import { type Change, keyText } from '#shared/ledger/change.ts'
import { rowDigest } from '#shared/ledger/digest.ts'
import { columnsOf, columnType, type Row, type TableName, tables } from '#shared/ledger/tables.ts'
import type { Session } from './connection.ts'

/** Digests of rows that came and went: what moves the content hash. */
export type Moved = { readonly added: Uint8Array[]; readonly removed: Uint8Array[] }

export async function applyChanges(session: Session, changes: readonly Change[]): Promise<Moved> {
  const moved: Moved = { added: [], removed: [] }
  const sent: Promise<void>[] = []
  for (const [table, { puts, deletes }] of byTable(changes)) {
    for (const rows of pieces(puts)) sent.push(putRows(session, table, rows, moved))
    for (const rows of pieces(deletes)) sent.push(deleteRows(session, table, rows, moved))
  }
  await Promise.all(sent)
  return moved
}

type TableChanges = { readonly puts: Row[]; readonly deletes: Row[] }

/** The last change of a key stands. Tables do not refer to each other, so their order among themselves is free. */
function byTable(changes: readonly Change[]): Map<TableName, TableChanges> {
  const last = new Map<TableName, Map<string, Change>>()
  for (const change of changes) {
    const byKey = last.get(change.table) ?? new Map<string, Change>()
    last.set(change.table, byKey)
    byKey.set(keyText(change.table, change.op === 'put' ? change.row : change.key), change)
  }
  const result = new Map<TableName, TableChanges>()
  for (const [table, byKey] of last) {
    const puts: Row[] = []
    const deletes: Row[] = []
    for (const change of byKey.values()) {
      if (change.op === 'put') puts.push(change.row)
      else deletes.push(change.key)
    }
    result.set(table, { puts, deletes })
  }
  return result
}

function* pieces(rows: readonly Row[]): Generator<readonly Row[]> {
  for (let from = 0; from < rows.length; from += limits.rowsPerStatement)
    yield rows.slice(from, from + limits.rowsPerStatement)
}

async function putRows(
  session: Session,
  table: TableName,
  rows: readonly Row[],
  moved: Moved,
): Promise<void> {
  const digests = rows.map((row) => rowDigest(table, row))
  const columns = columnsOf(table)
  const params = [...columns.map((column) => rows.map((row) => cell(row[column]))), digests.map(buffer)]
  // Both parts of the statement see the rows as they were before it: `old` are the digests that go.
  const { rows: old } = await session.prepared(`put ${table}`, putText(table), params)
  moved.added.push(...digests)
  for (const { digest } of old) moved.removed.push(digest as Uint8Array)
}

async function deleteRows(
  session: Session,
  table: TableName,
  keys: readonly Row[],
  moved: Moved,
): Promise<void> {
  const params = tables[table].key.map((column) => keys.map((key) => cell(key[column])))
  const { rows: old } = await session.prepared(`delete ${table}`, deleteText(table), params)
  for (const { digest } of old) moved.removed.push(digest as Uint8Array)
}

const cell = (value: Row[string] | undefined): unknown =>
  value instanceof Uint8Array ? buffer(value) : (value ?? null)

const buffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)

const arrayTypes: Record<string, string> = { text: 'text', int: 'bigint', flag: 'smallint', bytes: 'bytea' }

const arrayOf = (table: TableName, column: string, n: number): string =>
  `$${n}::${arrayTypes[columnType(table, column).replace('?', '')]}[]`

/** `unnest` of one array per column: one text, prepared once, for any number of rows. */
function putText(table: TableName): string {
  const columns = columnsOf(table)
  const key: readonly string[] = tables[table].key
  const arrays = [
    ...columns.map((column, i) => arrayOf(table, column, i + 1)),
    `$${columns.length + 1}::bytea[]`,
  ]
  const all = [...columns, 'digest']
  const updates = all.filter((c) => !key.includes(c)).map((c) => `${c} = excluded.${c}`)
  const keyArrays = key.map((column) => arrayOf(table, column, columns.indexOf(column) + 1))
  return (
    `WITH old AS (SELECT t.digest FROM ${table} t JOIN unnest(${keyArrays.join(', ')}) AS k(${key.join(', ')}) ` +
    `ON ${onKey(key)}), put AS (INSERT INTO ${table} (${all.join(', ')}) ` +
    `SELECT * FROM unnest(${arrays.join(', ')}) ON CONFLICT (${key.join(', ')}) DO UPDATE SET ${updates.join(', ')}) ` +
    'SELECT digest FROM old'
  )
}

function deleteText(table: TableName): string {
  const key: readonly string[] = tables[table].key
  const arrays = key.map((column, i) => arrayOf(table, column, i + 1))
  return (
    `DELETE FROM ${table} t USING unnest(${arrays.join(', ')}) AS k(${key.join(', ')}) ` +
    `WHERE ${onKey(key)} RETURNING t.digest`
  )
}

const onKey = (key: readonly string[]): string =>
  key.map((column) => `t.${column} = k.${column}`).join(' AND ')
