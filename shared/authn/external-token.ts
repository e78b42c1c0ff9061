// Tokens of identity providers: who signed them, for whom, and whether they are still good (http-api 8.5 to 8.8). Keys come
// from where the authenticator's settings say: what a header says of keys (`jwk`, `jku`, `x5c`, `x5u`) is not read.
import { createLocalJWKSet, errors, type JWTPayload, jwtVerify } from 'jose'
import { LRUCache } from 'lru-cache'
import { fromBase64Url, fromUtf8, toBase64Url } from '../base/bytes.ts'
import { isObject, parseJsonStrictly } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { onceFor } from '../base/once-for.ts'
import type { Wall } from '../base/time.ts'
import { Refused } from './contract.ts'
import type { KeySet } from './provider-keys.ts'

export type Claims = JWTPayload

export type Expected = {
  /** The key set that may have signed it; `kid`: as the token names it. */
  readonly keys: (kid: string | undefined) => Promise<KeySet>
  /** Any of these; undefined: `iss` is not looked at. */
  readonly issuer: string | readonly string[] | undefined
  /** A token without `iss` is taken too. */
  readonly mayLackIssuer?: boolean
  /** `aud` must hold it; undefined: it is not looked at. */
  readonly audience?: string | undefined
  readonly now: Wall
}

const ALGORITHMS = ['RS256', 'RS384', 'RS512']

/**
 * What a header may call the token, when it calls it anything (RFC 8725 3.11): a provider also signs what is no identity,
 * such as logout tokens. `at+jwt`: an access token (RFC 9068); `jose`: SPIFFE's other word for `jwt`.
 */
const TYPES = ['jwt', 'at+jwt', 'jose']

/** The claims of a token that is right. Throws `Refused`; its words hold nothing of the token. */
export async function verifyExternalToken(token: string, expected: Expected): Promise<Claims> {
  const [header, payload, signature] = partsOf(token)
  const set = heldOf(await expected.keys(headers.memo(header).kid))
  const { audience, mayLackIssuer = false, now } = expected
  const asked = JSON.stringify([expected.issuer, mayLackIssuer, audience])
  const known = set.verified.get(token)
  // What was true of it once stays true for the same keys and the same questions, but for the time.
  if (known !== undefined && known.asked === asked && isTimely(known.claims, now)) return known.claims
  bytesOf(signature)
  const issuer = issuerFor(membersOf(payload), expected)
  try {
    const verified = await jwtVerify(token, set.keyIn(), {
      algorithms: ALGORITHMS,
      currentDate: new Date(now),
      requiredClaims: ['exp'],
      ...(issuer === undefined ? {} : { issuer }),
      ...(audience === undefined ? {} : { audience }),
    })
    // The library looks at it only where there is a greatest age.
    if ((verified.payload.iat ?? 0) * 1000 > now) throw notAsItMustBe('iat')
    set.verified.set(token, { asked, claims: verified.payload })
    return verified.payload
  } catch (error) {
    throw refusalOf(error)
  }
}

/** Of claims that have been numbers or absent. A token that is not gets its refusal where all do. */
const isTimely = ({ exp = 0, nbf = 0, iat = 0 }: Claims, now: Wall): boolean =>
  exp * 1000 > now && nbf * 1000 <= now && iat * 1000 <= now

type Members = { readonly [name: string]: unknown }

function partsOf(token: string): readonly [header: string, payload: string, signature: string] {
  if (token.length > limits.externalTokenBytes) throw undecodable('it is too long')
  const [header, payload, signature, more] = token.split('.')
  if (!header || !payload || !signature || more !== undefined)
    throw new Refused('CONJ00077E The request holds no JWT: it has not three parts')
  return [header, payload, signature]
}

function membersOf(part: string): Members {
  const members = parseJsonStrictly(fromUtf8(bytesOf(part)) ?? '')
  if (!isObject(members)) throw undecodable('a part of it is no JSON object, or names a member twice')
  return members
}

/** One spelling for the same bytes: no padding, no other alphabet, no spaces, no bits left over. */
function bytesOf(part: string): Uint8Array {
  const bytes = fromBase64Url(part)
  if (bytes === undefined || toBase64Url(bytes) !== part) throw undecodable('a part of it is no base64url')
  return bytes
}

/** By the whole header: a provider writes the same one for all tokens of a key. */
const headers = new LRUCache<string, { readonly kid: string | undefined }>({
  max: limits.tokenHeadersRemembered,
  maxSize: limits.tokenHeaderBytesRemembered,
  sizeCalculation: (_, header) => header.length,
  memoMethod: (header) => ({ kid: kidOf(membersOf(header)) }),
})

/** Throws `Refused` for a header that says what is not understood here, or calls the token something else. */
function kidOf({ kid, typ, crit }: Members): string | undefined {
  if (crit !== undefined) throw undecodable('its header asks for an extension')
  const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : typ
  if (type !== undefined && !TYPES.includes(type as string))
    throw undecodable('it is a token of another type')
  if (kid !== undefined && typeof kid !== 'string') throw undecodable('the name of its key is no text')
  return kid
}

function issuerFor(payload: Members, { issuer, mayLackIssuer = false }: Expected): string[] | undefined {
  if (issuer === undefined || (mayLackIssuer && !Object.hasOwn(payload, 'iss'))) return undefined
  return typeof issuer === 'string' ? [issuer] : [...issuer]
}

type KeyIn = ReturnType<typeof createLocalJWKSet>
/** A token that is right. `asked`: what it was asked for besides. */
type Verified = { readonly asked: string; readonly claims: Claims }
/** `keyIn`: its keys, imported once; throws for what is no key set. `verified`: by tokens that they have signed. */
type HeldSet = { readonly keyIn: () => KeyIn; readonly verified: LRUCache<string, Verified> }

/** Another set, with a key less, has verified nothing. */
const heldOf = onceFor((set: KeySet): HeldSet => {
  let keys: KeyIn | undefined
  return {
    keyIn() {
      keys ??= createLocalJWKSet(set)
      return keys
    },
    verified: new LRUCache({
      max: limits.externalTokensRemembered,
      maxSize: limits.externalTokenBytesRemembered,
      sizeCalculation: ({ asked }, token) => asked.length + token.length,
    }),
  }
})

const undecodable = (words: string): Refused => new Refused(`CONJ00035E Failed to decode token: ${words}`)
const notAsItMustBe = (claim: string): Refused => undecodable(`claim '${claim}' is not as it must be`)

/** The library's own words may quote claims; names of claims are those that it was told to look at. */
function refusalOf(error: unknown): Refused {
  if (error instanceof Refused) return error
  if (error instanceof errors.JWTExpired) return new Refused('CONJ00016E Token expired', 'expired')
  if (error instanceof errors.JWTClaimValidationFailed)
    return error.reason === 'missing'
      ? new Refused(`CONJ00091E Failed to validate token: mandatory claim '${error.claim}' is missing`)
      : notAsItMustBe(error.claim)
  if (error instanceof errors.JOSEError) return undecodable(error.code)
  // What a runtime says of a key that it cannot import.
  return new Refused('CONJ00015E Failed to verify token: its key cannot be used')
}
