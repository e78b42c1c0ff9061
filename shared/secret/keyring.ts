// Values at rest are sealed under a data key with a version. The record's id and the key's version are
// additional data, so a sealed value cannot be moved to another record (http-api 4, cluster 11, I14).
import { concat, utf8 } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
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

// G | key version (2 bytes, big-endian) | tag (16) | nonce (12) | ciphertext
const MARK = 'G'.charCodeAt(0)
const TAG_AT = 3
const NONCE_AT = 19
const TEXT_AT = 31

export type DataKeys = {
  /** 32 bytes each, by version 1…65535. */
  readonly versions: ReadonlyMap<number, Uint8Array>
  /** The version new values are sealed under. */
  readonly current: number
}

/** Throws `settings_invalid` when a key has not 32 bytes or the current version is not there. */
export function createKeyring(keys: DataKeys, random: (length: number) => Uint8Array): Keyring {
  const imported = new Map<number, SecretKey>()
  for (const [version, raw] of keys.versions) {
    if (raw.length !== 32) {
      throw new DomainError(
        'settings_invalid',
        `data key version ${version} has ${raw.length} bytes instead of 32`,
      )
    }
    imported.set(version, importAesKey(raw))
  }
  const current = imported.get(keys.current)
  if (current === undefined) {
    throw new DomainError('settings_invalid', `there is no data key of the current version ${keys.current}`)
  }
  return {
    seal(record, plain) {
      const nonce = random(12)
      const { tag, ciphertext } = aesGcmSeal(current, nonce, additional(record, keys.current), plain)
      const mark = new Uint8Array([MARK, keys.current >> 8, keys.current & 0xff])
      return concat(mark, tag, nonce, ciphertext)
    },
    open(record, sealed) {
      const version = ((sealed[1] ?? 0) << 8) | (sealed[2] ?? 0)
      const key = imported.get(version)
      if (sealed.length < TEXT_AT || sealed[0] !== MARK || key === undefined) throw unreadable(record)
      try {
        return aesGcmOpen(
          key,
          sealed.subarray(NONCE_AT, TEXT_AT),
          additional(record, version),
          sealed.subarray(TAG_AT, NONCE_AT),
          sealed.subarray(TEXT_AT),
        )
      } catch (cause) {
        throw unreadable(record, cause)
      }
    },
  }
}

const additional = (record: string, version: number): Uint8Array => utf8(`${version} ${record}`)

function unreadable(record: string, cause?: unknown): DomainError {
  const message = `${record} cannot be opened with the data keys of this node: check that it has the Leader's data key`
  return new DomainError('data_key_invalid', message, cause === undefined ? {} : { cause })
}
