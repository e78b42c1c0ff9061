// The settings of an authenticator: its variables, opened.
import { fromUtf8 } from '../base/bytes.ts'
import type { StoredVariable } from '../ledger/reads/authenticator.ts'
import { type Keyring, recordId } from '../secret/keyring.ts'
import { Refused, type Stored } from './contract.ts'

/** Text of each variable that exists; what is no text is read as ''. Throws `data_key_invalid`. */
export function openedValues(
  variables: ReadonlyMap<string, StoredVariable>,
  keyring: Keyring,
): Stored['values'] {
  return new Map(
    [...variables].map(([name, { id, version, sealed }]): [string, string | undefined] => {
      if (version === null || sealed === null) return [name, undefined]
      return [name, fromUtf8(keyring.open(recordId('secrets', id, version), sealed)) ?? '']
    }),
  )
}

/** Throws `Refused` when the variable is missing or has no value. */
export function required(stored: Pick<Stored, 'prefix' | 'values'>, name: string): string {
  const value = stored.values.get(name)
  if (value !== undefined && value !== '') return value
  throw new Refused(
    stored.values.has(name)
      ? `CONJ00037E Missing value for resource: ${stored.prefix}${name}`
      : `CONJ00036E Missing required resource: ${stored.prefix}${name}`,
  )
}

/** Undefined when there is no such variable. Throws `Refused` when it has no value. */
export const optional = (stored: Stored, name: string): string | undefined =>
  stored.values.has(name) ? required(stored, name) : undefined
