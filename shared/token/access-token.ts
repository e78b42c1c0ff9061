// Access tokens: flattened JWS, ES256, kid = RFC 7638 thumbprint (architecture T1, http-api 4).

export type VerifiedToken = {
  readonly role: string
  /** Milliseconds. */
  readonly issuedAt: number
  readonly expiresAt: number
  readonly cidr: readonly string[]
  readonly kid: string
}

/** Why a token is refused: the text of the 401 (http-api 3). */
export type TokenRefusal =
  | 'Malformed authorization token'
  | 'Unauthorized: Invalid token'
  | 'token contains unrecognized claims'

export interface Tokens {
  /** The token's JSON text, signed with this node's key. `now` in milliseconds. */
  issue(role: string, ttlSeconds: number, now: number): Promise<string>
  /** The token inside `Token token="…"`, checked; verified tokens are remembered until they expire. */
  verify(encoded: string, now: number): VerifiedToken | TokenRefusal | Promise<VerifiedToken | TokenRefusal>
}
