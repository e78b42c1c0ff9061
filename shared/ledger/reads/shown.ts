// Records as a report of a load shows them, with all that is said of them (policy 9).
import type { Query } from '../store.ts'
import type { Row, RowOf } from '../tables.ts'

const listed = (column: string): string => `${column} IN (SELECT value FROM list(?1))`

function rowsQuery<R>(sql: string, ids: string): Query<readonly R[]> {
  return { sql, params: [ids], read: (rows: readonly Row[]) => rows as unknown as readonly R[] }
}

/** What belongs to these records, and which of all ids named there the caller sees. */
export function shownBatch(of: readonly string[]) {
  const ids = JSON.stringify(of)
  return {
    resources: rowsQuery<Pick<RowOf<'resources'>, 'id' | 'owner' | 'policy'>>(
      `SELECT id, owner, policy FROM resources WHERE ${listed('id')} ORDER BY id`,
      ids,
    ),
    annotations: rowsQuery<Pick<RowOf<'annotations'>, 'resource' | 'name' | 'value'>>(
      `SELECT resource, name, value FROM annotations WHERE ${listed('resource')} ORDER BY resource, name`,
      ids,
    ),
    /** Rows in which one of the records is the role: others are its members. */
    members: rowsQuery<Pick<RowOf<'memberships'>, 'role' | 'member'>>(
      `SELECT role, member FROM memberships WHERE ${listed('role')} ORDER BY role, member`,
      ids,
    ),
    memberships: rowsQuery<Pick<RowOf<'memberships'>, 'role' | 'member'>>(
      `SELECT role, member FROM memberships WHERE ${listed('member')} ORDER BY member, role`,
      ids,
    ),
    /** What the records may do, and what may be done with them. */
    permissions: rowsQuery<Pick<RowOf<'permissions'>, 'resource' | 'role' | 'privilege'>>(
      `SELECT resource, role, privilege FROM permissions WHERE ${listed('role')} ORDER BY privilege, resource`,
      ids,
    ),
    permitted: rowsQuery<Pick<RowOf<'permissions'>, 'resource' | 'role' | 'privilege'>>(
      `SELECT resource, role, privilege FROM permissions WHERE ${listed('resource')} ORDER BY privilege, role`,
      ids,
    ),
    credentials: rowsQuery<Pick<RowOf<'credentials'>, 'role' | 'restricted_to'>>(
      `SELECT role, restricted_to FROM credentials WHERE ${listed('role')}`,
      ids,
    ),
    visible: visibleQuery(ids),
  }
}

/** The records, what they name and what names them: those of them that the caller sees. */
function visibleQuery(ids: string): Query<ReadonlySet<string>> {
  const own = 'SELECT value AS id FROM list(?1)'
  const named = [
    own,
    `SELECT owner FROM resources WHERE ${listed('id')}`,
    `SELECT policy FROM resources WHERE ${listed('id')}`,
    `SELECT member FROM memberships WHERE ${listed('role')}`,
    `SELECT role FROM memberships WHERE ${listed('member')}`,
    `SELECT resource FROM permissions WHERE ${listed('role')}`,
    `SELECT role FROM permissions WHERE ${listed('resource')}`,
  ].join(' UNION ')
  return {
    sql:
      `WITH named(id) AS (${named}) SELECT r.id AS id FROM resources r JOIN named n ON n.id = r.id ` +
      'WHERE r.owner IN (SELECT id FROM closure) OR EXISTS (SELECT 1 FROM permissions p ' +
      'WHERE p.resource = r.id AND p.role IN (SELECT id FROM closure))',
    params: [ids],
    read: (rows) => new Set(rows.map((row) => row.id as string)),
  }
}
