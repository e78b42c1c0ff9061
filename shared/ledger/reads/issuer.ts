// Issuers, the variables they make values for, and who may use them (http-api 14, policy 3).
import { DYNAMIC_ANNOTATION, DYNAMIC_PATH, issuerPolicy } from '../../id/dynamic.ts'
import { makeId } from '../../id/resource-id.ts'
import type { Query } from '../store.ts'
import { type Row, type RowOf, type TableName, tables } from '../tables.ts'

export type IssuerRow = RowOf<'issuers'>

const COLUMNS = 'policy, type, max_ttl, sealed, created_at, modified_at'

export function issuerQuery(policy: string): Query<IssuerRow | undefined> {
  return {
    sql: `SELECT ${COLUMNS} FROM issuers WHERE policy = ?1`,
    params: [policy],
    bytes: ['sealed'],
    read: ([row]) => row as unknown as IssuerRow | undefined,
  }
}

/** All of an account, by the bytes of their names. */
export function issuersQuery(account: string): Query<readonly IssuerRow[]> {
  return {
    sql: `SELECT ${COLUMNS} FROM issuers WHERE policy >= ?1 AND policy < ?2 ORDER BY policy`,
    // '0' is the byte after '/'.
    params: [issuerPolicy(account, ''), makeId(account, 'policy', 'conjur/issuers0')],
    bytes: ['sealed'],
    read: (rows) => rows as unknown as readonly IssuerRow[],
  }
}

/** Largest times to live, seconds, of those of the issuers that the caller may use; by their policies. */
export function usableIssuersQuery(policies: readonly string[]): Query<ReadonlyMap<string, number>> {
  return {
    sql:
      'SELECT i.policy AS policy, i.max_ttl AS max_ttl FROM issuers i JOIN resources r ON r.id = i.policy ' +
      'WHERE i.policy IN (SELECT value FROM list(?1)) AND (r.owner IN (SELECT id FROM closure) ' +
      "OR EXISTS (SELECT 1 FROM permissions p WHERE p.resource = r.id AND p.privilege = 'use' " +
      'AND p.role IN (SELECT id FROM closure)))',
    params: [JSON.stringify(policies)],
    read: (rows) => new Map(rows.map((row) => [row.policy as string, row.max_ttl as number])),
  }
}

/** What a value of a dynamic variable is made from. */
export type DynamicSource = {
  /** Its annotations of that kind, without the prefix. */
  readonly annotations: ReadonlyMap<string, string>
  /** The one that it names, if there is such an issuer. */
  readonly issuer: Pick<IssuerRow, 'policy' | 'type' | 'max_ttl' | 'sealed'> | undefined
}

export function dynamicSourcesQuery(variables: readonly string[]): Query<ReadonlyMap<string, DynamicSource>> {
  return {
    sql:
      'SELECT a.resource AS resource, a.name AS name, a.value AS value, ' +
      'i.policy AS policy, i.type AS type, i.max_ttl AS max_ttl, i.sealed AS sealed ' +
      `FROM annotations a LEFT JOIN issuers i ON a.name = '${DYNAMIC_ANNOTATION}issuer' AND i.policy = ` +
      "substr(a.resource, 1, instr(a.resource, ':')) || 'policy:conjur/issuers/' || a.value " +
      'WHERE a.resource IN (SELECT value FROM list(?1)) ' +
      `AND substr(a.name, 1, ${DYNAMIC_ANNOTATION.length}) = '${DYNAMIC_ANNOTATION}' ORDER BY a.resource, a.name`,
    params: [JSON.stringify(variables)],
    bytes: ['sealed'],
    read(rows) {
      const byVariable = Map.groupBy(rows, ({ resource }) => resource as string)
      return new Map([...byVariable].map(([variable, own]) => [variable, sourceOf(own)]))
    },
  }
}

function sourceOf(rows: readonly Row[]): DynamicSource {
  const issuer = rows.find(({ policy }) => policy !== null)
  return {
    annotations: new Map(
      rows.map(({ name, value }) => [(name as string).slice(DYNAMIC_ANNOTATION.length), value as string]),
    ),
    issuer: issuer as DynamicSource['issuer'],
  }
}

/** Columns by which a row belongs to a variable. */
const ofVariable = {
  resources: 'id',
  permissions: 'resource',
  annotations: 'resource',
  secrets: 'resource',
} as const satisfies Partial<Record<TableName, string>>

type VariableTable = keyof typeof ofVariable

export type VariableKeys = readonly { readonly table: VariableTable; readonly key: Row }[]

/** Keys of every row of the variables that name an issuer, table by table. */
export function issuedVariablesBatch(account: string, issuer: string) {
  const path = makeId(account, 'variable', DYNAMIC_PATH)
  const query = (table: VariableTable): Query<VariableKeys> => ({
    sql:
      `SELECT ${tables[table].key.join(', ')} FROM ${table} WHERE ${ofVariable[table]} IN ` +
      '(SELECT n.resource FROM annotations n WHERE n.resource >= ?1 AND n.resource < ?2 ' +
      `AND n.name = '${DYNAMIC_ANNOTATION}issuer' AND n.value = ?3)`,
    params: [path, `${path.slice(0, -1)}0`, issuer],
    read: (rows) => rows.map((key) => ({ table, key })),
  })
  return {
    issuedResources: query('resources'),
    issuedPermissions: query('permissions'),
    issuedAnnotations: query('annotations'),
    issuedSecrets: query('secrets'),
  }
}
