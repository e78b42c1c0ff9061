// Proof of identity by API key or password (http-api 8.1, 8.2).
import { originAllowed } from '../authz/address.ts'
import { utf8 } from '../base/bytes.ts'
import { constantTimeEqual } from '../base/native-crypto.ts'
import type { Credentials, RoleCredentials } from '../ledger/reads/caller.ts'
import { type Keyring, recordId } from '../secret/keyring.ts'
import { verifyPassword } from '../secret/password.ts'

/** Compared in constant time. False for a role without a key. */
function apiKeyMatches(
  role: string,
  credentials: Credentials | undefined,
  given: Uint8Array,
  keyring: Keyring,
): boolean {
  if (credentials?.apiKey === undefined) return false
  return constantTimeEqual(keyring.open(recordId('credentials', role), credentials.apiKey), given)
}

/** Password or API key, as HTTP Basic may carry either. */
export async function secretMatches(
  role: string,
  credentials: Credentials | undefined,
  given: string,
  keyring: Keyring,
): Promise<boolean> {
  if (given === '') return false
  if (apiKeyMatches(role, credentials, utf8(given), keyring)) return true
  return verifyPassword(given, credentials?.password)
}

/** The audit's reason for a refusal, or undefined when the role may authenticate. Codes of http-api 17.1. */
export function authenticateFault(
  role: string,
  { exists, credentials }: RoleCredentials,
  given: Uint8Array,
  keyring: Keyring,
  clientIp: string,
  now: number,
): string | undefined {
  if (!exists) return `CONJ00007E '${role}' not found`
  if (!originAllowed(clientIp, credentials?.restrictedTo ?? [])) {
    return 'CONJ00003E User is not authorized to login from the current origin'
  }
  return keyFault(role, credentials, given, keyring, now)
}

/** The same of an API key alone, whoever sends it. */
export function keyFault(
  role: string,
  credentials: Credentials | undefined,
  given: Uint8Array,
  keyring: Keyring,
  now: number,
): string | undefined {
  if (!apiKeyMatches(role, credentials, given, keyring)) return 'CONJ00002E Invalid credentials'
  if (credentials?.expiresAt != null && credentials.expiresAt <= now) return 'CONJ00002E Expired credentials'
  return undefined
}
