// Resources as they are shown (http-api 11).
import type { Batch, FactsOf, Query } from '../store.ts'
import type { RowOf } from '../tables.ts'
import { kindSql } from './conditions.ts'

export type ResourceRow = Pick<RowOf<'resources'>, 'id' | 'owner' | 'policy' | 'created_at'>

/** A statement that yields ids in its first column: one resource, or a page of a list. */
export type IdSource = Pick<Query<unknown>, 'sql' | 'params'>

export const idSource = (id: string): IdSource => ({
  sql: 'SELECT value FROM list(?1)',
  params: [JSON.stringify([id])],
})

/** Everything that the JSON of these resources shows, by kind. */
export function detailsBatch(source: IdSource) {
  const rows = <T>(
    columns: string,
    from: string,
    key: string,
    order: string,
    bytes: readonly string[] = [],
  ): Query<T[]> => ({
    sql: `SELECT ${columns} FROM ${from} ${from.includes('WHERE') ? 'AND' : 'WHERE'} ${key} IN (${source.sql}) ORDER BY ${order}`,
    params: source.params,
    bytes,
    read: (found) => found as unknown as T[],
  })
  return {
    resources: rows<ResourceRow>('id, owner, policy, created_at', 'resources', 'id', 'id'),
    permissions: rows<RowOf<'permissions'>>(
      'resource, role, privilege, policy',
      'permissions',
      'resource',
      'resource, role, privilege',
    ),
    annotations: rows<RowOf<'annotations'>>(
      'resource, name, value, policy',
      'annotations',
      'resource',
      'resource, name',
    ),
    secrets: rows<Pick<RowOf<'secrets'>, 'resource' | 'version' | 'expires_at'>>(
      'resource, version, expires_at',
      'secrets',
      'resource',
      'resource, version',
    ),
    versions: rows<RowOf<'policy_versions'>>(
      'policy, version, role, text, sha256, client_ip, created_at, finished_at',
      'policy_versions',
      'policy',
      'policy, version',
    ),
    credentials: rows<Pick<RowOf<'credentials'>, 'role' | 'restricted_to'>>(
      'role, restricted_to',
      'credentials',
      'role',
      'role',
    ),
    tokens: rows<RowOf<'host_factory_tokens'>>(
      'id, sealed, factory, cidr, expires_at',
      'host_factory_tokens',
      'factory',
      'factory, expires_at, id',
      ['sealed'],
    ),
    layers: rows<{ factory: string; layer: string }>(
      'member AS factory, role AS layer',
      `memberships WHERE ownership = 0 AND ${kindSql('member')} = 'host_factory' AND ${kindSql('role')} = 'layer'`,
      'member',
      'member, role',
    ),
  } satisfies Batch
}

export type Details = FactsOf<ReturnType<typeof detailsBatch>>

/** Roles that hold a privilege on a resource: owner, grantees, and all their members, directly or not. */
export function permittedRolesQuery(resource: string, privilege: string): Query<string[]> {
  return {
    sql:
      'WITH RECURSIVE down(id) AS (SELECT id FROM (SELECT owner AS id FROM resources WHERE id = ?1 UNION ' +
      'SELECT role AS id FROM permissions WHERE resource = ?1 AND privilege = ?2) AS first UNION ' +
      'SELECT m.member FROM memberships m JOIN down d ON m.role = d.id) SELECT id FROM down ORDER BY id',
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
      'SELECT m.role FROM memberships m JOIN up u ON m.member = u.id) SELECT ' +
      'CASE WHEN ?1 IN (SELECT id FROM closure) THEN 1 ELSE 0 END AS held, ' +
      'CASE WHEN EXISTS (SELECT 1 FROM resources r WHERE r.id = ?2 AND r.owner IN (SELECT id FROM up)) OR ' +
      'EXISTS (SELECT 1 FROM permissions p WHERE p.resource = ?2 AND p.privilege = ?3 AND p.role IN (SELECT id FROM up)) ' +
      'THEN 1 ELSE 0 END AS allowed',
    params: [role, resource, privilege],
    read: ([row]) => ({ held: row?.held === 1, allowed: row?.allowed === 1 }),
  }
}
