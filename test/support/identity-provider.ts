// An identity provider: a discovery document, a key set and whatever else a case has it say, over HTTP or HTTPS, and tokens
// that it signs. It counts what it is asked, changes its keys, goes away and comes back, and holds its answers.
import { once } from 'node:events'
import { createServer as createHttp, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { text } from 'node:stream/consumers'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose'
import { toBase64Url, utf8 } from '#shared/base/bytes.ts'
import type { Certificates } from './certificates.ts'
import { freePorts } from './nodes.ts'

export type Asked = {
  readonly method: string
  readonly url: URL
  readonly headers: IncomingMessage['headers']
  readonly body: string
}
/** `body`: a text, or what becomes JSON. */
export type Said = {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

export type Signing = {
  /** Default: the newest key. */
  readonly kid?: string
  /** Members of the header beside `alg` and `kid`, or instead of them; undefined leaves one out. */
  readonly header?: Readonly<Record<string, unknown>>
}

type ProviderKey = { readonly kid: string; readonly publicJwk: JWK; readonly signer: CryptoKey }

export const DISCOVERY = '/.well-known/openid-configuration'
export const KEYS = '/keys'

export class IdentityProvider {
  /** Its issuer: the origin, without a slash at the end. */
  readonly url: string
  readonly jwksUri: string
  /** PEM of the authority of its certificate; undefined: it speaks HTTP. */
  readonly ca: string | undefined
  readonly #port: number
  readonly #tls: Certificates | undefined
  readonly #asked: Asked[] = []
  readonly #answers = new Map<string, (asked: Asked) => Said | Promise<Said>>()
  #keys: readonly ProviderKey[] = []
  #made = 0
  #server: Server | undefined
  #held: Promise<void> | undefined

  private constructor(port: number, tls: Certificates | undefined) {
    this.#port = port
    this.#tls = tls
    this.ca = tls?.ca
    this.url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`
    this.jwksUri = this.url + KEYS
    this.answer(DISCOVERY, () => ({ body: this.discovery() }))
    this.answer(KEYS, () => ({ body: this.keySet() }))
  }

  /** Listening, with one key. `tls`: it speaks HTTPS with this certificate, which has to name 127.0.0.1. */
  static async start(tls?: Certificates): Promise<IdentityProvider> {
    const [port] = await freePorts(1)
    const provider = new IdentityProvider(port!, tls)
    await provider.rotate()
    await provider.comeBack()
    return provider
  }

  discovery(): Record<string, unknown> {
    return {
      issuer: this.url,
      jwks_uri: this.jwksUri,
      authorization_endpoint: `${this.url}/authorize`,
      token_endpoint: `${this.url}/token`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'],
    }
  }

  keySet(): { keys: JWK[] } {
    return { keys: this.#keys.map(({ publicJwk }) => publicJwk) }
  }

  /** The name of the newest key. */
  get kid(): string {
    return this.#keys.at(-1)!.kid
  }

  /** A new key, which signs from now on; `keep`: the old ones stay good. Resolves with its name. */
  async rotate({ keep = false, alg = 'RS256' }: { keep?: boolean; alg?: string } = {}): Promise<string> {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
    const kid = `key-${++this.#made}`
    const publicJwk = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' }
    this.#keys = [...(keep ? this.#keys : []), { kid, publicJwk, signer: privateKey }]
    return kid
  }

  /**
   * A token with these claims. `iss`, `iat` and `exp` (in an hour) are there unless they are given; undefined leaves one out.
   */
  sign(claims: Readonly<Record<string, unknown>>, { kid, header = {} }: Signing = {}): Promise<string> {
    const key = this.#keys.find((one) => one.kid === (kid ?? this.kid))!
    const now = Math.floor(Date.now() / 1000)
    const all = { iss: this.url, iat: now, exp: now + 3_600, ...claims } as JWTPayload
    const protectedHeader = { alg: key.publicJwk.alg!, kid: key.kid, typ: 'JWT', ...header }
    return new SignJWT(all).setProtectedHeader(protectedHeader).sign(key.signer)
  }

  /** A token of these texts, signed by the newest key: for what no object can say. */
  async signText(header: string, claims: string): Promise<string> {
    const input = [header, claims].map((part) => toBase64Url(utf8(part))).join('.')
    const { signer } = this.#keys.at(-1)!
    const signature = await crypto.subtle.sign(signer.algorithm.name, signer, Buffer.from(input))
    return `${input}.${toBase64Url(new Uint8Array(signature))}`
  }

  /** What it says at a path from now on. */
  answer(path: string, says: (asked: Asked) => Said | Promise<Said>): void {
    this.#answers.set(path, says)
  }

  /** All that it was asked, oldest first; `path`: only there. Requests that it holds are among it. */
  asked(path?: string): readonly Asked[] {
    return path === undefined ? this.#asked : this.#asked.filter(({ url }) => url.pathname === path)
  }

  /** Holds its answers until the result is called. */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#held = promise
    return () => {
      this.#held = undefined
      resolve()
    }
  }

  /** Nobody listens any more. */
  async goAway(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }

  /** At the same address, with the same keys. */
  async comeBack(): Promise<void> {
    const take = (request: IncomingMessage, response: ServerResponse): void => {
      // Who went away in between needs no answer.
      this.#take(request, response).catch(() => response.destroy())
    }
    const tls = this.#tls
    const server = tls === undefined ? createHttp(take) : createHttps({ cert: tls.cert, key: tls.key }, take)
    this.#server = server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, this.url)
    const { method, headers } = request
    const asked = { method: method!, url, headers, body: await text(request) }
    this.#asked.push(asked)
    await this.#held
    const says = this.#answers.get(url.pathname)
    const {
      status = 200,
      headers: more = {},
      body = '',
    } = says === undefined ? { status: 404 } : await says(asked)
    const type = typeof body === 'string' ? 'text/plain' : 'application/json'
    response.writeHead(status, { 'Content-Type': type, ...more })
    response.end(typeof body === 'string' ? body : JSON.stringify(body))
  }
}
