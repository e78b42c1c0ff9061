// Everything inside a policy's namespace that the caller sees: what an effective policy is made of (policy 10).
import { kinds } from '../../id/kinds.ts'
import { idRange, makeId, splitId } from '../../id/resource-id.ts'
import type { Query, Statement } from '../store.ts'
import type { Row, RowOf } from '../tables.ts'

const VISIBLE =
  '(r.owner IN (SELECT id FROM closure) OR EXISTS (SELECT 1 FROM permissions p ' +
  'WHERE p.resource = r.id AND p.role IN (SELECT id FROM closure)))'

type Source = Pick<Statement, 'sql' | 'params'>

/** `WITH shown(id, owner) …`: the records, users by the end of their names. */
function shownIn(account: string, identifier: string): Source {
  if (identifier === 'root') {
    const { from, below } = idRange(account)
    const sql = `SELECT r.id, r.owner FROM resources r WHERE r.id >= ?1 AND r.id < ?2 AND ${VISIBLE}`
    return { sql: `WITH shown(id, owner) AS (${sql}) `, params: [from, below] }
  }
  const roots = Object.keys(kinds)
    .filter((kind) => kind !== 'user')
    .map((kind) => makeId(account, kind, identifier))
  const users = idRange(account, 'user')
  // '0' is the byte after '/'.
  const found =
    'SELECT r.id, r.owner FROM list(?1) JOIN resources r ON r.id = value ' +
    "UNION SELECT r.id, r.owner FROM list(?1) JOIN resources r ON r.id >= value || '/' AND r.id < value || '0' " +
    'UNION SELECT r.id, r.owner FROM resources r WHERE r.id >= ?2 AND r.id < ?3 AND instr(r.id, ?4) > 0'
  return {
    sql: `WITH found(id, owner) AS (${found}), shown(id, owner) AS (SELECT r.id, r.owner FROM found r WHERE ${VISIBLE}) `,
    params: [JSON.stringify(roots), users.from, users.below, `@${identifier.replaceAll('/', '-')}`],
  }
}

export function effectiveBatch(policy: string) {
  const { account = '', identifier = '' } = splitId(policy)
  const source = shownIn(account, identifier)
  const query = <R>(sql: string): Query<readonly R[]> => ({
    sql: source.sql + sql,
    params: source.params,
    read: (rows: readonly Row[]) => rows as unknown as readonly R[],
  })
  return {
    resources: query<Pick<RowOf<'resources'>, 'id' | 'owner'>>('SELECT id, owner FROM shown ORDER BY id'),
    annotations: query<Pick<RowOf<'annotations'>, 'resource' | 'name' | 'value'>>(
      'SELECT a.resource AS resource, a.name AS name, a.value AS value FROM shown s ' +
        'JOIN annotations a ON a.resource = s.id ORDER BY a.resource, a.name',
    ),
    credentials: query<Pick<RowOf<'credentials'>, 'role' | 'restricted_to'>>(
      'SELECT c.role AS role, c.restricted_to AS restricted_to FROM shown s JOIN credentials c ON c.role = s.id ' +
        "WHERE c.restricted_to <> '[]'",
    ),
    /** Grants: ownerships are told by the owners. */
    grants: query<Pick<RowOf<'memberships'>, 'role' | 'member'>>(
      'SELECT m.role AS role, m.member AS member FROM shown s JOIN memberships m ON m.role = s.id ' +
        'WHERE m.ownership = 0 ORDER BY m.role, m.member',
    ),
    permissions: query<Pick<RowOf<'permissions'>, 'resource' | 'role' | 'privilege'>>(
      'SELECT p.resource AS resource, p.role AS role, p.privilege AS privilege FROM shown s ' +
        'JOIN permissions p ON p.resource = s.id ORDER BY p.resource, p.role, p.privilege',
    ),
  }
}
