// Bodies whose type is odd, or that say none, are read as the route reads its own (http-api 2).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { allRoutes } from '#shared/api/routes/index.ts'
import { requestWithKey } from '../../support/certificates.ts'
import { freePorts } from '../../support/nodes.ts'
import { basic, startWorld, V2, type World } from './world.ts'

const policy = `
- !policy conjur/authn-jwt
- !policy { id: conjur/authn-gcp, body: [ !webservice ] }
- !policy { id: conjur/authn-jwt/ci, body: [ !webservice ] }
- !policy { id: conjur/authn-k8s/ci, body: [ !webservice ] }
- !policy { id: conjur/authn-oidc/ci, body: [ !webservice ] }
- !policy { id: conjur/authn-azure/ci, body: [ !webservice ] }
- !policy { id: conjur/authn-ldap/ci, body: [ !webservice ] }
- !policy { id: conjur/authn-iam/ci, body: [ !webservice ] }
- !policy { id: conjur/pki, body: [ !webservice ca ] }
- !policy { id: data, body: [ !group g, !host h1, !host h2, !host h3, !host h4 ] }
- !permit { role: !host app/web, privileges: [ sign ], resource: !webservice conjur/pki/ca }
- !permit
  role: !host app/web
  privileges: [ authenticate ]
  resources: [ !webservice conjur/authn-azure/ci, !webservice conjur/authn-ldap/ci, !webservice conjur/authn-iam/ci ]
`
const AWS =
  'type=aws&max_ttl=900&data[access_key_id]=AKIAIOSFODNN7EXAMPLE&data[secret_access_key]=wJalrXUtnFEMI/K7MDENG%2BbPxRfiCYEXAMPLEKEY'

let world: World
let root: string
let factoryToken: string
let nameless: string
beforeAll(async () => {
  const [nodePort] = await freePorts(1)
  world = await startWorld({
    env: {
      CONJUR_FEATURE_DYNAMIC_SECRETS_ENABLED: 'true',
      HOLDFAST_AUTHENTICATORS:
        'authn,authn-azure/ci,authn-gcp,authn-iam/ci,authn-jwt/ci,authn-k8s/ci,authn-ldap/ci,authn-oidc/ci',
    },
    leaderEnv: { HOLDFAST_NODE_PORT: String(nodePort) },
  })
  nameless = (await requestWithKey({ subject: 'O=acme' })).csr
  const { leader, accountsKey } = world.machine
  expect((await world.admin.loadPolicy('root', policy)).status).toBe(201)
  const login = `${leader.url}/authn/!/!%2Froot/authenticate`
  const token = await fetch(login, { method: 'POST', body: accountsKey() })
  root = `Token token="${btoa(await token.text())}"`
  const query = 'host_factory=acme:host_factory:app/factory&expiration=2099-01-01'
  const tokens = await world.admin.request('POST', `/host_factory_tokens?${query}`)
  factoryToken = ((await tokens.json()) as { token: string }[])[0]!.token
  expect((await world.admin.request('POST', `/issuers/acme?id=held&${AWS}`)).status).toBe(201)
})
afterAll(() => world?.machine.stop())

type Row = {
  readonly path: string
  /** `n`: of this try, for what can be made once only. */
  readonly body: (n: number) => string
  readonly status: number
  readonly headers?: () => Record<string, string>
}
const v2 = () => ({ Accept: V2 })
const alice = () => basic('alice@app', world.keys.get('acme:user:alice@app')!)
const policyText = () => '- !group more\n'

const rows: Readonly<Record<string, Row>> = {
  authenticate: {
    path: '/authn/acme/host%2Fapp%2Fweb/authenticate',
    body: () => world.keys.get('acme:host:app/web')!,
    status: 200,
  },
  // It has been read: without the field they answer 400.
  authenticateJwt: { path: '/authn-jwt/ci/acme/authenticate', body: () => 'jwt=x', status: 401 },
  authenticateJwtLogin: {
    path: '/authn-jwt/ci/acme/host%2Fapp%2Fweb/authenticate',
    body: () => 'jwt=x',
    status: 401,
  },
  authenticateOidc: { path: '/authn-oidc/ci/acme/authenticate', body: () => 'id_token=x', status: 401 },
  authenticateOidcWithoutService: {
    path: '/authn-oidc/acme/authenticate',
    body: () => 'id_token=x',
    status: 401,
  },
  authenticateGcp: { path: '/authn-gcp/acme/authenticate', body: () => 'jwt=x', status: 401 },
  authenticateAzure: {
    path: '/authn-azure/ci/acme/host%2Fapp%2Fweb/authenticate',
    body: () => 'jwt=x',
    status: 401,
  },
  authenticateAzureWithoutService: {
    path: '/authn-azure/acme/host%2Fapp%2Fweb/authenticate',
    body: () => 'jwt=x',
    status: 401,
  },
  authenticateIam: {
    path: '/authn-iam/ci/acme/host%2Fapp%2Fweb/authenticate',
    body: () => '{}',
    status: 401,
  },
  authenticateIamWithoutService: {
    path: '/authn-iam/acme/host%2Fapp%2Fweb/authenticate',
    body: () => '{}',
    status: 401,
  },
  authenticateLdap: {
    path: '/authn-ldap/ci/acme/host%2Fapp%2Fweb/authenticate',
    body: () => world.keys.get('acme:host:app/web')!,
    status: 200,
  },
  authenticateLdapWithoutService: {
    path: '/authn-ldap/acme/host%2Fapp%2Fweb/authenticate',
    body: () => world.keys.get('acme:host:app/web')!,
    status: 401,
  },
  // What proves who asks is a certificate, and no body.
  authenticateK8s: { path: '/authn-k8s/ci/acme/host%2Fapp%2Fweb/authenticate', body: () => 'x', status: 403 },
  authenticateK8sWithoutService: {
    path: '/authn-k8s/acme/host%2Fapp%2Fweb/authenticate',
    body: () => 'x',
    status: 401,
  },
  // Which has been read.
  injectClientCertificate: {
    path: '/authn-k8s/ci/inject_client_cert',
    body: () => nameless,
    status: 422,
  },
  changePassword: {
    path: '/authn/acme/password',
    body: (n) => `Correct-Horse-${n}`,
    status: 204,
    headers: alice,
  },
  postSecret: { path: '/secrets/acme/variable/app%2Fdb%2Fpw', body: (n) => `a=${n}&b`, status: 201 },
  loadPolicy: { path: '/policies/acme/policy/app', body: policyText, status: 201 },
  updatePolicy: { path: '/policies/acme/policy/app', body: policyText, status: 201 },
  replacePolicy: { path: '/policies/acme/policy/data%2Fmine', body: policyText, status: 201 },
  createAccount: {
    path: '/accounts',
    body: (n) => `id=account-${n}`,
    status: 201,
    headers: () => ({ Authorization: root }),
  },
  createHostFactoryTokens: {
    path: '/host_factory_tokens',
    body: () => 'host_factory=acme:host_factory:app/factory&expiration=2099-01-01',
    status: 200,
  },
  createHost: {
    path: '/host_factories/hosts',
    body: () => 'id=made',
    status: 201,
    headers: () => ({ Authorization: `Token token="${factoryToken}"` }),
  },
  // Nothing is signed without a key, but what was asked for has been read.
  signCertificate: { path: '/ca/acme/pki/sign', body: () => 'csr=x&ttl=soon', status: 422 },
  makeSeed: {
    path: '/configuration/acme/seed/follower',
    body: (n) => `follower_hostname=edge-${n + 10}`,
    status: 200,
  },
  createIssuer: { path: '/issuers/acme', body: (n) => `id=issuer-${n}&${AWS}`, status: 201 },
  updateIssuer: { path: '/issuers/acme/held', body: (n) => `max_ttl=${1_000 + n}`, status: 200 },
  enableAuthenticator: { path: '/authn-gcp/acme', body: () => 'enabled=true', status: 204 },
  enableService: { path: '/authn-jwt/ci/acme', body: () => 'enabled=true', status: 204 },
  addGroupMember: {
    path: '/groups/acme/data%2Fg/members',
    body: (n) => `{"kind":"host","id":"data/h${n}"}`,
    status: 201,
    headers: v2,
  },
  createBranch: {
    path: '/branches/acme',
    body: (n) => `{"name":"b${n}","branch":"data"}`,
    status: 201,
    headers: v2,
  },
  updateBranch: {
    path: '/branches/acme/data%2Fmine',
    body: (n) => `{"annotations":{"n":"${n}"}}`,
    status: 200,
    headers: v2,
  },
  createAuthenticator: {
    path: '/authenticators/acme',
    body: (n) => `{"type":"jwt","name":"n${n}","data":{"jwks_uri":"https://idp.example"}}`,
    status: 201,
    headers: v2,
  },
  updateAuthenticator: {
    path: '/authenticators/acme/jwt/ci',
    body: (n) => `{"enabled":${n % 2 === 0}}`,
    status: 200,
    headers: v2,
  },
}

const routes = allRoutes.filter(({ bodyLimit }) => bodyLimit !== undefined)

describe('a type that is none, or odd, is accepted on every route with a body (http-api note 26)', () => {
  beforeAll(async () => {
    expect((await world.admin.loadPolicy('data', '- !policy mine')).status).toBe(201)
  })

  test('which are these', () => {
    expect(routes.map(({ id }) => id).sort()).toEqual(Object.keys(rows).sort())
  })

  test.each(routes.map(({ id, method }) => [id, method] as const))('%s', async (id, method) => {
    const { path, body, status, headers } = rows[id]!
    const who = id === 'signCertificate' ? world.web : world.admin
    for (const [i, type] of [undefined, '', 'text\\plain', 'nonsense'].entries()) {
      // Bytes, because a text would be given a type on its way.
      const response = await fetch(who.url + path, {
        method,
        body: new TextEncoder().encode(body(i + 1)),
        headers: {
          Authorization: who.authorization,
          ...headers?.(),
          ...(type === undefined ? {} : { 'Content-Type': type }),
        },
      })
      const text = await response.text()
      expect([type, response.status, text]).toEqual([type, status, expect.any(String)])
      if (id === 'signCertificate') expect(text).toContain('Invalid ISO8601 duration: soon')
    }
  })
})
