// Roles and who holds them (http-api 10).
import type { Query } from '../store.ts'
import type { Cell, Row } from '../tables.ts'
import { kindInSql, stemsInSql } from './conditions.ts'

export type RoleRow = { readonly id: string; readonly createdAt: number; readonly policy: string | null }

export function roleQuery(id: string): Query<RoleRow | undefined> {
  return {
    sql: 'SELECT id, created_at, policy FROM roles WHERE id = ?1',
    params: [id],
    read: ([row]) =>
      row && {
        id: row.id as string,
        createdAt: row.created_at as number,
        policy: row.policy as string | null,
      },
  }
}

export type Membership = {
  readonly role: string
  readonly member: string
  readonly ownership: boolean
  readonly adminOption: boolean
  readonly policy: string | null
}

const membershipOf = (row: Row): Membership => ({
  role: row.role as string,
  member: row.member as string,
  ownership: row.ownership === 1,
  adminOption: row.admin_option === 1,
  policy: row.policy as string | null,
})

const COLUMNS =
  'm.role AS role, m.member AS member, m.ownership AS ownership, m.admin_option AS admin_option, m.policy AS policy'

export type MembershipFilter = {
  /** Kinds of the other end; empty: all. */
  readonly kinds: readonly string[]
  /** Stems that the other end's words must all hold; undefined: no search, none: nothing is found. */
  readonly stems: readonly string[] | undefined
  /** Ids that the member must be one of; undefined: any. */
  readonly members: readonly string[] | undefined
  readonly limit: number | undefined
  readonly offset: number
}

/** Direct members of a role (`side: role`) or direct memberships of it (`side: member`), sorted by the other end. */
export function membershipsQuery(
  role: string,
  side: 'role' | 'member',
  filter: MembershipFilter,
): Query<Membership[]> {
  const { where, params } = membershipCondition(role, side, filter)
  const other = side === 'role' ? 'member' : 'role'
  const page =
    filter.limit === undefined
      ? ''
      : ` LIMIT ?${params.push(filter.limit)} OFFSET ?${params.push(filter.offset)}`
  return {
    sql: `SELECT ${COLUMNS} FROM memberships m WHERE ${where} ORDER BY m.${other}, m.ownership${page}`,
    params,
    read: (rows) => rows.map(membershipOf),
  }
}

export function membershipCountQuery(
  role: string,
  side: 'role' | 'member',
  filter: MembershipFilter,
): Query<number> {
  const { where, params } = membershipCondition(role, side, filter)
  return {
    sql: `SELECT COUNT(*) AS n FROM memberships m WHERE ${where}`,
    params,
    read: (rows) => rows[0]?.n as number,
  }
}

function membershipCondition(
  role: string,
  side: 'role' | 'member',
  { kinds, stems, members }: MembershipFilter,
): { where: string; params: Cell[] } {
  const other = side === 'role' ? 'm.member' : 'm.role'
  const params: Cell[] = [role]
  const conditions = [`m.${side} = ?1`]
  const list = (values: readonly string[]): string => `?${params.push(JSON.stringify(values))}`
  if (kinds.length > 0) conditions.push(kindInSql(other, list(kinds)))
  if (stems?.length === 0) conditions.push('1 = 0')
  else if (stems !== undefined) {
    const found = stemsInSql('w.words', list(stems))
    conditions.push(`EXISTS (SELECT 1 FROM resources w WHERE w.id = ${other} AND ${found})`)
  }
  if (members !== undefined) conditions.push(`m.member IN (SELECT value FROM list(${list(members)}))`)
  return { where: conditions.join(' AND '), params }
}

/** The role and everything it holds, directly or not. */
export function allRolesQuery(role: string): Query<string[]> {
  return {
    sql:
      'WITH RECURSIVE up(id) AS (SELECT id FROM roles WHERE id = ?1 UNION ' +
      'held_by(up)) SELECT id FROM up ORDER BY id',
    params: [role],
    read: (rows) => rows.map((row) => row.id as string),
  }
}

/** Edges up and down from a role, and the direct members of its ancestors, where the caller sees the parent. */
export function graphQuery(role: string): Query<{ parent: string; child: string }[]> {
  return {
    sql:
      'WITH RECURSIVE up(id) AS (SELECT id FROM roles WHERE id = ?1 UNION ' +
      'held_by(up)), down(id) AS (SELECT id FROM roles WHERE id = ?1 UNION members_of(down)), ' +
      'related(id) AS (SELECT id FROM up UNION SELECT id FROM down) ' +
      'SELECT DISTINCT g.role AS parent, g.member AS child FROM related n JOIN memberships g ON g.role = n.id ' +
      'JOIN resources r ON r.id = g.role WHERE (r.owner IN (SELECT id FROM closure) OR EXISTS (SELECT 1 FROM permissions p ' +
      'WHERE p.resource = r.id AND p.role IN (SELECT id FROM closure))) ORDER BY g.role, g.member',
    params: [role],
    read: (rows) => rows.map((row) => ({ parent: row.parent as string, child: row.child as string })),
  }
}

export type Existing = { readonly group: boolean; readonly member: boolean; readonly held: boolean }

/** Whether both roles are there, and the one is a member of the other by a grant. */
export function existingQuery(group: string, member: string): Query<Existing> {
  return {
    sql:
      "SELECT 'group' AS what FROM roles WHERE id = ?1 UNION ALL SELECT 'member' AS what FROM roles WHERE id = ?2 " +
      "UNION ALL SELECT 'held' AS what FROM memberships WHERE role = ?1 AND member = ?2 AND ownership = 0",
    params: [group, member],
    read(rows) {
      const found = new Set(rows.map(({ what }) => what))
      return { group: found.has('group'), member: found.has('member'), held: found.has('held') }
    },
  }
}
