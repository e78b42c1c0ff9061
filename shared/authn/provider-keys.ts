// Asking an identity provider for its public keys: where they are (OpenID Connect Discovery 1.0) and which of them may sign
// tokens (RFC 7517). Errors: `Refused` with the codes of http-api 17.1, whose words hold no setting.
import type { JSONWebKeySet, JWK } from 'jose'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { Refused } from './contract.ts'
import type { KeySource } from './key-sets.ts'
import { type Outgoing, type OutgoingAnswer, OutgoingFailure } from './outgoing.ts'

export type KeySet = JSONWebKeySet

type Members = { readonly [name: string]: unknown }

/** Those of its keys that may sign. Throws `Refused`. */
export async function fetchKeys(source: KeySource, outgoing: Outgoing): Promise<KeySet> {
  const { kind, url, ca } = source
  const failed =
    kind === 'jwks'
      ? refusing('CONJ00087E Failed to fetch keys')
      : refusing('CONJ00012E Failed to fetch keys from the provider')
  const at = kind === 'jwks' ? url : await keysAddress(source, outgoing, failed)
  const text = textOf(await asked(outgoing, at, ca, failed), failed)
  // Which of the two is wrong is said only where no discovery was before it (http-api 17.1).
  const unread = kind === 'jwks' ? refusing('CONJ00093E Failed to read keys') : failed
  const set = parseJson(text)
  if (!isObject(set)) throw unread('its answer is no JSON object')
  if (!Array.isArray(set.keys))
    throw (kind === 'jwks' ? refusing('CONJ00088E Keys not found') : failed)('its answer is no key set')
  const keys = signingKeysIn(set.keys)
  if (keys.length > limits.providerKeys) throw unread(`there are more than ${limits.providerKeys}`)
  return { keys }
}

/** The discovery document of a provider, which names the provider as its issuer. Throws `Refused`. */
export async function discover(
  { url, ca }: Pick<KeySource, 'url' | 'ca'>,
  outgoing: Outgoing,
): Promise<Members> {
  const provider = URL.parse(url)
  // An issuer has neither (Discovery 3): behind them the well-known path would be a part of them.
  if (provider !== null && (provider.search !== '' || provider.hash !== ''))
    throw discoveryFailed('its address has a query or a fragment')
  const at = `${url.replace(/\/$/, '')}/.well-known/openid-configuration`
  const document = parseJson(textOf(await asked(outgoing, at, ca, discoveryFailed), discoveryFailed))
  if (!isObject(document)) throw discoveryFailed('its answer is no JSON object')
  const { issuer } = document
  // Whoever answers for another issuer would have its tokens taken for his (Discovery 4.3).
  if (typeof issuer !== 'string' || bare(issuer) !== bare(url))
    throw discoveryFailed('its document names another issuer')
  return document
}

async function keysAddress(source: KeySource, outgoing: Outgoing, failed: Refusing): Promise<string> {
  const { jwks_uri: at } = await discover(source, outgoing)
  if (typeof at !== 'string') throw discoveryFailed('its document says not where its keys are')
  if (source.url.startsWith('https:') && !at.startsWith('https:'))
    throw failed('its document sends an https provider’s askers to keys that are not')
  return at
}

type Refusing = (why: string, isLate?: boolean) => Refused

const refusing =
  (what: string): Refusing =>
  (why) =>
    new Refused(`${what}: ${why}`)

const discoveryFailed: Refusing = (why, isLate = false) =>
  isLate
    ? new Refused(`CONJ00010E Provider discovery timed out: ${why}`)
    : new Refused(`CONJ00011E Provider cannot be discovered: ${why}`)

const bare = (issuer: string): string => issuer.replace(/\/$/, '')

async function asked(
  outgoing: Outgoing,
  url: string,
  ca: string | undefined,
  failed: Refusing,
): Promise<OutgoingAnswer> {
  // The operator expects that somebody is checked with it.
  if (ca !== undefined && !url.startsWith('https:'))
    throw failed('TLS misconfiguration: there is a ca-cert, and the address is not https')
  try {
    return await outgoing({ method: 'GET', url, headers: { Accept: 'application/json' }, ca })
  } catch (error) {
    if (!(error instanceof OutgoingFailure)) throw error
    throw failed(error.message, error.kind === 'timeout')
  }
}

function textOf({ status, text }: OutgoingAnswer, failed: Refusing): string {
  if (status !== 200) throw failed(`it was answered ${status}`)
  return text
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
