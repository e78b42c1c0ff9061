// Access tokens: flattened JWS, ES256, kid = RFC 7638 thumbprint (architecture T1, http-api 4).
import {
  type CompactJWSHeaderParameters,
  CompactSign,
  type CryptoKey,
  calculateJwkThumbprint,
  compactVerify,
  exportJWK,
  flattenedVerify,
  generateKeyPair,
  importJWK,
  type JWK,
} from 'jose'
import { LRUCache } from 'lru-cache'
import { normaliseCidr } from '../authz/address.ts'
import { fromBase64Lenient, fromUtf8, toBase64Url, utf8 } from '../base/bytes.ts'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { p256Signer } from '../base/native-crypto.ts'
import { loginOfRole, roleOfLogin } from '../id/login.ts'
import { accountOf } from '../id/resource-id.ts'
import { type Change, put } from '../ledger/change.ts'

export type VerifiedToken = {
  readonly role: string
  /** Milliseconds. */
  readonly issuedAt: number
  readonly expiresAt: number
  /** Normalised CIDRs; empty: no restriction. */
  readonly cidr: readonly string[]
  readonly kid: string
}

/** Why a token is refused: the text of the 401 (http-api 3). */
export type TokenRefusal =
  | 'Malformed authorization token'
  | 'Unauthorized: Invalid token'
  | 'token contains unrecognized claims'

/** Normalised CIDRs from which a token is good; absent: from everywhere. */
export type Restriction = { readonly cidr?: readonly string[] }

export interface Tokens {
  /** The token's JSON text, signed with this node's key. `now` in milliseconds. */
  issue(role: string, ttlSeconds: number, now: number, restriction?: Restriction): Promise<string>
  /** The text inside `Token token="…"`, checked. Verified tokens are remembered until they expire, and answered at once. */
  verify(encoded: string, now: number): VerifiedToken | TokenRefusal | Promise<VerifiedToken | TokenRefusal>
  /** The keys of all nodes that issue tokens changed: a token of a key that is gone is no longer believed. */
  keysChanged(keys: readonly SigningKeyRow[]): void
}

/** A row of `signing_keys`. */
export type SigningKeyRow = { readonly kid: string; readonly jwk: string }

/** A node's own key pair; the private half never leaves the node. */
export type SigningKey = { readonly kid: string; readonly privateJwk: JWK; readonly publicJwk: JWK }

export async function newSigningKey(): Promise<SigningKey> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  return signingKeyOf(await exportJWK(privateKey))
}

/** The key pair of a stored private JWK. */
export async function signingKeyOf(privateJwk: JWK): Promise<SigningKey> {
  const publicJwk: JWK = {
    kty: privateJwk.kty!,
    crv: privateJwk.crv!,
    x: privateJwk.x!,
    y: privateJwk.y!,
  }
  return { kid: await calculateJwkThumbprint(publicJwk), privateJwk, publicJwk }
}

/** The public half as a row, so that every node believes this node's tokens. */
export function signingKeyChange(key: SigningKey, node: string, now: number): Change {
  return put('signing_keys', { kid: key.kid, node, jwk: JSON.stringify(key.publicJwk), created_at: now })
}

const KNOWN_CLAIMS = new Set(['iat', 'exp', 'sub', 'cidr', 'iss', 'aud', 'jti'])
/** Without `exp`, a token lives this long. */
const DEFAULT_LIFE_MS = 8 * 60 * 1000

/** `key` is undefined when the row holds none: it never rejects. */
type BelievedKey = { readonly jwk: string; readonly key: Promise<CryptoKey | undefined> }

export async function createTokens(own: SigningKey, node: string): Promise<Tokens> {
  const sign = await p256Signer(own.privateJwk as JsonWebKey)
  const header = toBase64Url(utf8(JSON.stringify({ alg: 'ES256', kid: own.kid })))
  const remembered = new LRUCache<string, VerifiedToken>({
    max: limits.tokensRemembered,
    maxSize: limits.tokenBytesRemembered,
    sizeCalculation: (_, encoded) => encoded.length,
  })
  /** By what they say. */
  const given = new LRUCache<string, string>({ max: limits.tokensGiven })
  let keys = new Map<string, BelievedKey>()

  async function verifyFresh(encoded: string, now: number): Promise<VerifiedToken | TokenRefusal> {
    const parsed = parseToken(encoded)
    if (parsed === undefined) return 'Malformed authorization token'
    const believed = keys.get(parsed.kid)
    const key = await believed?.key
    if (key === undefined) return 'Unauthorized: Invalid token'
    let payload: Uint8Array
    try {
      payload = (await flattenedVerify(parsed.jws, key, { algorithms: ['ES256'] })).payload
    } catch {
      // jose says in its error what was wrong; the caller is told only that it is.
      return 'Unauthorized: Invalid token'
    }
    // The keys may have changed meanwhile, and a token of a key that is gone must not be remembered.
    if (keys.get(parsed.kid) !== believed) return 'Unauthorized: Invalid token'
    const verified = readClaims(parsed.kid, payload, now)
    if (typeof verified === 'object') remembered.set(encoded, verified)
    return verified
  }

  return {
    async issue(role, ttlSeconds, now, restriction = {}) {
      const iat = Math.floor(now / 1000)
      const claims = {
        iat,
        exp: iat + ttlSeconds,
        sub: loginOfRole(role),
        iss: node,
        aud: accountOf(role),
        ...restriction,
      }
      const payload = toBase64Url(utf8(payloadText(claims)))
      const known = given.get(payload)
      if (known !== undefined) return known
      const signature = toBase64Url(await sign(utf8(`${header}.${payload}`)))
      const token = JSON.stringify({ protected: header, payload, signature })
      given.set(payload, token)
      return token
    },
    verify(encoded, now) {
      const known = remembered.get(encoded)
      if (known === undefined) return verifyFresh(encoded, now)
      return known.expiresAt > now ? known : 'Unauthorized: Invalid token'
    },
    keysChanged(rows) {
      const next = new Map<string, BelievedKey>()
      for (const { kid, jwk } of rows) {
        const held = keys.get(kid)
        next.set(kid, held?.jwk === jwk ? held : { jwk, key: publicKeyOf(kid, jwk) })
      }
      const gone = [...keys].some(([kid, held]) => next.get(kid) !== held)
      keys = next
      if (gone) remembered.clear()
    },
  }
}

/** Undefined when the text is no public P-256 key of this name: rows come from other nodes, and one bad row stops none. */
async function publicKeyOf(kid: string, text: string): Promise<CryptoKey | undefined> {
  const jwk = parseJson(text)
  if (!isObject(jwk)) return undefined
  const { kty, crv, x, y } = jwk as JWK
  if (kty !== 'EC' || crv !== 'P-256') return undefined
  try {
    const named = (await calculateJwkThumbprint({ kty, crv, x: x!, y: y! })) === kid
    return named ? ((await importJWK({ kty, crv, x: x!, y: y! }, 'ES256')) as CryptoKey) : undefined
  } catch {
    return undefined
  }
}

/**
 * JSON whose base64url is also plain, padded base64, because one client decodes it so (http-api 4): only ASCII,
 * none of the characters whose bits make `-` or `_`, and filled with spaces to a multiple of three.
 */
export function payloadText(claims: object): string {
  const ascii = JSON.stringify(claims).replace(
    /[^ -}]|[>?~]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  const text = ascii.padEnd(Math.ceil(ascii.length / 3) * 3)
  return text
}

type ParsedToken = {
  readonly kid: string
  readonly jws: { readonly protected: string; readonly payload: string; readonly signature: string }
}

function parseToken(encoded: string): ParsedToken | undefined {
  const bytes = fromBase64Lenient(encoded)
  const value = parseJson((bytes && fromUtf8(bytes)) ?? '')
  if (!isObject(value)) return undefined
  const { protected: head, payload, signature } = value
  if (typeof head !== 'string' || typeof payload !== 'string' || typeof signature !== 'string')
    return undefined
  const headBytes = fromBase64Lenient(head.replaceAll('-', '+').replaceAll('_', '/'))
  const header = parseJson((headBytes && fromUtf8(headBytes)) ?? '')
  const kid = isObject(header) && typeof header.kid === 'string' ? header.kid : ''
  return { kid, jws: { protected: head, payload, signature } }
}

function readClaims(kid: string, payload: Uint8Array, now: number): VerifiedToken | TokenRefusal {
  const claims = parseJson(fromUtf8(payload) ?? '')
  if (!isObject(claims)) return 'Unauthorized: Invalid token'
  if (Object.keys(claims).some((name) => !KNOWN_CLAIMS.has(name))) return 'token contains unrecognized claims'
  const { iat, exp, sub, aud, cidr } = claims
  if (typeof iat !== 'number' || typeof sub !== 'string' || typeof aud !== 'string') {
    return 'Unauthorized: Invalid token'
  }
  if (exp !== undefined && typeof exp !== 'number') return 'Unauthorized: Invalid token'
  const expiresAt = exp === undefined ? iat * 1000 + DEFAULT_LIFE_MS : exp * 1000
  if (expiresAt <= now) return 'Unauthorized: Invalid token'
  const ranges = cidr === undefined ? [] : rangesOf(cidr)
  if (ranges === undefined) return 'Unauthorized: Invalid token'
  return { role: roleOfLogin(aud, sub), issuedAt: iat * 1000, expiresAt, cidr: ranges, kid }
}

/** Undefined for what is no list of ranges: a restriction that cannot be read must not become none. */
function rangesOf(cidr: unknown): string[] | undefined {
  if (!Array.isArray(cidr)) return undefined
  const ranges = cidr.map((range) => (typeof range === 'string' ? normaliseCidr(range) : undefined))
  return ranges.every((range) => typeof range === 'string') ? ranges : undefined
}

/** Signs small statements of the node, such as receipts, as compact JWS. `typ`: what kind, so that none is taken for another. */
export async function signCompact(
  key: SigningKey,
  typ = 'receipt',
): Promise<(claims: object) => Promise<string>> {
  const privateKey = (await importJWK(key.privateJwk, 'ES256')) as CryptoKey
  return (claims) =>
    new CompactSign(utf8(JSON.stringify(claims)))
      .setProtectedHeader({ alg: 'ES256', kid: key.kid, typ })
      .sign(privateKey)
}

/** The text that was signed, by one of these keys and as this kind of statement; undefined: it was not. */
export async function verifyCompact(
  jws: string,
  typ: string,
  keys: readonly SigningKeyRow[],
): Promise<string | undefined> {
  const keyOf = async ({ kid, typ: said }: CompactJWSHeaderParameters): Promise<CryptoKey> => {
    const row = keys.find((one) => one.kid === kid)
    const key = row && said === typ ? await publicKeyOf(row.kid, row.jwk) : undefined
    if (key === undefined) throw new Error('nobody has this key for such a statement')
    return key
  }
  try {
    return fromUtf8((await compactVerify(jws, keyOf, { algorithms: ['ES256'] })).payload)
  } catch {
    return undefined
  }
}
