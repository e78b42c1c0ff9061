// Resources as they are shown (http-api 11).
import type { Query } from '../store.ts'
import { columnType, type Row, type RowOf, type TableName } from '../tables.ts'
import { kindSql } from './conditions.ts'

/** A statement that yields ids in its first column: one resource, or a page of a list. */
export type IdSource = Pick<Query<unknown>, 'sql' | 'params'>

export const idSource = (id: string): IdSource => ({
  sql: 'SELECT value FROM list(?1)',
  params: [JSON.stringify([id])],
})

type Part<R> = {
  readonly table: TableName
  readonly columns: readonly string[]
  readonly where: string
  /** Never set: the type of the rows. */
  readonly row?: R
}

function part<N extends TableName, C extends keyof RowOf<N> & string>(
  table: N,
  columns: readonly C[],
  where = '',
): Part<Pick<RowOf<N>, C>> {
  return { table, columns, where }
}

/** What the JSON of a resource is made of. The first column names the resource; rows are ordered by `ORDER`. */
const parts = {
  resources: part('resources', ['id', 'owner', 'policy', 'created_at']),
  permissions: part('permissions', ['resource', 'role', 'privilege', 'policy']),
  annotations: part('annotations', ['resource', 'name', 'value', 'policy']),
  secrets: part('secrets', ['resource', 'version', 'expires_at']),
  // Texts may be megabytes, and SQLite reads one whole to see that it is of another policy: looked up for policies only.
  versions: part(
    'policy_versions',
    ['policy', 'version', 'role', 'text', 'sha256', 'client_ip', 'created_at', 'finished_at'],
    ` AND ${kindSql('page.id')} = 'policy'`,
  ),
  credentials: part('credentials', ['role', 'restricted_to']),
  tokens: part('host_factory_tokens', ['factory', 'expires_at', 'id', 'cidr', 'sealed']),
  layers: part(
    'memberships',
    ['member', 'role'],
    ` AND d.ownership = 0 AND ${kindSql('d.member')} = 'host_factory' AND ${kindSql('d.role')} = 'layer'`,
  ),
}

type RowsOf<P> = P extends Part<infer R> ? readonly R[] : never
export type Details = { readonly [N in keyof typeof parts]: RowsOf<(typeof parts)[N]> }
export type ResourceRow = Details['resources'][number]

// Rows of all parts come as one result, so that the page they belong to is found once and not once per part.
const slots = {
  t1: 'TEXT',
  t2: 'TEXT',
  t3: 'TEXT',
  t4: 'TEXT',
  t5: 'TEXT',
  i1: 'BIGINT',
  i2: 'BIGINT',
  i3: 'BIGINT',
  b1: 'BYTEA',
} as const
const ORDER = 't1, i1, t2, t3'

/** Slot → column of a part: texts, numbers and bytes each in their own order. */
function layoutOf({ table, columns }: Part<unknown>): ReadonlyMap<string, string> {
  const taken = { t: 0, i: 0, b: 0 }
  return new Map(
    columns.map((column) => {
      const type = columnType(table, column)
      const letter = type.startsWith('text') ? 't' : type.startsWith('bytes') ? 'b' : 'i'
      return [`${letter}${++taken[letter]}`, column]
    }),
  )
}

const layouts = Object.entries<Part<unknown>>(parts).map(([name, part]) => ({
  name,
  part,
  layout: layoutOf(part),
}))

const selects = layouts.map(({ part, layout }, i) => {
  const cells = Object.entries(slots).map(([slot, type]) => {
    const column = layout.get(slot)
    return `${column === undefined ? `CAST(NULL AS ${type})` : `d.${column}`} AS ${slot}`
  })
  const key = part.columns[0]
  return `SELECT ${i} AS part, ${cells.join(', ')} FROM page CROSS JOIN ${part.table} d WHERE d.${key} = page.id${part.where}`
})

/** A Durable Object's SQLite joins five selects and no more (P9): groups of them are joined. */
const JOINED_SELECTS = 4

function unionAll(terms: readonly string[]): string {
  const groups: string[] = []
  for (let i = 0; i < terms.length; i += JOINED_SELECTS) {
    groups.push(`SELECT * FROM (${terms.slice(i, i + JOINED_SELECTS).join(' UNION ALL ')}) AS joined`)
  }
  return groups.join(' UNION ALL ')
}

/** Everything that the JSON of these resources shows. */
export function detailsQuery(source: IdSource): Query<Details> {
  return {
    sql: `WITH page(id) AS (${source.sql}) ${unionAll(selects)} ORDER BY ${ORDER}`,
    params: source.params,
    bytes: ['b1'],
    read(rows) {
      const details: Record<string, Row[]> = Object.fromEntries(layouts.map(({ name }) => [name, []]))
      for (const row of rows) {
        const { name, layout } = layouts[row.part as number]!
        details[name]!.push(Object.fromEntries([...layout].map(([slot, column]) => [column, row[slot]!])))
      }
      return details as unknown as Details
    },
  }
}

/** Roles that hold a privilege on a resource: owner, grantees, and all their members, directly or not. */
export function permittedRolesQuery(resource: string, privilege: string): Query<string[]> {
  return {
    sql:
      'WITH RECURSIVE down(id) AS (SELECT id FROM (SELECT owner AS id FROM resources WHERE id = ?1 UNION ' +
      'SELECT role AS id FROM permissions WHERE resource = ?1 AND privilege = ?2) AS first UNION ' +
      'members_of(down)) SELECT id FROM down ORDER BY id',
    params: [resource, privilege],
    read: (rows) => rows.map((row) => row.id as string),
  }
}

/** What another role may do with a resource, and whether the caller holds that role. */
export function otherAccessQuery(
  role: string,
  resource: string,
  privilege: string,
): Query<{ held: boolean; allowed: boolean }> {
  return {
    sql:
      'WITH RECURSIVE up(id) AS (SELECT id FROM roles WHERE id = ?1 UNION ' +
      'held_by(up)) SELECT ' +
      'CASE WHEN ?1 IN (SELECT id FROM closure) THEN 1 ELSE 0 END AS held, ' +
      'CASE WHEN EXISTS (SELECT 1 FROM resources r WHERE r.id = ?2 AND r.owner IN (SELECT id FROM up)) OR ' +
      'EXISTS (SELECT 1 FROM permissions p WHERE p.resource = ?2 AND p.privilege = ?3 AND p.role IN (SELECT id FROM up)) ' +
      'THEN 1 ELSE 0 END AS allowed',
    params: [role, resource, privilege],
    read: ([row]) => ({ held: row?.held === 1, allowed: row?.allowed === 1 }),
  }
}
