// What an OpenID provider is beside its keys: a place where people log in and get a code (RFC 6749 4.1, RFC 7636), and one
// where a client redeems it, once.
import { createHash, randomUUID } from 'node:crypto'
import type { Asked, IdentityProvider, Said } from './identity-provider.ts'

export type OidcClient = { readonly id: string; readonly secret: string; readonly redirectUri: string }

/** What a code is good for. */
export type Grant = {
  /** Of the id token. */
  readonly claims: Readonly<Record<string, unknown>>
  /** S256; undefined: the login was without PKCE. */
  readonly challenge?: string | undefined
  /** Instead of what a provider answers to whoever redeems it. */
  readonly says?: Said
}

export class AuthorizationServer {
  readonly #provider: IdentityProvider
  readonly #client: OidcClient
  readonly #grants = new Map<string, Grant>()

  /** At the `/authorize` and `/token` of this provider. */
  constructor(provider: IdentityProvider, client: OidcClient) {
    this.#provider = provider
    this.#client = client
    provider.answer('/authorize', (asked) => this.#authorize(asked))
    provider.answer('/token', (asked) => this.#redeem(asked))
  }

  /** A code for somebody who has logged in. `aud` is the client unless it is given. */
  grant(grant: Grant): string {
    const code = `code+${randomUUID()}=`
    this.#grants.set(code, { ...grant, claims: { aud: this.#client.id, ...grant.claims } })
    return code
  }

  /** Who comes here has logged in as `login_hint`. */
  #authorize({ url }: Asked): Said {
    const asks = url.searchParams
    const { id, redirectUri } = this.#client
    if (asks.get('client_id') !== id || asks.get('redirect_uri') !== redirectUri) return { status: 400 }
    const challenge = asks.get('code_challenge')
    const isWhole =
      asks.get('response_type') === 'code' &&
      asks.get('scope')?.split(' ').includes('openid') &&
      asks.get('code_challenge_method') === 'S256'
    if (!isWhole || challenge === null) return { status: 400 }
    const claims = { preferred_username: asks.get('login_hint'), nonce: asks.get('nonce') }
    const code = this.grant({ claims, challenge })
    const back = new URL(redirectUri)
    back.searchParams.set('code', code)
    return { status: 302, headers: { Location: back.href } }
  }

  async #redeem({ method, headers, body }: Asked): Promise<Said> {
    const refused = (status: number, error: string): Said => ({ status, body: { error } })
    const { id, secret, redirectUri } = this.#client
    // Each half is a form value of its own (RFC 6749 2.3.1).
    const pair = /^Basic (.+)$/.exec(headers.authorization ?? '')?.[1] ?? ''
    const halves = Buffer.from(pair, 'base64').toString().split(':').map(formDecoded)
    if (halves[0] !== id || halves[1] !== secret || halves.length !== 2) return refused(401, 'invalid_client')
    const isForm = headers['content-type'] === 'application/x-www-form-urlencoded'
    if (method !== 'POST' || !isForm) return refused(400, 'invalid_request')
    const asks = new URLSearchParams(body)
    if (asks.get('grant_type') !== 'authorization_code') return refused(400, 'unsupported_grant_type')
    const code = asks.get('code') ?? ''
    const grant = this.#grants.get(code)
    this.#grants.delete(code)
    if (grant === undefined || asks.get('redirect_uri') !== redirectUri) return refused(400, 'invalid_grant')
    if (grant.challenge !== challengeOf(asks.get('code_verifier'))) return refused(400, 'invalid_grant')
    if (grant.says !== undefined) return grant.says
    const idToken = await this.#provider.sign(grant.claims)
    return { body: { access_token: 'opaque', token_type: 'Bearer', expires_in: 3_600, id_token: idToken } }
  }
}

const formDecoded = (text: string): string => new URLSearchParams(`x=${text}`).get('x')!

/** RFC 7636 4.2. */
const challengeOf = (verifier: string | null): string | undefined =>
  verifier === null ? undefined : createHash('sha256').update(verifier).digest('base64url')
