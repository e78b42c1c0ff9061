// What a node says of itself, whom it listens to, and how fresh its data must be (http-api 1, 2, 3, 7; cluster 6.4).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../../support/nodes.ts'
import {
  answered,
  FORM,
  forbidden,
  loadedBy,
  type ReadCase,
  readCases,
  settled,
  startWorld,
  unauthorized,
  V2,
  type World,
} from './world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.machine.stop())

const cases: readonly ReadCase[] = [
  {
    name: 'index says the version',
    as: 'nobody',
    path: '/',
    headers: { Accept: 'application/json' },
    status: 200,
    body: { version: '1.24.0' },
  },
  {
    name: 'index as a page',
    as: 'nobody',
    path: '/',
    status: 200,
    body: expect.stringContaining('<dd>Version 1.24.0</dd>'),
  },
  {
    name: 'info names the API version',
    as: 'nobody',
    path: '/info',
    status: 200,
    body: { services: { possum: { version: '1.24.0' } } },
  },
  {
    name: 'info says whom the node believes about clients, and who says so',
    as: 'nobody',
    path: '/info',
    status: 200,
    body: {
      configuration: {
        conjur: {
          trusted_proxies: [],
          trusted_proxies_source: 'default',
          balancers: [],
          balancers_source: 'default',
          certificates: [],
          keys: { protection: 'none', state: 'unlocked', unprotected_files: 2 },
        },
      },
    },
    // There are no files: keys are secrets of the Worker.
    bodyAtTheEdge: { configuration: { conjur: { keys: { unprotected_files: 0 } } } },
  },
  { name: 'health is open', as: 'nobody', path: '/health', status: 200, body: { ok: true } },
  {
    name: 'health of a Standby is asked for, and this is none',
    as: 'nobody',
    path: '/health?role=standby',
    status: 502,
    body: { ok: false },
  },
  {
    name: 'health of another node',
    as: 'nobody',
    path: '/remote_health/leader-1',
    status: 200,
    body: { ok: true, role: 'master' },
  },
  {
    name: 'health of another node, that of the Follower',
    as: 'nobody',
    path: '/remote_health/edge-1?role=follower',
    status: 200,
    body: { ok: true, role: 'follower' },
  },
  {
    name: 'health of another node that is not there',
    as: 'nobody',
    path: '/remote_health/gone-1',
    status: 502,
    body: { ok: false, error: 'it cannot be reached' },
  },
  {
    name: 'health of who is no node',
    as: 'nobody',
    path: '/remote_health/127.0.0.1%3A80',
    status: 404,
    body: { error: { code: 'not_found', message: 'no node "127.0.0.1:80" is known here' } },
  },
  {
    name: '/authenticators is public (http-api note 24)',
    as: 'nobody',
    path: '/authenticators',
    status: 200,
    body: { enabled: ['authn'] },
  },
  {
    name: 'whoami',
    as: 'web',
    path: '/whoami',
    status: 200,
    body: { account: 'acme', username: 'host/app/web', client_ip: '127.0.0.1' },
  },
  {
    name: 'an unknown route without a token is 401 (http-api note 4)',
    as: 'nobody',
    path: '/no/such',
    status: 401,
    body: 'Authorization missing',
  },
  { name: 'an unknown route with a token is 404', as: 'web', path: '/no/such', status: 404, body: '' },
  {
    name: 'an unknown route as JSON',
    as: 'web',
    path: '/no/such',
    headers: { Accept: 'application/json' },
    status: 404,
    body: { status: 404, error: 'Not Found' },
  },
  {
    name: 'a malformed token',
    as: 'nobody',
    path: '/whoami',
    headers: { Authorization: 'Token token="e30"' },
    status: 401,
    body: 'Malformed authorization token',
  },
  {
    name: 'a token of an unknown key',
    as: 'nobody',
    path: '/whoami',
    headers: {
      Authorization: `Token token="${btoa('{"protected":"e30=","payload":"e30=","signature":"e30="}')}"`,
    },
    status: 401,
    body: 'Unauthorized: Invalid token',
  },
  {
    name: 'public keys need no token',
    as: 'nobody',
    path: '/public_keys/acme/user/bob%40app',
    status: 200,
    body: 'ssh-ed25519 AAAAC3Nz laptop\n',
  },
  {
    name: 'public keys of nobody (http-api note 21)',
    as: 'nobody',
    path: '/public_keys/acme/user/zed',
    status: 200,
    body: '\n',
  },
  {
    name: 'a bad token on public keys (http-api note 3)',
    as: 'nobody',
    path: '/public_keys/acme/user/zed',
    headers: { Authorization: 'Token token="x"' },
    status: 401,
    body: 'Malformed authorization token',
  },
  {
    name: 'a position that is there',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw',
    headers: { 'Holdfast-Min-Position': '1.1' },
    status: 200,
  },
  {
    name: 'a position that is not there yet',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw',
    headers: { 'Holdfast-Min-Position': '1.999999' },
    status: 412,
  },
  {
    name: 'a position that is none',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw',
    headers: { 'Holdfast-Min-Position': 'soon' },
    status: 400,
  },
  {
    name: 'data that is young enough',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw',
    headers: { 'Holdfast-Max-Age-Ms': '60000' },
    status: 200,
  },
]
readCases(() => world, cases)

const BAD = { Authorization: 'Token token="x"' }

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const url = (): string => world.machine[node].url
  const anonymous = (method: string, path: string, init: RequestInit = {}) =>
    answered(fetch(url() + path, { method, ...init }))

  test('a bad token is not looked at where none is wanted (http-api note 3)', async () => {
    for (const path of ['/', '/info', '/health', '/openapi.json', '/authenticators'])
      expect((await anonymous('GET', path, { headers: BAD }))[0], path).toBe(200)
    const key = world.keys.get('acme:host:app/web')!
    const login = '/authn/acme/host%2Fapp%2Fweb/authenticate'
    expect((await anonymous('POST', login, { headers: BAD, body: key }))[0]).toBe(200)
    // Its token is that of a host factory, and no such token is no credential.
    const host = { headers: { ...BAD, ...FORM }, body: 'id=x' }
    expect(await anonymous('POST', '/host_factories/hosts', host)).toEqual(unauthorized)
  })

  test('where a token is looked at if there is one, a bad one is refused (http-api note 3)', async () => {
    for (const [method, path] of [
      ['GET', '/public_keys/acme/user/zed'],
      ['GET', '/authn/acme/login'],
      ['PUT', '/authn/acme/password'],
      ['PUT', '/authn/acme/api_key'],
      ['GET', '/authn/acme/api_key'],
    ] as const)
      expect(await anonymous(method, path, { headers: BAD }), `${method} ${path}`).toEqual([
        401,
        'Malformed authorization token',
      ])
  })

  test('/ and /authenticators are public; with an account it is V2 and wants a token (http-api note 24)', async () => {
    expect((await anonymous('GET', '/'))[0]).toBe(200)
    expect(await anonymous('GET', '/authenticators')).toMatchObject([200, { installed: expect.any(Array) }])
    const path = '/authenticators/acme'
    expect(await anonymous('GET', path, { headers: { Accept: V2 } })).toEqual(unauthorized)
    expect(await anonymous('GET', path)).toEqual([401, 'Authorization missing'])
    const admin = world.admin.at(url())
    expect(await answered(admin.request('GET', path))).toMatchObject([
      400,
      { message: expect.stringContaining('CONJ00194W') },
    ])
    expect((await admin.request('GET', path, { headers: { Accept: V2 } })).status).toBe(200)
  })

  test('who may not authenticate is never told why; an authenticator that is none has no such route (http-api note 23)', async () => {
    const key = world.keys.get('acme:host:app/web')!
    for (const [path, body] of [
      ['/authn/acme/host%2Fapp%2Fweb/authenticate', 'wrong'],
      ['/authn/acme/host%2Fapp%2Fweb/authenticate', ''],
      ['/authn/acme/host%2Fapp%2Fnobody/authenticate', key],
      ['/authn/none/host%2Fapp%2Fweb/authenticate', key],
      ['/authn/acme/host%2Fapp%2Ffar/authenticate', world.keys.get('acme:host:app/far')!],
      ['/authn/acme/group%2Fapp%2Freaders/authenticate', key],
    ] as const)
      expect(await anonymous('POST', path, { body }), path).toEqual(unauthorized)
    for (const path of [
      '/authn-jwt/ci/acme/authenticate',
      '/authn-jwt/ci/acme/host%2Fapp%2Fweb/authenticate',
      '/authn-iam/prod/acme/host%2Fapp%2Fweb/authenticate',
    ])
      expect(await anonymous('POST', path, { body: 'jwt=x', headers: FORM }), path).toEqual(unauthorized)
    const none = '/authn-none/x/acme/host%2Fapp%2Fweb/authenticate'
    expect(await anonymous('POST', none, { body: 'jwt=x', headers: FORM })).toEqual([404, ''])
  })

  test('a read tells its position and its age', async () => {
    const response = await world.web.at(url()).getSecret('app/db/pw')
    expect(response.headers.get('holdfast-position')).toMatch(/^1\.\d+$/)
    expect(Number(response.headers.get('holdfast-age-ms'))).toBeGreaterThanOrEqual(0)
    expect(response.headers.get('content-type')).toBe('text/plain')
    expect(response.headers.get('content-disposition')).toBe('attachment')
  })

  test('a token of either node is believed by the other', async () => {
    const other = node === 'leader' ? world.machine.follower : world.machine.leader
    const key = world.keys.get('acme:host:app/web')!
    const client = await new Client(other.url, 'acme').login('host/app/web', key)
    expect((await client.at(url()).getSecret('app/db/pw')).status).toBe(200)
  })
})

const at = (client: Client, node: 'leader' | 'follower'): Client => client.at(world.machine[node].url)

test('who is removed while his token lives is 403, not 401 (http-api note 29)', async () => {
  const as = await loadedBy(world.admin, '- !user gone\n- !host gone\n')
  const clients = [await as('gone'), await as('host/gone')]
  await settled(world)
  const asked = async () => {
    const answers: unknown[] = []
    for (const client of clients)
      for (const node of ['leader', 'follower'] as const)
        for (const path of ['/whoami', '/resources/acme', '/authenticators/acme', '/no/such'])
          answers.push((await answered(at(client, node).request('GET', path)))[0])
    return answers
  }
  expect(await asked()).toEqual(Array(4).fill([200, 200, 400, 404]).flat())
  const gone = '- !delete { record: !user gone }\n- !delete { record: !host gone }\n'
  expect((await world.admin.loadPolicy('root', gone, 'PATCH')).status).toBe(201)
  await settled(world)
  expect(await asked()).toEqual(Array(4).fill([403, 403, 403, 404]).flat())
  for (const client of clients)
    for (const node of ['leader', 'follower'] as const)
      expect(await answered(at(client, node).request('GET', '/whoami'))).toEqual(forbidden)
})

test('a token of one account is judged by ordinary permissions in another (http-api note 30)', async () => {
  const { leader, accountsKey } = world.machine
  const root = await new Client(leader.url, '!').login('!/root', accountsKey())
  const [, made] = await answered(root.request('POST', '/accounts?id=beta'))
  const beta = await new Client(leader.url, 'beta').login('admin', (made as { api_key: string }).api_key)
  const permit = (name: string, privileges: string) =>
    `- !variable ${name}\n- !permit { role: !host { account: acme, id: app/web }, privileges: [ ${privileges} ], resource: !variable ${name} }\n`
  const policy = `- !variable hidden\n${permit('shown', 'read')}${permit('open', 'read, execute, update')}`
  expect((await beta.loadPolicy('root', policy)).status).toBe(201)
  for (const name of ['hidden', 'shown', 'open']) expect((await beta.setSecret(name, name)).status).toBe(201)
  await settled(world)
  for (const node of ['leader', 'follower'] as const) {
    const get = (path: string) => answered(at(world.web, node).request('GET', path))
    expect((await get('/secrets/beta/variable/hidden'))[0]).toBe(404)
    expect(await get('/secrets/beta/variable/shown')).toEqual(forbidden)
    expect(await get('/secrets/beta/variable/open')).toEqual([200, 'open'])
    expect(await get('/resources/beta')).toMatchObject([
      200,
      [{ id: 'beta:variable:open' }, { id: 'beta:variable:shown' }],
    ])
    expect((await get('/policies/beta/policy/root'))[0]).toBe(404)
    expect(await get('/whoami')).toMatchObject([200, { account: 'acme', username: 'host/app/web' }])
    expect((await at(world.onlooker, node).request('GET', '/secrets/beta/variable/open')).status).toBe(404)
  }
  const update = world.web.request('POST', '/secrets/beta/variable/open', { body: 'changed' })
  expect((await update).status).toBe(201)
  expect(await (await beta.getSecret('open')).text()).toBe('changed')
})
