// A world with authenticators that a policy has made, and with some who may make, see and remove them.
import type { Client } from '../../support/nodes.ts'
import { type Answered, answeredV2, loadedBy, settled, startWorld, V2, type World } from './world.ts'

const policy = `
- !policy conjur/authn-jwt
- !policy conjur/authn-oidc
- !policy conjur/authn-iam
- !policy conjur/authn-azure
- !policy conjur/authn-gcp
- !policy conjur/authn-ldap
- !policy conjur/authn-k8s
- !policy
  id: conjur/authn-jwt/loaded
  body:
  - !webservice
    annotations: { description: By a policy }
  - !webservice status
  - !variable issuer
  - !variable audience
  - !variable identity-path
  - !variable token-app-property
  - !variable enforced-claims
  - !variable claim-aliases
  - !group apps
- !webservice conjur/authn-jwt/prod/gke
- !variable conjur/authn-jwt/prod/gke/provider-uri
- !webservice conjur/authn-odd/x
- !webservice conjur/authn-gcp/x
- !user maker
- !user viewer
- !user remover
- !user branch-remover
- !group team
- !permit { role: !user maker, privileges: [ create ], resource: !policy conjur/authn-jwt }
- !permit { role: !user maker, privileges: [ create ], resource: !policy conjur/authn-gcp }
- !permit { role: !user maker, privileges: [ read ], resource: !group team }
- !permit { role: !user viewer, privileges: [ read ], resources: [ !webservice conjur/authn-jwt/loaded, !policy conjur/authn-jwt ] }
- !permit { role: !user viewer, privileges: [ read ], resource: !variable conjur/authn-jwt/loaded/issuer }
- !permit { role: !user viewer, privileges: [ read, execute ], resource: !variable conjur/authn-jwt/loaded/audience }
- !permit { role: !user remover, privileges: [ delete ], resource: !policy conjur/authn-jwt }
`

export type AuthenticatorsWorld = {
  readonly world: World
  readonly maker: Client
  readonly viewer: Client
  readonly remover: Client
  readonly branchRemover: Client
}

export async function startAuthenticators(): Promise<AuthenticatorsWorld> {
  const world = await startWorld()
  const as = await loadedBy(world.admin, policy)
  const clients = {
    maker: await as('maker'),
    viewer: await as('viewer'),
    remover: await as('remover'),
    branchRemover: await as('branch-remover'),
  }
  await world.admin.setSecret('conjur/authn-jwt/loaded/issuer', 'https://issuer.example')
  await world.admin.setSecret('conjur/authn-jwt/loaded/audience', 'conjur')
  await world.admin.setSecret('conjur/authn-jwt/loaded/enforced-claims', 'ref, sub')
  await world.admin.setSecret('conjur/authn-jwt/loaded/claim-aliases', 'branch:ref, who:sub')
  await settled(world)
  return { world, ...clients }
}

export const ask = (as: Client, method: string, path: string, body?: unknown): Promise<Answered> =>
  answeredV2(
    as.request(method, `/authenticators/acme${path}`, {
      headers: { Accept: V2 },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    }),
  )
export const make = (as: Client, body: unknown): Promise<Answered> => ask(as, 'POST', '', body)

/** What one of type jwt is made with. */
export const data = {
  jwks_uri: 'https://idp.example/jwks',
  issuer: 'https://idp.example',
  identity: {
    token_app_property: 'sub',
    identity_path: 'data/apps',
    enforced_claims: ['ref', 'project'],
    claim_aliases: { branch: 'ref' },
  },
}
