// Branches: policies as V2 shows them, one or a list of them (http-api 15).
import { idRange, makeId } from '../../id/resource-id.ts'
import type { Query } from '../store.ts'
import type { Cell, Row } from '../tables.ts'
import { rowsQuery } from './policy.ts'

export type Branch = {
  readonly id: string
  readonly owner: string
  readonly annotations: readonly (readonly [name: string, value: string])[]
}

const ANNOTATED =
  'SELECT r.id AS id, r.owner AS owner, a.name AS name, a.value AS value ' +
  'FROM (PAGE) AS r LEFT JOIN annotations a ON a.resource = r.id ORDER BY r.id, a.name'

/** `page`: a statement that yields `id` and `owner`. */
const annotated = (page: string): string => ANNOTATED.replace('PAGE', page)

function branchesOf(rows: readonly Row[]): Branch[] {
  return [...Map.groupBy(rows, ({ id }) => id as string)].map(([id, of]) => ({
    id,
    owner: of[0]!.owner as string,
    annotations: of
      .filter(({ name }) => name !== null)
      .map(({ name, value }) => [name as string, value as string] as const),
  }))
}

export function branchQuery(id: string): Query<Branch | undefined> {
  return {
    sql: annotated('SELECT id, owner FROM resources WHERE id = ?1'),
    params: [id],
    read: (rows) => branchesOf(rows)[0],
  }
}

/** All before the last slash. */
const PARENT = "rtrim(r.id, replace(r.id, '/', ''))"

/** Of those that the caller may read; the root is none of them, nor is one without a parent. */
const LISTED =
  'FROM resources r WHERE r.id >= ?1 AND r.id < ?2 AND r.id <> ?3 ' +
  'AND (r.owner IN (SELECT id FROM closure) OR EXISTS (SELECT 1 FROM permissions p ' +
  "WHERE p.resource = r.id AND p.privilege = 'read' AND p.role IN (SELECT id FROM closure))) " +
  `AND (instr(r.id, '/') = 0 OR EXISTS (SELECT 1 FROM resources above WHERE above.id = substr(${PARENT}, 1, length(${PARENT}) - 1)))`

function listedIn(account: string): Cell[] {
  const { from, below } = idRange(account, 'policy')
  return [from, below, makeId(account, 'policy', 'root')]
}

/** By id, in byte order. */
export function branchesQuery(account: string, limit: number, offset: number): Query<readonly Branch[]> {
  return {
    sql: annotated(`SELECT r.id, r.owner ${LISTED} ORDER BY r.id LIMIT ?4 OFFSET ?5`),
    params: [...listedIn(account), limit, offset],
    read: branchesOf,
  }
}

export function branchCountQuery(account: string): Query<number> {
  return {
    sql: `SELECT COUNT(*) AS n ${LISTED}`,
    params: listedIn(account),
    read: (rows) => rows[0]?.n as number,
  }
}

/** A record's own rows, who owns it and what is noted on it. */
export function recordBatch(id: string) {
  return {
    resources: rowsQuery('resources', 'id = ?1', [id]),
    roles: rowsQuery('roles', 'id = ?1', [id]),
    annotations: rowsQuery('annotations', 'resource = ?1', [id]),
    ownerships: rowsQuery('memberships', 'role = ?1 AND ownership = 1', [id]),
  }
}
