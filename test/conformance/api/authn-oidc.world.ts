// Authenticators for OpenID Connect, each with what is particular about it, and the provider that they ask.
import { AuthorizationServer, type Grant } from '../../support/authorization-server.ts'
import { IdentityProvider } from '../../support/identity-provider.ts'
import { Client } from '../../support/nodes.ts'
import { answered, configured, loadedBy, settled, startWorld, type World } from './world.ts'

export type Node = 'leader' | 'follower'

/** Both halves hold what has to be encoded before they are joined. */
export const CLIENT = {
  id: 'holdfast:web',
  secret: 'a+b c%:&=ü',
  redirectUri: 'https://app.example/callback?x=1&y=2',
} as const
/** RFC 7636, appendix B. */
export const VERIFIER = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'
const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
export const NONCE = '5f'.repeat(25)

/** Variables by name; undefined: it has no value. */
export type Values = Readonly<Record<string, string | undefined>>

const webservice = (service: string, values: Values): string => `
- !policy
  id: conjur/authn-oidc/${service}
  body:
  - !webservice
${Object.keys(values)
  .map((name) => `  - !variable ${name}`)
  .join('\n')}
- !permit { role: !group people, privileges: [ read, authenticate ], resource: !webservice conjur/authn-oidc/${service} }`

const people = `
- !group people
- !user alice
- !user alice@example.com
- !user bob
- !user { id: far, restricted_to: 10.99.0.0/16 }
- !host machine
- !grant { role: !group people, members: [ !user alice, !user alice@example.com, !user far, !host machine ] }`

/** Settings of an authenticator for the code flow. */
export const codeFlow = (url: string): Values => ({
  'provider-uri': url,
  'client-id': CLIENT.id,
  'client-secret': CLIENT.secret,
  'claim-mapping': 'preferred_username',
  'redirect-uri': CLIENT.redirectUri,
})

export class OidcWorld {
  readonly world: World
  readonly provider: IdentityProvider
  readonly server: AuthorizationServer
  readonly services: Readonly<Record<string, Values>>

  private constructor(world: World, provider: IdentityProvider, services: Readonly<Record<string, Values>>) {
    this.world = world
    this.provider = provider
    this.services = services
    this.server = new AuthorizationServer(provider, CLIENT)
  }

  /** Nodes that may ask providers at 127.0.0.1, and at no other address that is not public. */
  static async start(servicesOf: (provider: IdentityProvider) => Readonly<Record<string, Values>>) {
    const provider = await IdentityProvider.start()
    const world = await startWorld({ env })
    const services = servicesOf(provider)
    const texts = Object.entries(services).map(([service, values]) => webservice(service, values))
    await loadedBy(world.admin, people + texts.join(''))
    for (const [service, values] of Object.entries(services))
      await configured(world.admin, 'authn-oidc', service, values, service !== 'off')
    await settled(world)
    return new OidcWorld(world, provider, services)
  }

  async stop(): Promise<void> {
    await this.world.machine.stop()
    await this.provider.goAway()
  }

  url(node: Node): string {
    return this.world.machine[node].url
  }

  /** Parameters of a login that is good, as alice. */
  login(grant: Partial<Grant> = {}, server = this.server): Record<string, string> {
    const claims = { preferred_username: 'alice', nonce: NONCE, ...grant.claims }
    const code = server.grant({ challenge: CHALLENGE, ...grant, claims })
    return { code, nonce: NONCE, code_verifier: VERIFIER }
  }

  /** The code flow; `query`: members that are undefined are left out. */
  byCode(
    node: Node,
    service: string,
    query: Readonly<Record<string, string | undefined>>,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const given = Object.entries(query).filter((one): one is [string, string] => one[1] !== undefined)
    const path = `/authn-oidc/${encodeURIComponent(service)}/acme/authenticate?${new URLSearchParams(given)}`
    return fetch(this.url(node) + path, { headers })
  }

  byIdToken(
    node: Node,
    service: string,
    token: string,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    return fetch(`${this.url(node)}/authn-oidc/${encodeURIComponent(service)}/acme/authenticate`, {
      method: 'POST',
      body: new URLSearchParams({ id_token: token }),
      headers,
    })
  }
}

const env = {
  HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1/32',
  CONJUR_AUTHENTICATORS: 'authn,authn-oidc/listed',
}

/** Whom an access token is for, and for how many seconds; it is good. */
export async function tokenOf(response: Response, url: string): Promise<{ role: string; seconds: number }> {
  const text = await response.text()
  if (response.status !== 200) throw new Error(`${response.status} ${text}`)
  const { payload } = JSON.parse(text) as { payload: string }
  const { iat, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as {
    iat: number
    exp: number
  }
  const client = new Client(url, 'acme', btoa(text))
  const [status, body] = await answered(client.request('GET', '/whoami'))
  if (status !== 200) throw new Error(`whoami: ${status}`)
  return { role: (body as { username: string }).username, seconds: exp - iat }
}
