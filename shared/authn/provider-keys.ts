// Asking an identity provider for its public keys, and which of them may sign tokens (RFC 7517). Errors: `Refused` with the
// codes of http-api 17.1, whose words hold no setting.
import type { JSONWebKeySet, JWK } from 'jose'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { Refused } from './contract.ts'
import { asked, discover } from './discovery.ts'
import type { KeySource } from './key-sets.ts'
import type { Outgoing } from './outgoing.ts'

export type KeySet = JSONWebKeySet

type Refusing = (why: string) => Refused

const refusing =
  (what: string): Refusing =>
  (why) =>
    new Refused(`${what}: ${why}`)

const ofProvider = refusing('CONJ00012E Failed to fetch keys from the provider')

/** Behind a discovery document there is one code for all that may be wrong (http-api 17.1). */
const refusals = {
  jwks: {
    failed: refusing('CONJ00087E Failed to fetch keys'),
    unread: refusing('CONJ00093E Failed to read keys'),
    absent: refusing('CONJ00088E Keys not found'),
  },
  provider: { failed: ofProvider, unread: ofProvider, absent: ofProvider },
} as const satisfies Record<KeySource['kind'], Readonly<Record<string, Refusing>>>

/** Those of its keys that may sign; none is an answer, too. Throws `Refused`. */
export async function fetchKeys(source: KeySource, outgoing: Outgoing): Promise<KeySet> {
  const { kind, url, ca } = source
  const { unread, absent } = refusals[kind]
  const at = kind === 'jwks' ? url : (await discover(source, outgoing)).jwksUri
  const set = parseJson(await textAt(at, ca, outgoing, refusals[kind].failed))
  if (!isObject(set)) throw unread('its answer is no JSON object')
  if (!Array.isArray(set.keys)) throw absent('its answer is no key set')
  const keys = signingKeysIn(set.keys)
  if (keys.length > limits.providerKeys) throw unread(`there are more than ${limits.providerKeys}`)
  return { keys }
}

export const noneOf = ({ kind }: KeySource): Refused =>
  refusals[kind].absent('none of those that it answered is an RSA key for signatures')

async function textAt(
  url: string,
  ca: string | undefined,
  outgoing: Outgoing,
  failed: Refusing,
): Promise<string> {
  const { status, text } = await asked(outgoing, { method: 'GET', url, ca }, ({ message }) => failed(message))
  if (status === 200) return text
  throw failed(`it was answered ${status}`)
}

const ALGORITHMS: readonly unknown[] = [undefined, 'RS256', 'RS384', 'RS512']
const BASE64URL = /^[A-Za-z0-9_-]+$/

/** RSA keys for signatures, their public members alone; what is no such key is left out. */
export function signingKeysIn(given: readonly unknown[]): JWK[] {
  return given.filter(isObject).flatMap((jwk) => {
    const { kty, n, e, kid, alg, use, key_ops } = jwk
    if (kty !== 'RSA' || !isModulus(n) || !isExponent(e)) return []
    if (!ALGORITHMS.includes(alg) || (use !== undefined && use !== 'sig')) return []
    if (key_ops !== undefined && !(Array.isArray(key_ops) && key_ops.includes('verify'))) return []
    if (kid !== undefined && (typeof kid !== 'string' || kid.length > limits.providerKeyIdCharacters))
      return []
    return [
      {
        kty,
        n,
        e,
        ...(kid === undefined ? {} : { kid }),
        ...(alg === undefined ? {} : { alg: alg as string }),
        use: 'sig',
      },
    ]
  })
}

/** Smaller ones are no protection (RFC 7518 3.3), and larger ones make each token a long computation. */
const isModulus = (n: unknown): n is string =>
  typeof n === 'string' &&
  BASE64URL.test(n) &&
  n.length * 6 >= limits.providerKeyBits &&
  n.length * 6 <= limits.providerKeyBitsMax + 16

const EXPONENT_CHARACTERS = 8
const isExponent = (e: unknown): e is string =>
  typeof e === 'string' && BASE64URL.test(e) && e.length <= EXPONENT_CHARACTERS
