// Tokens of identity providers: who signed them, for whom, and whether they are still good (http-api 8.5 to 8.8).
import {
  createLocalJWKSet,
  decodeProtectedHeader,
  errors,
  type JSONWebKeySet,
  type JWTPayload,
  jwtVerify,
} from 'jose'
import type { Wall } from '../base/time.ts'
import { Refused } from './contract.ts'

export type Claims = JWTPayload

export type Expected = {
  /** The key set that may have signed it; `kid`: as the token names it. */
  readonly keys: (kid: string | undefined) => Promise<JSONWebKeySet>
  /** Any of these; undefined: `iss` is not looked at. */
  readonly issuer: string | readonly string[] | undefined
  /** `aud` must hold it; undefined: it is not looked at. */
  readonly audience?: string | undefined
  readonly now: Wall
}

const ALGORITHMS = ['RS256', 'RS384', 'RS512']

/** The claims of a token that is right. Throws `Refused`; its words hold nothing of the token. */
export async function verifyExternalToken(token: string, expected: Expected): Promise<Claims> {
  const { issuer, audience, now } = expected
  let kid: string | undefined
  try {
    kid = decodeProtectedHeader(token).kid
  } catch {
    throw new Refused('CONJ00035E Failed to decode token')
  }
  const keys = createLocalJWKSet(await expected.keys(kid))
  try {
    const { payload } = await jwtVerify(token, keys, {
      algorithms: ALGORITHMS,
      currentDate: new Date(now),
      requiredClaims: ['exp'],
      ...(issuer === undefined ? {} : { issuer: typeof issuer === 'string' ? issuer : [...issuer] }),
      ...(audience === undefined ? {} : { audience }),
    })
    return payload
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw new Refused('CONJ00016E Token expired', 'expired')
    // The library's words may quote claims.
    throw new Refused(
      `CONJ00015E Failed to verify token (${error instanceof errors.JOSEError ? error.code : 'unreadable'})`,
    )
  }
}
