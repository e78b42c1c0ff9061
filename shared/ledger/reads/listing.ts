// Lists of resources: what a role sees, filtered, counted and paged in the store (http-api 11).
import { idRange } from '../../id/resource-id.ts'
import type { Query } from '../store.ts'
import type { Cell } from '../tables.ts'
import { kindInSql, stemsInSql } from './conditions.ts'

export type ListFilter = {
  readonly account: string | undefined
  readonly kind: string | undefined
  /** Undefined: no search; none: nothing is found. */
  readonly stems: readonly string[] | undefined
  /** This role or one that it holds must own the resource; undefined: any owner. */
  readonly owner: string | undefined
  /** Whose eyes; undefined: the caller's. */
  readonly actingAs: string | undefined
}

type Condition = { readonly with: string; readonly where: string; readonly params: Cell[] }

function conditionOf({ account, kind, stems, owner, actingAs }: ListFilter): Condition {
  const params: Cell[] = []
  const param = (value: Cell): string => `?${params.push(value)}`
  const conditions: string[] = []
  const relations: string[] = []
  const closureFrom = (name: string, role: string): void => {
    relations.push(
      `${name}(id) AS (SELECT id FROM roles WHERE id = ${param(role)} UNION ` + `held_by(${name}))`,
    )
  }
  if (actingAs !== undefined) closureFrom('eyes', actingAs)
  if (owner !== undefined) closureFrom('owners', owner)
  const eyes = actingAs === undefined ? 'closure' : 'eyes'
  conditions.push(
    `(r.owner IN (SELECT id FROM ${eyes}) OR EXISTS (SELECT 1 FROM permissions p ` +
      `WHERE p.resource = r.id AND p.role IN (SELECT id FROM ${eyes})))`,
  )
  if (owner !== undefined) conditions.push('r.owner IN (SELECT id FROM owners)')
  if (account !== undefined) {
    const range = idRange(account, kind)
    conditions.push(`r.id >= ${param(range.from)} AND r.id < ${param(range.below)}`)
  } else if (kind !== undefined) {
    conditions.push(kindInSql('r.id', param(JSON.stringify([kind]))))
  }
  if (stems?.length === 0) conditions.push('1 = 0')
  else if (stems !== undefined) conditions.push(stemsInSql('r.words', param(JSON.stringify(stems))))
  return {
    with: relations.length === 0 ? '' : `WITH RECURSIVE ${relations.join(', ')} `,
    where: conditions.join(' AND '),
    params,
  }
}

/** Ids in byte order. `limit` undefined: all. */
export function listIdsQuery(filter: ListFilter, limit: number | undefined, offset: number): Query<string[]> {
  const { with: relations, where, params } = conditionOf(filter)
  const page = limit === undefined ? '' : ` LIMIT ?${params.push(limit)} OFFSET ?${params.push(offset)}`
  return {
    sql: `${relations}SELECT r.id AS id FROM resources r WHERE ${where} ORDER BY r.id${page}`,
    params,
    read: (rows) => rows.map((row) => row.id as string),
  }
}

export function listCountQuery(filter: ListFilter): Query<number> {
  const { with: relations, where, params } = conditionOf(filter)
  return {
    sql: `${relations}SELECT COUNT(*) AS n FROM resources r WHERE ${where}`,
    params,
    read: (rows) => rows[0]?.n as number,
  }
}

/** Whether a role is among the caller's. */
export function holdsQuery(role: string): Query<boolean> {
  return {
    sql: 'SELECT 1 AS held FROM closure WHERE id = ?1',
    params: [role],
    read: (rows) => rows.length > 0,
  }
}
