// All rows that a policy text can touch, as one batch: known from the text and the policy's id alone.
import { kinds } from '../../id/kinds.ts'
import { makeId, splitId } from '../../id/resource-id.ts'
import type { Query, Seed, Statement } from '../store.ts'
import { columnsOf, type Row, type RowOf, type TableName, tables } from '../tables.ts'
import { accessQuery } from './access.ts'

export type LoadMode = 'POST' | 'PATCH' | 'PUT'

/** Ids that the text names, sorted by what has to be read of them. */
export type Touched = {
  readonly policy: string
  readonly mode: LoadMode
  /** False: nothing will be planned, so only the caller's right to it is read. */
  readonly planned: boolean
  /** Records that the text declares. */
  readonly declared: readonly string[]
  /** Roles and resources that it refers to. */
  readonly referenced: readonly string[]
  /** Roles whose members it grants or revokes, and resources it permits or denies. */
  readonly grantedRoles: readonly string[]
  readonly permittedResources: readonly string[]
  readonly publicKeys: readonly string[]
  /** Records that its deletions may take with them; what depends on these is read as well. */
  readonly deleted: readonly string[]
  /** A policy that goes with every record inside its namespace. */
  readonly emptied?: string
  readonly remover: Remover
}

/**
 * What goes is looked for only for whoever has the privilege on one of the records: anybody may ask, and what goes
 * with a large policy takes long to find.
 */
export type Remover = { readonly privilege: string; readonly of: readonly string[] }

const doomedTables = [
  'roles',
  'resources',
  'memberships',
  'permissions',
  'annotations',
  'credentials',
  'secrets',
  'policy_versions',
  'host_factory_tokens',
  'authenticators',
  'issuers',
] as const satisfies readonly TableName[]

/** Columns by which a row depends on a record; it goes with the record. */
export const dependsOn: { readonly [T in (typeof doomedTables)[number]]: readonly string[] } = {
  roles: ['id'],
  resources: ['id'],
  memberships: ['role', 'member', 'policy'],
  permissions: ['resource', 'role', 'policy'],
  annotations: ['resource', 'policy'],
  credentials: ['role'],
  secrets: ['resource'],
  policy_versions: ['policy'],
  host_factory_tokens: ['factory'],
  authenticators: ['webservice'],
  issuers: ['policy'],
}

export type DoomedTable = (typeof doomedTables)[number]

export function rowsQuery<N extends TableName>(
  table: N,
  where: string,
  params: Statement['params'],
): Query<RowOf<N>[]> {
  const types: Readonly<Record<string, string>> = tables[table].columns
  const columns = columnsOf(table)
  return {
    sql: `SELECT ${columns.join(', ')} FROM ${table} WHERE ${where}`,
    params,
    bytes: columns.filter((column) => types[column]!.startsWith('bytes')),
    read: (rows) => rows as unknown as RowOf<N>[],
  }
}

/** Finds nothing and depends on no table: a decision made with it outlives what happens to the table. */
const noRows = <N extends TableName>(): Query<RowOf<N>[]> => ({
  sql: 'SELECT 1 WHERE 1 = 0',
  params: [],
  read: () => [],
})

const inList = (column: string): string => `${column} IN (SELECT value FROM list(?1))`

export function policyBatch(touched: Touched) {
  const { policy, declared } = touched
  // Only PUT looks at what the policy defined before.
  const mode = touched.planned ? touched.mode : 'POST'
  const list = (ids: readonly string[]): string => JSON.stringify([...new Set(ids)])
  return {
    access: accessQuery(policy),
    unchangeable: unchangeableQuery(touched),
    versions: versionsQuery(policy),
    roles: rowsQuery('roles', inList('id'), [list([...declared, ...touched.referenced])]),
    resources: rowsQuery('resources', inList('id'), [
      list([...declared, ...touched.referenced, ...touched.publicKeys]),
    ]),
    memberships: rowsQuery('memberships', inList('role'), [list([...declared, ...touched.grantedRoles])]),
    permissions: rowsQuery('permissions', inList('resource'), [list(touched.permittedResources)]),
    annotations: rowsQuery('annotations', inList('resource'), [list([...declared, ...touched.publicKeys])]),
    credentials: rowsQuery('credentials', inList('role'), [list(declared)]),
    secrets:
      touched.publicKeys.length === 0
        ? noRows<'secrets'>()
        : rowsQuery('secrets', inList('resource'), [list(touched.publicKeys)]),
    // PUT: what this policy defined before.
    ownRoles: ownRows('roles', policy, mode),
    ownResources: ownRows('resources', policy, mode, `policy = ?1 OR id IN (${annotatedBy('= ?1')})`),
    ownMemberships: ownRows('memberships', policy, mode),
    ownPermissions: ownRows('permissions', policy, mode),
    ownAnnotations: ownRows('annotations', policy, mode, `resource IN (${annotatedBy('= ?1')})`),
    ...doomedQueries(touched, list),
  }
}

function ownRows<N extends TableName>(
  table: N,
  policy: string,
  mode: LoadMode,
  where = 'policy = ?1',
): Query<RowOf<N>[]> {
  return mode === 'PUT' ? rowsQuery(table, where, [policy]) : noRows()
}

/** Resources that a policy says something about: without its annotations they have other search words. */
const annotatedBy = (policies: string): string => `SELECT resource FROM annotations WHERE policy ${policies}`

/** Numbers of the kept versions, ascending. */
function versionsQuery(policy: string): Query<number[]> {
  return {
    sql: 'SELECT version FROM policy_versions WHERE policy = ?1 ORDER BY version',
    params: [policy],
    read: (rows) => rows.map((row) => row.version as number),
  }
}

/** With what the ids of all records inside a policy's namespace begin: one text for every kind. */
export function prefixesWithin(policy: string): string[] {
  const { account = '', identifier = '' } = splitId(policy)
  return Object.keys(kinds).map((kind) => makeId(account, kind, `${identifier}/`))
}

/** `list`: a parameter that is a JSON list of prefixes. '0' is the byte after '/': a range of the key for each. */
const withinSql = (table: 'resources' | 'roles', list: string): string =>
  `SELECT r.id AS id FROM list(${list}) JOIN ${table} r ON r.id >= value AND ` +
  "r.id < substr(value, 1, length(value) - 1) || '0'"

/** Whether the caller may do this to the resource `r`. */
const may = (privilege: string): string =>
  '(r.owner IN (SELECT id FROM closure) OR EXISTS (SELECT 1 FROM permissions p WHERE p.resource = r.id ' +
  `AND p.privilege = ${privilege} AND p.role IN (SELECT id FROM closure)))`

/** True when something below the policy goes that the caller may not update (policy 6). */
function unchangeableQuery({ policy, mode, emptied }: Touched): Query<boolean> {
  const all = mode === 'PUT' || emptied !== undefined
  return {
    sql: `${withinSql('resources', '?1')} WHERE NOT ${may("'update'")} LIMIT 1`,
    params: [JSON.stringify(all ? prefixesWithin(policy) : [])],
    read: (rows: readonly Row[]) => rows.length > 0,
  }
}

/**
 * Everything that deletions take with them, recursively: records owned by a deleted role, records and rows that a
 * deleted policy defined. The records are those the text deletes and, for PUT, those it no longer declares.
 */
const undeclaredOrDeleted = ofRemover(
  'SELECT id FROM resources WHERE policy = ?3 AND ?4 = 1 AND id NOT IN (SELECT value FROM list(?5)) ' +
    'UNION SELECT id FROM roles WHERE policy = ?3 AND ?4 = 1 AND id NOT IN (SELECT value FROM list(?5)) ' +
    'UNION SELECT value AS id FROM list(?6)',
)

const within = ofRemover(
  `SELECT ?3 AS id UNION ${withinSql('resources', '?4')} UNION ${withinSql('roles', '?4')}`,
)

/** Nothing at all for whoever lacks the privilege `?1` on all of `?2`. */
function ofRemover(ids: string): string {
  return (
    `SELECT id FROM (${ids}) AS found WHERE EXISTS ` +
    `(SELECT 1 FROM list(?2) JOIN resources r ON r.id = value WHERE ${may('?1')})`
  )
}

function doomedQueries(touched: Touched, list: (ids: readonly string[]) => string) {
  const { emptied, remover } = touched
  const guard = [remover.privilege, list(remover.of)]
  const replaces = touched.mode === 'PUT' && touched.planned
  const nothing = emptied === undefined && !replaces && touched.deleted.length === 0
  const seed: Seed =
    emptied === undefined
      ? {
          sql: undeclaredOrDeleted,
          params: [...guard, touched.policy, replaces ? 1 : 0, list(touched.declared), list(touched.deleted)],
        }
      : { sql: within, params: [...guard, emptied, list(prefixesWithin(emptied))] }
  const query = <N extends DoomedTable>(table: N, ...more: readonly string[]): Query<RowOf<N>[]> => {
    if (nothing) return noRows()
    // One branch per column: joined by OR, Postgres would use no index.
    const dependent = dependsOn[table].map((column) => `${column} IN (SELECT id FROM doomed)`)
    const branches = [...dependent, ...more].map((where) => rowsQuery(table, where, []))
    return { ...branches[0]!, sql: branches.map(({ sql }) => sql).join(' UNION '), doomed: seed }
  }
  return {
    doomedRoles: query('roles'),
    doomedResources: query('resources', `id IN (${annotatedBy('IN (SELECT id FROM doomed)')})`),
    doomedMemberships: query('memberships'),
    doomedPermissions: query('permissions'),
    doomedAnnotations: query('annotations', `resource IN (${annotatedBy('IN (SELECT id FROM doomed)')})`),
    doomedCredentials: query('credentials'),
    doomedSecrets: query('secrets'),
    doomedVersions: query('policy_versions'),
    doomedTokens: query('host_factory_tokens'),
    doomedAuthenticators: query('authenticators'),
    doomedIssuers: query('issuers'),
  }
}
