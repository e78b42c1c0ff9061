// `GET /audit…` over the audit database (http-api 16, cluster 12.5).
import type { AuditFilter } from '#shared/api/node.ts'
import { DomainError } from '#shared/base/errors.ts'
import type { Json } from '#shared/base/json.ts'
import { limits } from '#shared/base/limits.ts'
import type { Database } from '../ledger/connection.ts'
import { storable } from './storable.ts'

const COLUMNS = ['facility', 'severity', 'hostname', 'appname', 'procid', 'msgid']

/** Where an id is looked for (SD element, parameter). */
const places = {
  resource: [
    ['subject@43868', 'resource'],
    ['policy@43868', 'id'],
    ['auth@43868', 'service'],
  ],
  role: [
    ['subject@43868', 'role'],
    ['subject@43868', 'member'],
    ['policy@43868', 'id'],
    ['auth@43868', 'user'],
  ],
} as const

// One form wherever the server stands: UTC with milliseconds, as in other JSON of the API (http-api 2).
const TIMESTAMP = `to_char("timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"+00:00"') AS "timestamp"`

type Selection = { readonly text: string; readonly params: readonly unknown[] }

/** Newest first, at most `limits.auditRowsPerAnswer`: `offset` turns the page. Rejects with `unavailable` when the database cannot be read. */
export async function auditRows(database: Database, filter: AuditFilter): Promise<Json[]> {
  const { text, params } = selectionOf(filter)
  const { rows } = await database.query(text, params).catch((cause: unknown) => {
    throw new DomainError('unavailable', 'the audit database cannot be read', { cause })
  })
  return rows.map((row) => JSON.parse(row.row as string) as Json)
}

function selectionOf(filter: AuditFilter): Selection {
  const params: unknown[] = []
  const param = (value: string | number): string =>
    `$${params.push(typeof value === 'string' ? storable(value) : value)}`
  const holds = (id: string, parameter: string, value: string): string => {
    const wanted = { [storable(id)]: { [storable(parameter)]: storable(value) } }
    return `sdata @> ${param(JSON.stringify(wanted))}::jsonb`
  }
  const conditions: string[] = []
  for (const [column, value] of Object.entries(filter.columns)) {
    if (COLUMNS.includes(column)) conditions.push(`${column}::text = ${param(value)}`)
  }
  for (const { id, parameter, value } of filter.sdata) conditions.push(holds(id, parameter, value))
  const anyOf = (list: readonly (readonly [string, string])[], value: string): void => {
    conditions.push(`(${list.map(([id, parameter]) => holds(id, parameter, value)).join(' OR ')})`)
  }
  if (filter.resource !== undefined) anyOf(places.resource, filter.resource)
  if (filter.role !== undefined) anyOf(places.role, filter.role)
  if (filter.entity !== undefined) anyOf([...places.resource, ...places.role], filter.entity)
  const where = conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : ''
  const limit = `LIMIT ${param(Math.min(filter.limit ?? limits.auditRowsPerAnswer, limits.auditRowsPerAnswer))}`
  const offset = filter.offset === undefined ? '' : `OFFSET ${param(filter.offset)}`
  const columns = `facility, severity, ${TIMESTAMP}, hostname, appname, procid, msgid, sdata, message`
  const text =
    `SELECT row_to_json(m)::text AS row FROM (SELECT ${columns} FROM messages ${where} ` +
    `ORDER BY messages."timestamp" DESC, id DESC ${limit} ${offset}) m`
  return { text, params }
}
