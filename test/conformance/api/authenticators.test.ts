// Authenticators by V2: made with branch, groups, variables and values; shown without what one may not read; switched
// and removed (http-api 7, 15).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import { ask, data, make, startAuthenticators } from './authenticators.world.ts'
import { answered, answeredV2, refusedV2, settled, V2, type World } from './world.ts'

let world: World
let maker: Client
let viewer: Client
let remover: Client
let branchRemover: Client
beforeAll(async () => {
  ;({ world, maker, viewer, remover, branchRemover } = await startAuthenticators())
})
afterAll(() => world?.machine.stop())

async function lastEvent(): Promise<unknown> {
  return (
    (await answered(world.admin.request('GET', '/audit?msgid=authenticator&limit=1')))[1] as unknown[]
  )[0]
}

test('one is made with its branch, groups, permissions, variables and values', async () => {
  const annotations = { description: 'For the builds', 'team/name': 'ops' }
  const item = {
    type: 'jwt',
    branch: 'conjur/authn-jwt',
    name: 'ci',
    enabled: true,
    owner: { id: 'conjur/authn-jwt', kind: 'policy' },
    data,
    annotations,
  }
  expect(await make(maker, { type: 'jwt', name: 'ci', enabled: true, data, annotations })).toEqual([
    201,
    item,
  ])
  expect(await ask(world.admin, 'GET', '/jwt/ci')).toEqual([200, item])
  const resource = async (kind: string, id: string) =>
    (await answered(world.admin.request('GET', `/resources/acme/${kind}/conjur%2Fauthn-jwt%2F${id}`)))[1]
  const parent = 'acme:policy:conjur/authn-jwt'
  expect(await resource('policy', 'ci')).toMatchObject({ owner: parent, policy: parent })
  expect(await resource('webservice', 'ci')).toMatchObject({
    owner: `${parent}/ci`,
    permissions: [
      { role: 'acme:group:conjur/authn-jwt/ci/apps', privilege: 'authenticate' },
      { role: 'acme:group:conjur/authn-jwt/ci/apps', privilege: 'read' },
    ],
    annotations: [
      { name: 'description', value: 'For the builds' },
      { name: 'team/name', value: 'ops' },
    ],
  })
  expect(await resource('webservice', 'ci%2Fstatus')).toMatchObject({
    permissions: [{ role: 'acme:group:conjur/authn-jwt/ci/operators', privilege: 'read' }],
  })
  expect(await resource('variable', 'ci%2Fjwks-uri')).toMatchObject({ secrets: [{ version: 1 }] })
  const claims = await world.admin.getSecret('conjur/authn-jwt/ci/enforced-claims')
  expect(await claims.text()).toBe('ref,project')
  expect((await world.admin.getSecret('conjur/authn-jwt/ci/audience')).status).toBe(404)
  expect(await make(maker, { type: 'jwt', name: 'ci', data })).toEqual(
    refusedV2(409, 'The authenticator already exists.'),
  )
})

test('each type with what it needs; aws is iam, gcp is the only one of its type', async () => {
  const { admin } = world
  const oidc = { provider_uri: 'https://idp.example', id_token_user_property: 'email', ca_cert: '' }
  const code = {
    provider_uri: 'https://idp.example',
    client_id: 'c',
    client_secret: 'hidden-in-audit',
    redirect_uri: 'https://app.example/cb',
    claim_mapping: 'email',
    token_ttl: 'PT1H',
  }
  const k8s = { 'kubernetes/api_url': 'https://k8s.example', 'ca/cert': 'PEM', 'ca/key': 'KEY' }
  const made: readonly [string, object, string, object?][] = [
    ['oidc', { name: 'okta', data: oidc }, 'conjur/authn-oidc', oidc],
    ['oidc', { name: 'code', data: code, enabled: false }, 'conjur/authn-oidc', code],
    ['azure', { name: 'a.z', data: { provider_uri: 'https://sts.example' } }, 'conjur/authn-azure'],
    ['aws', { name: 'prod', data: null }, 'conjur/authn-iam'],
    ['ldap', { name: 'corp' }, 'conjur/authn-ldap'],
    ['ldap', { name: 'corp2', data: { bind_password: 'pw' } }, 'conjur/authn-ldap', { bind_password: 'pw' }],
    ['k8s', { name: 'gke', data: k8s }, 'conjur/authn-k8s', k8s],
    ['gcp', { name: 'default' }, 'conjur/authn-gcp'],
  ]
  for (const [type, body, branch, shown] of made) {
    const [status, item] = await make(admin, { type, ...body })
    expect([status, item]).toMatchObject([201, { type, branch, ...(shown ? { data: shown } : {}) }])
    const name = (body as { name: string }).name
    expect(await ask(admin, 'GET', `/${type}/${name}`)).toEqual([200, item])
  }
  const iam = await ask(admin, 'GET', '/iam/prod')
  expect(iam).toEqual(await ask(admin, 'GET', '/aws/prod'))
  expect(iam).toEqual([
    200,
    {
      type: 'aws',
      branch: 'conjur/authn-iam',
      name: 'prod',
      enabled: true,
      owner: { id: 'conjur/authn-iam', kind: 'policy' },
    },
  ])
  const groups = await answered(admin.request('GET', '/resources/acme/group?search=gcp'))
  expect((groups[1] as { id: string }[]).map(({ id }) => id)).toEqual([
    'acme:group:conjur/authn-gcp/apps',
    'acme:group:conjur/authn-gcp/operators',
  ])
  expect(await make(admin, { type: 'gcp', name: 'default' })).toEqual(
    refusedV2(409, 'The authenticator already exists.'),
  )
  expect(await make(admin, { type: 'gcp', name: 'other' })).toEqual(
    refusedV2(404, "Authenticator: other not found in account 'acme'"),
  )
  const variable = await admin.request('GET', '/resources/acme/variable/conjur%2Fauthn-oidc%2Fokta%2Fca-cert')
  expect(await variable.json()).toMatchObject({ secrets: [] })
})

test('it belongs to whom its maker says, if he sees him', async () => {
  const withOwner = (name: string, owner: unknown) => make(maker, { type: 'jwt', name, data, owner })
  expect(await withOwner('owned', { kind: 'group', id: '/team' })).toMatchObject([
    201,
    { owner: { kind: 'group', id: 'team' } },
  ])
  expect(await ask(world.admin, 'GET', '/jwt/owned')).toMatchObject([
    200,
    { owner: { kind: 'group', id: 'team' } },
  ])
  expect(await withOwner('x', { kind: 'group', id: 'nobody' })).toEqual(
    refusedV2(404, "Group 'nobody' not found in account 'acme'"),
  )
  expect(await withOwner('x', { kind: 'user', id: 'viewer' })).toEqual(
    refusedV2(404, "User 'viewer' not found in account 'acme'"),
  )
  expect(await withOwner('x', { kind: 'policy', id: 'root' })).toEqual(
    refusedV2(422, "Kind 'policy' is not a valid owner kind"),
  )
  expect(await withOwner('x', { kind: 'user' })).toEqual(
    refusedV2(422, 'CONJ00190W Missing required parameter: id'),
  )
  expect(await withOwner('x', { kind: 'user', id: 'a', role: 'b' })).toEqual(
    refusedV2(422, 'The following parameters were not expected: role'),
  )
  for (const owner of [
    'team',
    [],
    7,
    { kind: 'user', id: 7 },
    { kind: 'user', id: 'a\0' },
    { kind: 'user', id: '\ud800' },
  ])
    expect((await withOwner('x', owner))[0]).toBe(422)
})

test('who may not make one, and where (http-api note 1)', async () => {
  const body = { type: 'jwt', name: 'x', data }
  expect(await make(viewer, body)).toEqual([403, ''])
  expect(await make(remover, { ...body, type: 'azure', data: { provider_uri: 'x' } })).toEqual(
    refusedV2(404, "Policy 'conjur/authn-azure' not found in account 'acme'"),
  )
  const elsewhere = world.admin.request('POST', '/authenticators/other', {
    headers: { Accept: V2 },
    body: JSON.stringify(body),
  })
  expect(await answeredV2(elsewhere)).toEqual(
    refusedV2(404, "Policy 'conjur/authn-jwt' not found in account 'other'"),
  )
})

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const at = (as: Client): Client => as.at(world.machine[node].url)
  const get = (as: Client, path: string) => ask(at(as), 'GET', path)
  const names = async (as: Client, query = '') => {
    const [status, body] = await get(as, query)
    expect(status).toBe(200)
    const { authenticators, count } = body as {
      authenticators: { type: string; name: string }[]
      count: number
    }
    return [count, ...authenticators.map(({ type, name }) => `${type}/${name}`)]
  }
  beforeAll(() => settled(world))

  test('lists what the caller sees, and nothing that is none', async () => {
    expect(await names(viewer)).toEqual([1, 'jwt/loaded'])
    expect(await names(remover)).toEqual([0])
    expect(await names(world.admin)).toEqual([
      12,
      'azure/a.z',
      'gcp/default',
      'aws/prod',
      'jwt/ci',
      'jwt/loaded',
      'jwt/owned',
      'jwt/prod/gke',
      'k8s/gke',
      'ldap/corp',
      'ldap/corp2',
      'oidc/code',
      'oidc/okta',
    ])
  })

  test('by type and page by page; the count is of all', async () => {
    expect(await names(world.admin, '?type=aws')).toEqual([1, 'aws/prod'])
    expect(await names(world.admin, '?type=iam')).toEqual([1, 'aws/prod'])
    expect(await names(world.admin, '?type=gcp')).toEqual([1, 'gcp/default'])
    expect(await names(world.admin, '?type=odd')).toEqual([0])
    expect(await names(world.admin, '?limit=2&offset=1')).toEqual([12, 'gcp/default', 'aws/prod'])
    expect(await names(world.admin, '?offset=10')).toEqual([12, 'oidc/code', 'oidc/okta'])
    expect(await names(world.admin, '?type=ldap&limit=1')).toEqual([2, 'ldap/corp'])
    expect(await get(world.admin, '?limit=x')).toEqual(
      refusedV2(422, "'limit' contains an invalid value. 'limit' must be a positive integer."),
    )
    expect((await get(world.admin, '?offset=-1'))[0]).toBe(422)
    expect((await get(world.admin, '?limit=5000'))[0]).toBe(422)
  })

  test('shows one, without the values that the caller may not read', async () => {
    const loaded = {
      type: 'jwt',
      branch: 'conjur/authn-jwt',
      name: 'loaded',
      enabled: false,
      owner: { id: 'admin', kind: 'user' },
      annotations: { description: 'By a policy' },
    }
    expect(await get(viewer, '/jwt/loaded')).toEqual([200, { ...loaded, data: { audience: 'conjur' } }])
    expect(await get(world.admin, '/jwt/loaded')).toEqual([
      200,
      {
        ...loaded,
        data: {
          issuer: 'https://issuer.example',
          audience: 'conjur',
          identity: {
            token_app_property: '',
            identity_path: '',
            enforced_claims: ['ref', 'sub'],
            claim_aliases: { branch: 'ref', who: 'sub' },
          },
        },
      },
    ])
    expect(await get(world.admin, '/jwt/prod%2Fgke')).toMatchObject([200, { name: 'prod/gke' }])
  })

  test('what is not there or not seen is not found', async () => {
    for (const [as, path, name] of [
      [world.admin, '/jwt/none', 'none'],
      [world.admin, '/odd/x', 'x'],
      [world.admin, '/gcp/x', 'x'],
      [world.admin, '/jwt/loaded%2Fstatus', 'loaded/status'],
      [world.admin, '/authn/x', 'x'],
      [remover, '/jwt/loaded', 'loaded'],
      [viewer, '/jwt/ci', 'ci'],
    ] as const)
      expect(await get(as, path)).toEqual(
        refusedV2(404, `Authenticator: ${name} not found in account 'acme'`),
      )
  })

  test('anonymous callers get nothing but the names (http-api note 24)', async () => {
    const list = await fetch(`${world.machine[node].url}/authenticators/acme`, { headers: { Accept: V2 } })
    expect(list.status).toBe(401)
    const names = (await (await fetch(`${world.machine[node].url}/authenticators`)).json()) as {
      configured: string[]
      enabled: string[]
    }
    expect(names.configured).toEqual(
      expect.arrayContaining(['authn', 'authn-gcp', 'authn-jwt/ci', 'authn-odd/x']),
    )
    expect(names.configured.filter((name) => name.endsWith('/status'))).toEqual([])
    expect(names.enabled).toEqual([
      'authn',
      'authn-azure/a.z',
      'authn-gcp',
      'authn-iam/prod',
      'authn-jwt/ci',
      'authn-jwt/owned',
      'authn-k8s/gke',
      'authn-ldap/corp',
      'authn-ldap/corp2',
      'authn-oidc/okta',
    ])
  })
})

test('a Follower writes nothing, after the same checks', async () => {
  const follower = (as: Client): Client => as.at(world.machine.follower.url)
  await settled(world)
  expect((await make(follower(maker), { type: 'jwt', name: 'new', data }))[0]).toBe(405)
  expect((await make(follower(maker), { type: 'jwt', name: 'ci', data }))[0]).toBe(409)
  expect((await ask(follower(world.admin), 'PATCH', '/jwt/ci', { enabled: true }))[0]).toBe(405)
  expect((await ask(follower(viewer), 'PATCH', '/jwt/loaded', { enabled: true }))[0]).toBe(403)
  expect((await ask(follower(world.admin), 'DELETE', '/jwt/ci'))[0]).toBe(405)
  expect((await ask(follower(viewer), 'DELETE', '/jwt/ci'))[0]).toBe(404)
})

test('one is switched on and off by whoever may change it', async () => {
  const patch = (as: Client, path: string, body: unknown) => ask(as, 'PATCH', path, body)
  const enabled = async () => {
    const [, body] = await answered(fetch(`${world.machine.leader.url}/authenticators`))
    return (body as { enabled: string[] }).enabled.includes('authn-jwt/loaded')
  }
  for (const state of [true, true, false, false]) {
    expect(await patch(world.admin, '/jwt/loaded', { enabled: state })).toMatchObject([
      200,
      { name: 'loaded', enabled: state, annotations: { description: 'By a policy' } },
    ])
    expect(await enabled()).toBe(state)
  }
  expect(await patch(world.admin, '/gcp/default', { enabled: false })).toMatchObject([
    200,
    { enabled: false },
  ])
  expect(await patch(world.admin, '/jwt/loaded', {})).toEqual(
    refusedV2(422, 'Missing required parameter: enabled'),
  )
  for (const value of ['true', 1, null, {}])
    expect(await patch(world.admin, '/jwt/loaded', { enabled: value })).toEqual(
      refusedV2(422, 'The enabled parameter must be of type=boolean'),
    )
  expect(await patch(world.admin, '/jwt/loaded', { enabled: true, a: 1, b: 2 })).toEqual(
    refusedV2(422, "The following parameters were not expected: 'a, b'"),
  )
  expect(await patch(remover, '/jwt/loaded', { enabled: true })).toEqual(
    refusedV2(404, "Authenticator: authn-jwt/loaded not found in account 'acme'"),
  )
  expect(await patch(world.admin, '/gcp/x', { enabled: true })).toEqual(
    refusedV2(404, "Authenticator: authn-gcp/x not found in account 'acme'"),
  )
  expect(await patch(world.admin, '/odd/x', { enabled: true })).toEqual(
    refusedV2(404, "Authenticator: authn-odd/x not found in account 'acme'"),
  )
  expect(await patch(viewer, '/jwt/loaded', { enabled: true })).toEqual([403, ''])
  expect(await lastEvent()).toMatchObject({
    message: expect.stringMatching(
      /^acme:user:viewer failed to enable .*: CONJ00006E 'viewer' does not have 'update' privilege on acme:webservice:conjur\/authn-jwt\/loaded$/,
    ),
  })
})

test('one goes with everything in its branch, and can be made again', async () => {
  const left = async (): Promise<string[]> => {
    const [, found] = await answered(world.admin.request('GET', '/resources/acme'))
    return (found as { id: string }[]).map(({ id }) => id).filter((id) => id.includes('authn-jwt/ci'))
  }
  expect(await left()).toHaveLength(11)
  expect(await ask(viewer, 'DELETE', '/jwt/loaded')).toEqual([403, ''])
  expect(await lastEvent()).toMatchObject({
    message: expect.stringMatching(/failed to delete .*: Unauthorized$/),
  })
  expect(await ask(branchRemover, 'DELETE', '/jwt/ci')).toEqual(
    refusedV2(404, "Authenticator: ci not found in account 'acme'"),
  )
  expect(await ask(remover, 'DELETE', '/jwt/ci')).toEqual([204, ''])
  expect(await left()).toEqual([])
  expect(await ask(remover, 'DELETE', '/jwt/ci')).toEqual(
    refusedV2(404, "Authenticator: ci not found in account 'acme'"),
  )
  expect((await make(maker, { type: 'jwt', name: 'ci', enabled: false, data }))[0]).toBe(201)
  expect(await ask(world.admin, 'GET', '/jwt/ci')).toMatchObject([200, { enabled: false, data }])
  const permit = `
- !permit { role: !user branch-remover, privileges: [ delete ], resource: !policy conjur/authn-jwt/ci }`
  expect((await world.admin.loadPolicy('root', permit)).status).toBe(201)
  expect(await ask(branchRemover, 'DELETE', '/jwt/ci')).toEqual([204, ''])
  expect(await ask(world.admin, 'DELETE', '/gcp/default')).toEqual([204, ''])
  expect((await world.admin.request('HEAD', '/resources/acme/policy/conjur%2Fauthn-gcp')).status).toBe(200)
  expect((await make(maker, { type: 'gcp', name: 'default' }))[0]).toBe(201)
  expect(await ask(world.admin, 'DELETE', '/jwt/prod%2Fgke')).toEqual([204, ''])
  const [, gke] = await answered(world.admin.request('GET', '/resources/acme?search=gke+jwt'))
  expect(gke).toEqual([])
})

test('every call is recorded, values that were read as well, and no value stands in a record', async () => {
  const of = (type: string, query = '') =>
    answered(world.admin.request('GET', `/audit?msgid=${type}&limit=500${query}`)).then(
      ([, rows]) => rows as { severity: number; message: string }[],
    )
  await ask(viewer, 'GET', '/jwt/loaded')
  await ask(viewer, 'GET', '')
  const messages = (await of('authenticator')).map(({ message }) => message)
  expect(messages[0]).toBe(
    "acme:user:viewer successfully listed authenticator with URI path: '/authenticators/acme'",
  )
  expect(messages[1]).toBe(
    "acme:user:viewer successfully retrieved authenticator loaded with URI path: '/authenticators/acme/jwt/loaded'",
  )
  expect(messages).toContain(
    "acme:user:maker successfully created authenticator ci with URI path: '/authenticators/acme' and JSON object: " +
      '{"type":"jwt","name":"ci","enabled":true}',
  )
  expect(messages).toContain(
    "acme:user:remover successfully deleted authenticator ci with URI path: '/authenticators/acme/jwt/ci'",
  )
  expect((await of('authenticator'))[0]).toMatchObject({ severity: 5 })
  expect((await of('fetch')).slice(0, 2).map(({ message }) => message)).toEqual(
    Array(2).fill('acme:user:viewer fetched acme:variable:conjur/authn-jwt/loaded/audience'),
  )
  const all = JSON.stringify([await of('authenticator'), await of('fetch')])
  for (const value of ['hidden-in-audit', 'https://idp.example', 'https://issuer.example'])
    expect(all).not.toContain(value)
})
