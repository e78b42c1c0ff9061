// Authenticators: their webservices, whether they are switched on, and their settings (http-api 7, 8.10, 15).
import { identifierOf, idRange, makeId } from '../../id/resource-id.ts'
import type { Query } from '../store.ts'
import type { Cell } from '../tables.ts'

const PREFIX = 'conjur/'

/** Every webservice below an authenticator but those that say who may ask for a status. */
const NOT_STATUS = "substr(r.id, length(r.id) - 6) <> '/status'"

export type Configured = { readonly name: string; readonly switchedOn: boolean }

/** All of an account, `authn-jwt/ci` and the like, sorted. */
export function configuredQuery(account: string): Query<readonly Configured[]> {
  const { from } = idRange(account, 'webservice')
  const prefix = `${from}${PREFIX}authn-`
  return {
    sql:
      'SELECT r.id AS id, COALESCE(a.enabled, 0) AS enabled FROM resources r LEFT JOIN authenticators a ' +
      `ON a.webservice = r.id WHERE r.id >= ?1 AND r.id < ?2 AND ${NOT_STATUS} ORDER BY r.id`,
    // '.' is the byte after '-'.
    params: [prefix, `${prefix.slice(0, -1)}.`],
    read: (rows) =>
      rows.map((row) => ({
        name: identifierOf(row.id as string).slice(PREFIX.length),
        switchedOn: row.enabled === 1,
      })),
  }
}

/** Undefined when there is no such webservice. */
export function switchQuery(webservice: string): Query<{ readonly switchedOn: boolean } | undefined> {
  return {
    sql:
      'SELECT COALESCE(a.enabled, 0) AS enabled FROM resources r LEFT JOIN authenticators a ' +
      'ON a.webservice = r.id WHERE r.id = ?1',
    params: [webservice],
    read: ([row]) => row && { switchedOn: row.enabled === 1 },
  }
}

/** The newest value, where there is one. */
export type StoredVariable = {
  readonly id: string
  readonly version: number | null
  readonly sealed: Uint8Array | null
}

const NEWEST =
  'LEFT JOIN secrets s ON s.resource = v.id AND s.version = ' +
  '(SELECT MAX(x.version) FROM secrets x WHERE x.resource = v.id)'

/** Those of these variables that exist, by name. Whoever asks: for checks, not for answers. */
export function settingsQuery(
  prefix: string,
  names: readonly string[],
): Query<ReadonlyMap<string, StoredVariable>> {
  return {
    sql:
      'SELECT value AS name, v.id AS id, s.version AS version, s.sealed AS sealed ' +
      `FROM list(?2) JOIN resources v ON v.id = ?1 || value ${NEWEST}`,
    params: [prefix, JSON.stringify(names)],
    bytes: ['sealed'],
    read: (rows) => new Map(rows.map((row) => [row.name as string, row as unknown as StoredVariable])),
  }
}

/** Annotations of one resource, by name. */
export const annotationsOfQuery = (resource: string): Query<ReadonlyMap<string, string>> => ({
  sql: 'SELECT name, value FROM annotations WHERE resource = ?1',
  params: [resource],
  read: (rows) => new Map(rows.map((row) => [row.name as string, row.value as string])),
})

/** A half-open range of the key. */
export type IdSpan = { readonly from: string; readonly below: string }

/** One id: no id that a store can hold sorts between the two. */
export const onlyId = (id: string): IdSpan => ({ from: id, below: `${id}\u0001` })
/** Everything below an id. '0' is the byte after '/'. */
export const belowId = (id: string): IdSpan => ({ from: `${id}/`, below: `${id}0` })

export type AuthenticatorFilter = {
  readonly account: string
  /** Ids of webservices. */
  readonly spans: readonly IdSpan[]
  /** Variables that may be shown, by name. */
  readonly variables: readonly string[]
  readonly limit: number | undefined
  readonly offset: number
}

export type ShownRow = {
  readonly id: string
  readonly owner: string
  /** Owner of the policy of the same identifier. */
  readonly branchOwner: string | null
  readonly switchedOn: boolean
}

export type ShownVariable = StoredVariable & { readonly webservice: string; readonly name: string }

export type ShownAuthenticators = {
  readonly rows: readonly ShownRow[]
  readonly annotations: ReadonlyMap<string, readonly (readonly [name: string, value: string])[]>
  /** Only those that the caller may execute. */
  readonly variables: ReadonlyMap<string, readonly ShownVariable[]>
}

/** Rows of what the caller sees in these spans; how many there are, whatever the page. */
export function authenticatorBatch(filter: AuthenticatorFilter) {
  const { account, spans, variables, limit, offset } = filter
  const params: Cell[] = []
  const param = (value: Cell): string => `?${params.push(value)}`
  const inSpans = spans.map(({ from, below }) => `(r.id >= ${param(from)} AND r.id < ${param(below)})`)
  const where =
    `(${['1 = 0', ...inSpans].join(' OR ')}) AND ${NOT_STATUS} AND (r.owner IN (SELECT id FROM closure) OR EXISTS ` +
    '(SELECT 1 FROM permissions p WHERE p.resource = r.id AND p.role IN (SELECT id FROM closure)))'
  const counted = [...params]
  const paged = limit === undefined ? '' : ` LIMIT ${param(limit)} OFFSET ${param(offset)}`
  const page = `WITH page(id) AS (SELECT r.id FROM resources r WHERE ${where} ORDER BY r.id${paged})`
  const prefixes = (kind: string): Cell[] => [makeId(account, 'webservice', ''), makeId(account, kind, '')]
  // The record of the same identifier and another kind.
  const sibling = (id: string): string =>
    `?${params.length + 2} || substr(${id}, length(?${params.length + 1}) + 1)`
  return {
    count: countQuery(where, counted),
    rows: rowsQuery(page, sibling('r.id'), [...params, ...prefixes('policy')]),
    annotations: annotationsQuery(page, params),
    variables: variablesQuery(page, sibling('page.id'), [
      ...params,
      ...prefixes('variable'),
      JSON.stringify(variables),
    ]),
  }
}

const countQuery = (where: string, params: readonly Cell[]): Query<number> => ({
  sql: `SELECT COUNT(*) AS n FROM resources r WHERE ${where}`,
  params,
  read: (rows) => rows[0]?.n as number,
})

function rowsQuery(
  page: string,
  branch: string,
  params: readonly Cell[],
): Query<ShownAuthenticators['rows']> {
  return {
    sql:
      `${page} SELECT r.id AS id, r.owner AS owner, b.owner AS branch_owner, COALESCE(a.enabled, 0) AS enabled ` +
      'FROM page JOIN resources r ON r.id = page.id LEFT JOIN authenticators a ON a.webservice = r.id ' +
      `LEFT JOIN resources b ON b.id = ${branch} ORDER BY r.id`,
    params,
    read: (rows) =>
      rows.map((row) => ({
        id: row.id as string,
        owner: row.owner as string,
        branchOwner: row.branch_owner as string | null,
        switchedOn: row.enabled === 1,
      })),
  }
}

function annotationsQuery(page: string, params: readonly Cell[]): Query<ShownAuthenticators['annotations']> {
  return {
    sql:
      `${page} SELECT n.resource AS resource, n.name AS name, n.value AS value FROM page ` +
      'JOIN annotations n ON n.resource = page.id ORDER BY n.resource, n.name',
    params,
    read(rows) {
      const groups = Map.groupBy(rows, (row) => row.resource as string)
      return new Map(
        [...groups].map(([id, held]) => [
          id,
          held.map((row) => [row.name as string, row.value as string] as const),
        ]),
      )
    },
  }
}

function variablesQuery(
  page: string,
  branch: string,
  params: readonly Cell[],
): Query<ShownAuthenticators['variables']> {
  return {
    sql:
      `${page} SELECT page.id AS webservice, value AS name, v.id AS id, s.version AS version, s.sealed AS sealed ` +
      `FROM page CROSS JOIN list(?${params.length}) JOIN resources v ON v.id = ${branch} || '/' || value ${NEWEST} ` +
      'WHERE v.owner IN (SELECT id FROM closure) OR EXISTS (SELECT 1 FROM permissions p WHERE p.resource = v.id ' +
      "AND p.privilege = 'execute' AND p.role IN (SELECT id FROM closure))",
    params,
    bytes: ['sealed'],
    read: (rows) => Map.groupBy(rows as unknown as readonly ShownVariable[], ({ webservice }) => webservice),
  }
}
