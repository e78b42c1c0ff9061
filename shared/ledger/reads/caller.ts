// Facts about roles that prove who they are.
import type { Query } from '../store.ts'

export type Credentials = {
  /** Sealed; undefined for a role that cannot log in with a key. */
  readonly apiKey: Uint8Array | undefined
  readonly password: string | undefined
  /** Normalised CIDRs; empty: any origin. */
  readonly restrictedTo: readonly string[]
  readonly expiresAt: number | null
  readonly rotatedAt: number | null
}

export type RoleCredentials = { readonly exists: boolean; readonly credentials: Credentials | undefined }

export function credentialsQuery(role: string): Query<RoleCredentials> {
  return {
    sql:
      'SELECT r.id AS id, c.role AS held, c.api_key AS api_key, c.password AS password, c.restricted_to AS restricted_to, ' +
      'c.expires_at AS expires_at, c.rotated_at AS rotated_at FROM roles r LEFT JOIN credentials c ON c.role = r.id WHERE r.id = ?1',
    params: [role],
    bytes: ['api_key'],
    read([row]) {
      if (row === undefined) return { exists: false, credentials: undefined }
      if (row.held === null) return { exists: true, credentials: undefined }
      return {
        exists: true,
        credentials: {
          apiKey: (row.api_key as Uint8Array | null) ?? undefined,
          password: (row.password as string | null) ?? undefined,
          restrictedTo: JSON.parse(row.restricted_to as string) as string[],
          expiresAt: row.expires_at as number | null,
          rotatedAt: row.rotated_at as number | null,
        },
      }
    },
  }
}
