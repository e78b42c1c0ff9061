// Passwords: the complexity rule of the API (http-api 9) and their hashes (P8).
import { fromBase64, toBase64, utf8 } from '../base/bytes.ts'
import { constantTimeEqual, randomBytes, type ScryptCost, scrypt } from '../base/native-crypto.ts'

const RULE =
  'CONJ00046E The password you have chosen does not meet the complexity requirements. Choose a password that ' +
  'includes: 12-128 characters, 2 uppercase letters, 2 lowercase letters, 1 digit, 1 special character'

/** Undefined when the password will do, otherwise what is wrong with it. */
export function passwordFault(password: string): string | undefined {
  const characters = [...password]
  const count = (pattern: RegExp): number => characters.filter((c) => pattern.test(c)).length
  const fits =
    characters.length >= 12 &&
    characters.length <= 128 &&
    !/[\r\n]/.test(password) &&
    count(/\p{Lu}/u) >= 2 &&
    count(/\p{Ll}/u) >= 2 &&
    count(/\p{Nd}/u) >= 1 &&
    count(/[^\p{L}\p{Nd}]/u) >= 1
  return fits ? undefined : RULE
}

// 32 MiB and about 60 ms: what a login may cost an attacker per guess, and a server per login.
const cost: ScryptCost = { N: 2 ** 15, r: 8, p: 1 }
const KEY_BYTES = 32

/** `scrypt$N$r$p$salt$key`. `salt`: 16 random bytes. */
export async function hashPassword(password: string, salt: Uint8Array): Promise<string> {
  const key = await scrypt(utf8(password), salt, KEY_BYTES, cost)
  return ['scrypt', cost.N, cost.r, cost.p, toBase64(salt), toBase64(key)].join('$')
}

const PASSWORD_OF = 'CONJUR_PASSWORD_'

/** How a variable of the environment calls a user: `alice@a-b` → `ALICE_A_B` (policy 3). */
export const passwordName = (identifier: string): string =>
  identifier.toUpperCase().replace(/[^A-Z0-9]/g, '_')

/** Hashes of the passwords in variables CONJUR_PASSWORD_*, by the rest of their names. */
export async function passwordsOf(
  env: Readonly<Record<string, string | undefined>>,
): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {}
  for (const [name, password] of Object.entries(env)) {
    if (name.startsWith(PASSWORD_OF) && password)
      hashes[name.slice(PASSWORD_OF.length)] = await hashPassword(password, randomBytes(16))
  }
  return hashes
}

/** `hash` undefined stands for a role without a password: the work is done all the same, so that time tells nothing. */
export async function verifyPassword(password: string, hash: string | undefined): Promise<boolean> {
  const [, N, r, p, salt, key] = (hash ?? nobody).split('$')
  const expected = fromBase64(key ?? '') ?? new Uint8Array()
  const parameters = { N: Number(N), r: Number(r), p: Number(p) }
  const actual = await scrypt(
    utf8(password),
    fromBase64(salt ?? '') ?? new Uint8Array(),
    KEY_BYTES,
    parameters,
  )
  return constantTimeEqual(actual, expected) && hash !== undefined
}

const nobody = [
  'scrypt',
  cost.N,
  cost.r,
  cost.p,
  'AAAAAAAAAAAAAAAAAAAAAA==',
  toBase64(new Uint8Array(KEY_BYTES)),
].join('$')
