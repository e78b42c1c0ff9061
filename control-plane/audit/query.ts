// `GET /audit…` over the audit database (http-api 16, cluster 12.5).
import type { AuditFilter } from '#shared/api/node.ts'
import type { Json } from '#shared/base/json.ts'
import type { Database } from '../ledger/connection.ts'

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

/** Newest first. */
export async function auditRows(database: Database, filter: AuditFilter): Promise<Json[]> {
  const params: unknown[] = []
  const param = (value: unknown): string => `$${params.push(value)}`
  const holds = (id: string, parameter: string, value: string): string =>
    `sdata @> ${param(JSON.stringify({ [id]: { [parameter]: value } }))}::jsonb`
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
  const limit = filter.limit === undefined ? '' : `LIMIT ${param(filter.limit)}`
  const offset = filter.offset === undefined ? '' : `OFFSET ${param(filter.offset)}`
  const { rows } = await database.query(
    `SELECT row_to_json(m)::text AS row FROM (SELECT facility, severity, "timestamp", hostname, appname, procid, msgid, ` +
      `sdata, message FROM messages ${where} ORDER BY "timestamp" DESC, id DESC ${limit} ${offset}) m`,
    params,
  )
  return rows.map((row) => JSON.parse(row.row as string) as Json)
}
