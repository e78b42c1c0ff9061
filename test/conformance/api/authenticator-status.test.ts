// What an authenticator says of itself, and switching it on and off (http-api 7, 8.10, 8.11).
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { limits } from '#shared/base/limits.ts'
import { certificatesFor } from '../../support/certificates.ts'
import { DISCOVERY, IdentityProvider, KEYS } from '../../support/identity-provider.ts'
import { Client, oneMachine } from '../../support/nodes.ts'
import { type Answered, answered, atTheEdge, loadedBy, settled, startWorld, V2, type World } from './world.ts'

const service = (id: string, variables: readonly string[], status = true) => `
- !policy
  id: conjur/${id}
  body:
  - !webservice
${status ? '  - !webservice status' : ''}
${variables.map((name) => `  - !variable ${name}`).join('\n')}`
const policy = `
${service('authn-jwt/ci', ['public-keys', 'issuer', 'audience', 'token-app-property'])}
${service('authn-jwt/fetch', ['jwks-uri'])}
${service('authn-jwt/none', ['issuer'])}
${service('authn-jwt/both', ['jwks-uri', 'provider-uri'])}
${service('authn-jwt/pinned', ['public-keys', 'issuer', 'ca-cert'])}
${service('authn-jwt/unnamed', ['public-keys'])}
${service('authn-jwt/bare', [], false)}
${service('authn-jwt/prod/gke', ['provider-uri'])}
${service('authn-jwt/jwks', ['jwks-uri'])}
${service('authn-jwt/secure', ['jwks-uri', 'ca-cert'])}
${service('authn-jwt/led', ['jwks-uri'])}
${service('authn-oidc/well', ['provider-uri', 'id-token-user-property'])}
${service('authn-azure/well', ['provider-uri'])}
${service('authn-oidc/token', ['provider-uri', 'id-token-user-property'])}
${service('authn-oidc/code', ['provider-uri', 'client-id', 'client-secret'])}
${service('authn-azure/az', [])}
${service('authn-gcp', [])}
${service('authn-k8s/k', ['ca/cert', 'ca/key'])}
${service('authn-iam/aws', [])}
${service('authn-ldap/corp', [])}
- !webservice conjur/authn-jwt/lost/status
- !user monitor
- !user switcher
- !permit { role: !user monitor, privileges: [ read ], resources: [ !webservice conjur/authn-jwt/ci/status, !webservice conjur/authn-gcp/status ] }
- !permit { role: !user switcher, privileges: [ update ], resource: !webservice conjur/authn-jwt/ci }
- !permit { role: !user monitor, privileges: [ read ], resource: !webservice conjur/authn-jwt/ci }
- !permit { role: !user switcher, privileges: [ update ], resource: !webservice conjur/authn-jwt/ci/status }
`
const keys = JSON.stringify({ type: 'jwks', value: { keys: [{ kty: 'RSA', kid: '1', n: 'x', e: 'AQAB' }] } })
const valuesOf = (
  provider: IdentityProvider,
  secure: IdentityProvider,
): Readonly<Record<string, string>> => ({
  'authn-jwt/ci/public-keys': keys,
  'authn-jwt/ci/issuer': 'https://idp.example',
  'authn-jwt/ci/audience': 'conjur',
  'authn-jwt/ci/token-app-property': 'sub',
  'authn-jwt/fetch/jwks-uri': 'not an address',
  'authn-jwt/prod/gke/provider-uri': `${provider.url}/`,
  'authn-jwt/jwks/jwks-uri': provider.jwksUri,
  'authn-jwt/secure/jwks-uri': secure.jwksUri,
  'authn-jwt/secure/ca-cert': secure.ca!,
  'authn-oidc/well/provider-uri': provider.url,
  'authn-oidc/well/id-token-user-property': 'preferred_username',
  'authn-azure/well/provider-uri': provider.url,
  'authn-oidc/token/provider-uri': 'https://idp.example',
  'authn-oidc/code/provider-uri': 'https://idp.example',
  'authn-k8s/k/ca/cert': 'PEM',
})
/** Where the cases' providers are. */
const env = { HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.0/8' }

let world: World
let provider: IdentityProvider
let secure: IdentityProvider
let monitor: Client
let switcher: Client
const enable = (
  as: Client,
  path: string,
  body = 'enabled=true',
  type = 'application/x-www-form-urlencoded',
) => answered(as.request('PATCH', path, { body, headers: { 'Content-Type': type } }))
beforeAll(async () => {
  provider = await IdentityProvider.start()
  secure = await IdentityProvider.start(await certificatesFor('127.0.0.1'))
  world = await startWorld({ env: { ...env, HOLDFAST_AUTHN_GCP_PROVIDER: provider.url } })
  const as = await loadedBy(world.admin, policy)
  monitor = await as('monitor')
  switcher = await as('switcher')
  for (const [id, value] of Object.entries(valuesOf(provider, secure))) {
    const set = await world.admin.setSecret(`conjur/${id}`, value)
    if (set.status !== 201) throw new Error(`${id}: ${set.status}`)
  }
  for (const id of [
    'fetch',
    'none',
    'both',
    'pinned',
    'unnamed',
    'prod%2Fgke',
    'bare',
    'ci',
    'jwks',
    'secure',
    'led',
  ])
    expect(await enable(world.admin, `/authn-jwt/${id}/acme`)).toEqual([204, ''])
  for (const path of [
    'authn-oidc/token',
    'authn-oidc/code',
    'authn-oidc/well',
    'authn-azure/az',
    'authn-azure/well',
    'authn-gcp',
    'authn-k8s/k',
  ])
    expect(await enable(world.admin, `/${path}/acme`)).toEqual([204, ''])
  await settled(world)
})
afterAll(() => Promise.all([world?.machine.stop(), provider?.goAway(), secure?.goAway()]))

/** Well while the provider is. */
const ASKING = ['authn-jwt/prod%2Fgke', 'authn-jwt/jwks', 'authn-oidc/well', 'authn-azure/well', 'authn-gcp']

const error = (code: number, text: string) => [code, { status: 'error', error: `#<Errors::${text}>` }]
const missing = (name: string) =>
  error(404, `Authentication::Security::WebserviceNotFound: CONJ00005E Webservice '${name}' not found`)
const unset = (name: string) =>
  error(
    500,
    `Conjur::RequiredSecretMissing: CONJ00037E Missing value for resource: acme:variable:conjur/${name}`,
  )
const absent = (name: string) =>
  error(
    500,
    `Conjur::RequiredResourceMissing: CONJ00036E Missing required resource: acme:variable:conjur/${name}`,
  )
const signingKeys = (text: string) =>
  error(
    500,
    `Authentication::AuthnJwt::InvalidSigningKeySettings: CONJ00122E Invalid signing key settings: ${text}`,
  )
const unsupported = (name: string) =>
  error(
    501,
    `Authentication::StatusNotSupported: CONJ00056E Status check is not supported for '${name}' authenticators`,
  )
const unknown = (name: string) =>
  error(
    404,
    `Authentication::AuthenticatorNotSupported: CONJ00001E '${name}' authenticators are not supported`,
  )

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const status = (as: Client, path: string): Promise<Answered> =>
    answered(as.at(world.machine[node].url).request('GET', `/${path}/acme/status`))

  test('one that is set up is well', async () => {
    for (const path of ['authn-jwt/ci'])
      expect(await status(world.admin, path)).toEqual([200, { status: 'ok' }])
  })

  test('its provider is asked for keys', async () => {
    for (const path of ASKING) {
      const before = provider.asked(KEYS).length
      expect(await status(world.admin, path)).toEqual([200, { status: 'ok' }])
      expect(provider.asked(KEYS)).toHaveLength(before + 1)
    }
  })

  test('its provider is asked for nobody who may not know, and for nobody who is nobody', async () => {
    const before = provider.asked().length
    for (const path of ASKING) {
      expect((await status(world.onlooker, path))[0]).toBe(403)
      expect((await fetch(`${world.machine[node].url}/${path}/acme/status`)).status).toBe(401)
    }
    expect(provider.asked()).toHaveLength(before)
  })

  test('a provider that is away, and what was answered when it was there', async () => {
    await provider.goAway()
    const why = atTheEdge && node === 'follower' ? 'it cannot be asked' : 'it cannot be asked (ECONNREFUSED)'
    try {
      const undiscovered = error(
        500,
        `Authentication::OAuth::ProviderDiscoveryFailed: CONJ00011E Provider cannot be discovered: ${why}`,
      )
      for (const path of ['authn-jwt/prod%2Fgke', 'authn-oidc/well', 'authn-azure/well', 'authn-gcp'])
        expect(await status(world.admin, path)).toEqual(undiscovered)
      expect(await status(world.admin, 'authn-jwt/jwks')).toEqual(
        error(500, `Authentication::AuthnJwt::FetchJwksKeysFailed: CONJ00087E Failed to fetch keys: ${why}`),
      )
    } finally {
      await provider.comeBack()
    }
    for (const path of ASKING) expect(await status(world.admin, path)).toEqual([200, { status: 'ok' }])
  })

  test('a provider that says what it should not', async () => {
    const cases: readonly [path: string, at: string, body: unknown, text: string][] = [
      [
        'authn-oidc/well',
        DISCOVERY,
        { ...provider.discovery(), issuer: 'https://elsewhere.example' },
        'OAuth::ProviderDiscoveryFailed: CONJ00011E Provider cannot be discovered: its document names another issuer',
      ],
      [
        'authn-azure/well',
        DISCOVERY,
        { ...provider.discovery(), jwks_uri: 'http://169.254.169.254/latest' },
        'OAuth::FetchProviderKeysFailed: CONJ00012E Failed to fetch keys from the provider: its address is no public ' +
          'one: authn_private_networks says which others may be asked',
      ],
      [
        'authn-jwt/jwks',
        KEYS,
        { keys: [] },
        'AuthnJwt::FetchJwksUriKeysNotFound: CONJ00088E Keys not found: none of those that it answered is an RSA key ' +
          'for signatures',
      ],
      [
        'authn-jwt/jwks',
        KEYS,
        '<html>',
        'AuthnJwt::FailedToConvertResponseToJwks: CONJ00093E Failed to read keys: its answer is no JSON object',
      ],
    ]
    for (const [path, at, body, text] of cases) {
      provider.answer(at, () => ({ body }))
      expect(await status(world.admin, path)).toEqual(error(500, `Authentication::${text}`))
      provider.answer(DISCOVERY, () => ({ body: provider.discovery() }))
      provider.answer(KEYS, () => ({ body: provider.keySet() }))
    }
  })

  test('an address that leads elsewhere is not asked', async () => {
    const { port } = new URL(provider.url)
    const elsewhere = 'its address is no public one: authn_private_networks says which others may be asked'
    const cases: readonly [url: string, why: string][] = [
      ['http://169.254.169.254/latest/meta-data/', elsewhere],
      ['http://2852039166/', elsewhere],
      ['http://[::ffff:10.0.0.1]/', elsewhere],
      ['http://[fd00:ec2::254]/', elsewhere],
      [`http://127.1:${port}/moved`, 'it was answered 302'],
      [`http://user:password@127.0.0.1:${port}/keys`, 'its address holds a user'],
    ]
    provider.answer('/moved', () => ({ status: 302, headers: { Location: provider.jwksUri } }))
    const before = provider.asked(KEYS).length
    for (const [url, why] of cases) {
      await world.admin.setSecret('conjur/authn-jwt/led/jwks-uri', url)
      await settled(world)
      expect(await status(world.admin, 'authn-jwt/led')).toEqual(
        error(500, `Authentication::AuthnJwt::FetchJwksKeysFailed: CONJ00087E Failed to fetch keys: ${why}`),
      )
    }
    expect(provider.asked(KEYS)).toHaveLength(before)
  })

  test('an answer that becomes large when it is unpacked is not read to its end', async () => {
    const bomb = gzipSync(Buffer.alloc(100 * limits.providerBytes))
    const server = createServer((_, response) => {
      response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' }).end(bomb)
    })
    try {
      await once(server.listen(0, '127.0.0.1'), 'listening')
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`
      await world.admin.setSecret('conjur/authn-jwt/led/jwks-uri', url)
      await settled(world)
      const [code, body] = await status(world.admin, 'authn-jwt/led')
      expect(code).toBe(500)
      // Node unpacks nothing.
      expect((body as { error: string }).error).toMatch(/: its answer is (no text|too large, or no text)>$/)
    } finally {
      server.close()
      server.closeAllConnections()
    }
  })

  test('a name of the machine itself is not asked by a Worker, and by Node when its address is allowed', async () => {
    await world.admin.setSecret(
      'conjur/authn-jwt/led/jwks-uri',
      provider.jwksUri.replace('127.0.0.1', 'localhost'),
    )
    await settled(world)
    const [code] = await status(world.admin, 'authn-jwt/led')
    expect(code).toBe(atTheEdge && node === 'follower' ? 500 : 200)
  })

  test('a provider under an authority of its own', async () => {
    const answer = await status(world.admin, 'authn-jwt/secure')
    if (atTheEdge && node === 'follower')
      // Its platform has authorities of its own, and takes no others.
      expect(answer).toEqual(
        error(
          500,
          'Authentication::AuthnJwt::FetchJwksKeysFailed: CONJ00087E Failed to fetch keys: a Worker checks ' +
            'certificates with the authorities of its platform only',
        ),
      )
    else expect(answer).toEqual([200, { status: 'ok' }])
  })

  test('its own webservice says who may ask (http-api note 22)', async () => {
    expect(await status(monitor, 'authn-jwt/ci')).toEqual([200, { status: 'ok' }])
    expect(await status(switcher, 'authn-jwt/ci')).toEqual(
      error(
        403,
        "Authentication::Security::RoleNotAuthorizedOnResource: CONJ00006E 'switcher' does not have 'read' privilege " +
          'on acme:webservice:conjur/authn-jwt/ci/status',
      ),
    )
    expect((await status(world.onlooker, 'authn-gcp'))[0]).toBe(403)
  })

  test.each<[string, unknown]>([
    ['authn', unsupported('authn')],
    ['authn/x', unsupported('authn')],
    ['authn-iam/aws', unsupported('authn-iam')],
    ['authn-ldap/corp', unsupported('authn-ldap')],
    ['authn-foo/x', unknown('authn-foo')],
    ['authn-__proto__', unknown('authn-__proto__')],
    ['authn-jwt/non-existent', missing('authn-jwt/non-existent/status')],
    ['authn-jwt', missing('authn-jwt/status')],
    ['authn-jwt/bare', missing('authn-jwt/bare/status')],
    ['authn-jwt/lost', missing('authn-jwt/lost')],
    ['authn-gcp/x', missing('authn-gcp/x/status')],
    ['authn-jwt/none', signingKeys('one of jwks-uri, provider-uri, public-keys must be defined')],
    ['authn-jwt/both', signingKeys('jwks-uri and provider-uri cannot be defined simultaneously')],
    ['authn-jwt/pinned', signingKeys('ca-cert cannot be defined together with public-keys')],
    ['authn-jwt/unnamed', signingKeys('issuer must be defined together with public-keys')],
    [
      'authn-jwt/fetch',
      error(
        500,
        'Authentication::OAuth::ProviderDiscoveryFailed: CONJ00011E Provider cannot be asked: ' +
          'acme:variable:conjur/authn-jwt/fetch/jwks-uri is no http or https address',
      ),
    ],
    ['authn-oidc/token', unset('authn-oidc/token/id-token-user-property')],
    ['authn-oidc/code', absent('authn-oidc/code/claim-mapping')],
    ['authn-azure/az', absent('authn-azure/az/provider-uri')],
    ['authn-k8s/k', unset('authn-k8s/k/ca/key')],
  ])('%s', async (path, answer) => {
    expect(await status(world.admin, path)).toEqual(answer)
  })

  test('an account that is not there has no authenticators', async () => {
    const got = answered(world.admin.at(world.machine[node].url).request('GET', '/authn-jwt/ci/other/status'))
    expect(await got).toEqual(missing('authn-jwt/ci/status'))
  })

  test('nobody without a token (http-api note 3)', async () => {
    const url = `${world.machine[node].url}/authn-jwt/ci/acme`
    for (const path of [`${url}/status`, `${world.machine[node].url}/authn-gcp/acme/status`])
      expect((await fetch(path)).status).toBe(401)
    expect((await fetch(url, { method: 'PATCH', body: 'enabled=true' })).status).toBe(401)
    const bad = { Authorization: 'Token token="e30="' }
    expect(await answered(fetch(`${url}/status`, { headers: bad }))).toEqual([
      401,
      'Malformed authorization token',
    ])
  })

  test('other paths keep their meaning', async () => {
    const { url } = world.machine[node]
    for (const path of ['/authnx/acme/status', '/authn-/acme/status', '/foo/acme/status'])
      expect((await world.admin.at(url).request('GET', path)).status).toBe(404)
    expect((await fetch(`${url}/foo/acme`, { method: 'PATCH' })).status).toBe(401)
    expect((await fetch(`${url}/authn/acme/status/authenticate`, { method: 'POST' })).status).toBe(401)
    const body = new URLSearchParams({ jwt: 'none' })
    expect((await fetch(`${url}/authn-jwt/ci/acme/authenticate`, { method: 'POST', body })).status).toBe(401)
    expect((await fetch(`${url}/authn/acme/login`)).status).toBe(401)
  })
})

test('is recorded, well or not, and holds no value', async () => {
  await monitor.request('GET', '/authn-jwt/ci/acme/status')
  await monitor.request('GET', '/authn-jwt/none/acme/status')
  const [, rows] = await answered(
    world.admin.request('GET', '/audit?msgid=authn&action@43868/operation=validate-status&limit=2'),
  )
  const what = 'with authenticator authn-jwt service acme:webservice:conjur/authn-jwt'
  expect(rows).toMatchObject([
    {
      severity: 4,
      message:
        `acme:user:monitor failed to validate status ${what}/none: CONJ00006E 'monitor' does not have 'read' ` +
        'privilege on acme:webservice:conjur/authn-jwt/none/status',
    },
    { severity: 6, message: `acme:user:monitor successfully validated status ${what}/ci` },
  ])
})

test('a key set that is none, and one without values', async () => {
  const { admin } = world
  const status = () => answered(admin.request('GET', '/authn-jwt/ci/acme/status'))
  for (const text of ['{', '{"type":"jwks","value":{"keys":[]}}', '{"type":"x"}']) {
    await admin.setSecret('conjur/authn-jwt/ci/public-keys', text)
    expect(await status()).toEqual(
      error(
        500,
        'Authentication::AuthnJwt::InvalidPublicKeys: CONJ00120E Failed to parse ' +
          'acme:variable:conjur/authn-jwt/ci/public-keys: it is no key set of the type jwks',
      ),
    )
  }
  await admin.setSecret('conjur/authn-jwt/ci/public-keys', keys)
  await admin.loadPolicy('conjur/authn-jwt/ci', '- !variable enforced-claims')
  expect(await status()).toEqual(unset('authn-jwt/ci/enforced-claims'))
  await admin.loadPolicy('conjur/authn-jwt/ci', '- !delete { record: !variable enforced-claims }', 'PATCH')
  expect(await status()).toEqual([200, { status: 'ok' }])
})

test('switched by form and JSON; anything but true is off', async () => {
  const on = async () => {
    const [, body] = await answered(fetch(`${world.machine.leader.url}/authenticators`))
    return (body as { enabled: string[] }).enabled.includes('authn-jwt/ci')
  }
  const path = '/authn-jwt/ci/acme'
  for (const [body, type, expected] of [
    ['enabled=false', 'application/x-www-form-urlencoded', false],
    ['{"enabled":true}', 'application/json', true],
    ['enabled=yes', 'application/x-www-form-urlencoded', false],
    ['enabled=true', '', true],
    ['', '', false],
    ['enabled=true', 'application/x-www-form-urlencoded', true],
    ['{"enabled":"false"}', 'application/json', false],
    ['enabled=true', 'text/plain; charset=utf-8', true],
    ['enabled=false', 'text/plain; charset=utf-8', false],
  ] as const) {
    expect(await enable(switcher, path, body, type)).toEqual([204, ''])
    expect(await on()).toBe(expected)
  }
  expect(await answered(monitor.request('GET', `${path}/status`))).toEqual(
    error(
      500,
      "Authentication::Security::AuthenticatorNotWhitelisted: CONJ00004E 'authn-jwt/ci' is not enabled",
    ),
  )
  expect((await enable(switcher, path, '{', 'application/json'))[0]).toBe(400)
  expect(await enable(switcher, `${path}?enabled=true`, '')).toEqual([204, ''])
  expect(await on()).toBe(true)
})

test('one that was made by V2 is well at once, and its operators may ask', async () => {
  await world.admin.loadPolicy('root', '- !policy conjur/authn-jwt')
  const made = await world.admin.request('POST', '/authenticators/acme', {
    body: JSON.stringify({ type: 'jwt', name: 'made', enabled: true, data: { jwks_uri: provider.jwksUri } }),
    headers: { Accept: V2, 'Content-Type': 'application/json' },
  })
  expect(made.status).toBe(201)
  const status = (as: Client) => answered(as.request('GET', '/authn-jwt/made/acme/status'))
  expect(await status(world.admin)).toEqual([200, { status: 'ok' }])
  expect((await status(monitor))[0]).toBe(403)
  const grant = '- !grant { role: !group operators, member: !user /monitor }'
  expect((await world.admin.loadPolicy('conjur/authn-jwt/made', grant)).status).toBe(201)
  expect(await status(monitor)).toEqual([200, { status: 'ok' }])
})

test('one without services is switched as well', async () => {
  const status = () => answered(world.admin.request('GET', '/authn-gcp/acme/status'))
  expect(await enable(world.admin, '/authn-gcp/acme', 'enabled=false')).toEqual([204, ''])
  expect(await status()).toEqual(
    error(
      500,
      "Authentication::Security::AuthenticatorNotWhitelisted: CONJ00004E 'authn-gcp' is not enabled",
    ),
  )
  expect(await enable(world.admin, '/authn-gcp/acme')).toEqual([204, ''])
  expect(await status()).toEqual([200, { status: 'ok' }])
})

test('named in one segment, with its service', async () => {
  expect(await enable(switcher, '/authn-jwt%2Fci/acme', 'enabled=false')).toEqual([204, ''])
  expect((await answered(monitor.request('GET', '/authn-jwt%2Fci/acme/status')))[0]).toBe(500)
  expect(await enable(switcher, '/authn-jwt%2Fci/acme')).toEqual([204, ''])
  expect(await answered(monitor.request('GET', '/authn-jwt%2Fci/acme/status'))).toEqual([
    200,
    { status: 'ok' },
  ])
  for (const name of ['authn-jwt%2F', 'authn-jwt%2Fnone-such', 'authn-jwt%2Fci%2Fstatus', 'authn-foo%2Fci'])
    expect(await enable(switcher, `/${name}/acme`)).toEqual([401, ''])
})

test('not by others, and only authenticators', async () => {
  expect(await enable(monitor, '/authn-jwt/ci/acme')).toEqual([403, ''])
  expect(await enable(world.onlooker, '/authn-jwt/ci/acme')).toEqual([403, ''])
  for (const path of [
    '/authn-jwt/none-such/acme',
    '/authn-jwt/acme',
    '/authn/acme',
    '/authn-foo/x/acme',
    '/authn-jwt/ci/other',
    '/authn-jwt/ci%2Fstatus/acme',
  ])
    expect(await enable(world.admin, path)).toEqual([401, ''])
  expect(await enable(switcher, '/authn-jwt/ci%2Fstatus/acme')).toEqual([401, ''])
  const [, rows] = await answered(
    world.admin.request(
      'GET',
      '/audit?msgid=authn&action@43868/operation=update-authenticator-configuration&limit=500',
    ),
  )
  const messages = (rows as { message: string }[]).map(({ message }) => message)
  const what = 'with authenticator authn-jwt service acme:webservice:conjur/authn-jwt/ci'
  expect(messages).toContain(`acme:user:switcher successfully updated configuration ${what}`)
  expect(messages).toContain(
    `acme:user:monitor failed to update configuration ${what}: CONJ00006E 'monitor' does not have 'update' ` +
      'privilege on acme:webservice:conjur/authn-jwt/ci',
  )
  expect(messages).toContain(
    'acme:user:admin failed to update configuration with authenticator authn-foo service ' +
      "acme:webservice:conjur/authn-foo/x: CONJ00001E 'authn-foo' authenticators are not supported",
  )
})

test('a Follower switches nothing, after the same checks', async () => {
  await settled(world)
  const { url } = world.machine.follower
  expect((await enable(switcher.at(url), '/authn-jwt/ci/acme'))[0]).toBe(405)
  expect((await enable(monitor.at(url), '/authn-jwt/ci/acme'))[0]).toBe(403)
  expect((await enable(switcher.at(url), '/authn-jwt/none-such/acme'))[0]).toBe(401)
})

test('what the setting lists stays on, whatever the database says (http-api note 22)', async () => {
  const machine = await oneMachine({
    leaderEnv: { ...env, HOLDFAST_AUTHENTICATORS: 'authn,authn-jwt/ci' },
  })
  try {
    machine.leader.start()
    await machine.leader.ready()
    const admin = await new Client(machine.leader.url, 'acme').login('admin', machine.adminKey())
    await admin.loadPolicy('root', service('authn-jwt/ci', ['provider-uri']))
    await admin.setSecret('conjur/authn-jwt/ci/provider-uri', provider.url)
    const status = () => answered(admin.request('GET', '/authn-jwt/ci/acme/status'))
    expect(await status()).toEqual([200, { status: 'ok' }])
    expect(await enable(admin, '/authn-jwt/ci/acme', 'enabled=false')).toEqual([204, ''])
    expect(await status()).toEqual([200, { status: 'ok' }])
    const headers = { Accept: V2 }
    const off = await admin.request('PATCH', '/authenticators/acme/jwt/ci', {
      body: '{"enabled":false}',
      headers,
    })
    expect(await off.json()).toMatchObject({ enabled: true })
    const shown = await admin.request('GET', '/authenticators/acme/jwt/ci', { headers })
    expect(await shown.json()).toMatchObject({ enabled: true })
    const [, names] = await answered(fetch(`${machine.leader.url}/authenticators`))
    expect(names).toMatchObject({ enabled: ['authn', 'authn-jwt/ci'] })
  } finally {
    await machine.stop()
  }
})
