// Values at rest are sealed under a data key with a version; the record's id is additional data, so a sealed
// value cannot be moved to another record (http-api 4, cluster 11).
import { aesGcmOpen, aesGcmSeal, importAesKey, type SecretKey } from '../base/native-crypto.ts'

export interface Keyring {
  /** `record`: table and key, as `recordId` makes it. Throws `unavailable` when the keyring is locked. */
  seal(record: string, plain: Uint8Array): Uint8Array
  /** Throws `data_key_invalid` when key, record or bytes do not fit together. */
  open(record: string, sealed: Uint8Array): Uint8Array
}

export function recordId(table: string, ...key: readonly (string | number)[]): string {
  return [table, ...key].join('/')
}

export type { SecretKey }
export { aesGcmOpen, aesGcmSeal, importAesKey }
