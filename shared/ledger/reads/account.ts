// Accounts: which there are, and every row of one (http-api 7).
import { idRange } from '../../id/resource-id.ts'
import type { Query } from '../store.ts'
import { type Row, type TableName, tables } from '../tables.ts'

/** Names, sorted. The next name is looked up behind all ids of the one before: no table is read whole. */
export const accountsQuery: Query<readonly string[]> = {
  sql:
    'WITH RECURSIVE one(id) AS (SELECT MIN(id) FROM resources UNION ALL ' +
    "SELECT (SELECT MIN(r.id) FROM resources r WHERE r.id >= substr(one.id, 1, instr(one.id, ':') - 1) || ';') " +
    "FROM one WHERE one.id IS NOT NULL) SELECT substr(id, 1, instr(id, ':') - 1) AS name FROM one WHERE id IS NOT NULL",
  params: [],
  read: (rows) => rows.map((row) => row.name as string).sort(),
}

/** Columns whose ids say to which account a row belongs. */
const belongsTo = {
  roles: ['id'],
  resources: ['id'],
  memberships: ['role', 'member'],
  permissions: ['resource', 'role'],
  annotations: ['resource'],
  credentials: ['role'],
  secrets: ['resource'],
  policy_versions: ['policy'],
  host_factory_tokens: ['factory'],
  authenticators: ['webservice'],
  issuers: ['policy'],
} as const satisfies Partial<Record<TableName, readonly string[]>>

type Owned = keyof typeof belongsTo

export type AccountKeys = readonly { readonly table: TableName; readonly key: Row }[]

/** Keys of every row of an account, table by table. */
export function accountRowsBatch(account: string): { readonly [T in Owned]: Query<AccountKeys> } {
  const { from, below } = idRange(account)
  const query = (table: Owned): Query<AccountKeys> => ({
    sql: belongsTo[table]
      .map(
        (column) =>
          `SELECT ${tables[table].key.join(', ')} FROM ${table} WHERE ${column} >= ?1 AND ${column} < ?2`,
      )
      .join(' UNION '),
    params: [from, below],
    read: (rows) => rows.map((key) => ({ table, key })),
  })
  return Object.fromEntries(
    (Object.keys(belongsTo) as Owned[]).map((table) => [table, query(table)]),
  ) as Record<Owned, Query<AccountKeys>>
}
