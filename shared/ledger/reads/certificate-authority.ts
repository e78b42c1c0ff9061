// The settings of a certificate authority: annotations of its webservice, which name variables (http-api 14).
import { accountOf } from '../../id/resource-id.ts'
import type { Query } from '../store.ts'

export type StoredValue = { readonly resource: string; readonly version: number; readonly sealed: Uint8Array }

export type AuthoritySettings = {
  /** The annotation itself. */
  readonly maxTtl: string | undefined
  /** Newest values of the variables that annotations name. */
  readonly values: ReadonlyMap<string, StoredValue>
}

const NAMES = ['ca/private-key', 'ca/private-key-password', 'ca/certificate-chain', 'ca/max_ttl']

export function authorityQuery(webservice: string): Query<AuthoritySettings> {
  return {
    sql:
      'SELECT a.name AS name, a.value AS value, s.resource AS resource, s.version AS version, s.sealed AS sealed ' +
      'FROM annotations a LEFT JOIN secrets s ON s.resource = ?3 || a.value AND s.version = ' +
      '(SELECT MAX(v.version) FROM secrets v WHERE v.resource = ?3 || a.value) ' +
      'WHERE a.resource = ?1 AND a.name IN (SELECT value FROM list(?2))',
    params: [webservice, JSON.stringify(NAMES), `${accountOf(webservice)}:variable:`],
    bytes: ['sealed'],
    read(rows) {
      const values = new Map<string, StoredValue>()
      let maxTtl: string | undefined
      for (const row of rows) {
        if (row.name === 'ca/max_ttl') maxTtl = row.value as string
        else if (row.sealed !== null)
          values.set(row.name as string, {
            resource: row.resource as string,
            version: row.version as number,
            sealed: row.sealed as Uint8Array,
          })
      }
      return { maxTtl, values }
    },
  }
}
