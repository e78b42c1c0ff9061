import type { Query } from '../store.ts'
import type { Row } from '../tables.ts'
import { type Access, accessOf, accessSql } from './access.ts'

export type StoredSecret = {
  readonly version: number
  readonly sealed: Uint8Array
  /** Annotation conjur/mime_type of the variable, where a header can hold it. */
  readonly mimeType: string | undefined
}

/** What the caller may do with a variable, and one version of its value; undefined when there is none. */
export type SecretFacts = { readonly access: Access; readonly secret: StoredSecret | undefined }

// One statement, because it runs in every secret read: at the edge a statement costs more than what it looks up.
const secretSql = (version: string): string =>
  accessSql('?1', {
    columns: [
      's.version AS version',
      's.sealed AS sealed',
      "(SELECT value FROM annotations WHERE resource = ?1 AND name = 'conjur/mime_type') AS mime",
    ],
    join: `LEFT JOIN secrets s ON s.resource = ?1 AND s.version = ${version}`,
  })
const newestSql = secretSql('(SELECT MAX(version) FROM secrets WHERE resource = ?1)')
const versionSql = secretSql('?2')

/** `version`: undefined: the newest. */
export const secretQuery = (resource: string, version: number | undefined): Query<SecretFacts> => ({
  sql: version === undefined ? newestSql : versionSql,
  params: version === undefined ? [resource] : [resource, version],
  bytes: ['sealed'],
  read: (rows) => ({ access: accessOf(rows), secret: secretOf(rows.find(({ what }) => what === 'owner')) }),
})

const secretOf = (row: Row | undefined): StoredSecret | undefined =>
  row === undefined || typeof row.version !== 'number'
    ? undefined
    : {
        version: row.version,
        sealed: row.sealed as Uint8Array,
        mimeType: mediaType(row.mime as string | null),
      }

/** Undefined for what cannot stand in a header: an annotation may hold any text. */
const mediaType = (text: string | null): string | undefined =>
  text !== null && /^[\x21-\x7e][\x20-\x7e]{0,200}$/.test(text) ? text : undefined

/** Numbers of the versions that are kept, ascending. */
export function versionsQuery(
  resource: string,
): Query<readonly { version: number; expiresAt: number | null }[]> {
  return {
    sql: 'SELECT version, expires_at FROM secrets WHERE resource = ?1 ORDER BY version',
    params: [resource],
    read: (rows) =>
      rows.map((row) => ({ version: row.version as number, expiresAt: row.expires_at as number | null })),
  }
}

export type BatchFacts = {
  readonly found: ReadonlySet<string>
  readonly executable: ReadonlySet<string>
}

/** Which of the variables exist, and which of them the caller may execute. */
export function batchAccessQuery(ids: readonly string[]): Query<BatchFacts> {
  return {
    sql:
      'SELECT r.id AS id, CASE WHEN r.owner IN (SELECT id FROM closure) OR EXISTS (SELECT 1 FROM permissions p ' +
      "WHERE p.resource = r.id AND p.privilege = 'execute' AND p.role IN (SELECT id FROM closure)) " +
      'THEN 1 ELSE 0 END AS executable FROM resources r WHERE r.id IN (SELECT value FROM list(?1))',
    params: [JSON.stringify(ids)],
    read: (rows) => ({
      found: new Set(rows.map((row) => row.id as string)),
      executable: new Set(rows.filter((row) => row.executable === 1).map((row) => row.id as string)),
    }),
  }
}

/** The newest value of each variable that has one. */
export function batchValuesQuery(
  ids: readonly string[],
): Query<ReadonlyMap<string, Pick<StoredSecret, 'version' | 'sealed'>>> {
  return {
    sql:
      'SELECT s.resource AS resource, s.version AS version, s.sealed AS sealed FROM secrets s ' +
      'WHERE s.resource IN (SELECT value FROM list(?1)) ' +
      'AND s.version = (SELECT MAX(v.version) FROM secrets v WHERE v.resource = s.resource)',
    params: [JSON.stringify(ids)],
    bytes: ['sealed'],
    read: (rows) =>
      new Map(
        rows.map((row) => [
          row.resource as string,
          { version: row.version as number, sealed: row.sealed as Uint8Array },
        ]),
      ),
  }
}
