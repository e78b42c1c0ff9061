// API keys and passwords: proving oneself with them, changing and rotating them (http-api 3, 8.1, 8.2, 9).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  argument,
  basic,
  forbidden,
  recordsOf,
  settled,
  startWorld,
  unauthorized,
  type World,
} from './world.ts'

const policy = `
- !policy
  id: keys
  body:
  - !host rotator
  - !host target
  - !host never
  - !user pat
  - !user quinn
  - !group ops
  - !permit { role: !host rotator, privileges: [ update ], resources: [ !host target, !user quinn ] }
  - !permit { role: !host rotator, privileges: [ read ], resources: [ !host never, !group ops ] }
`
const PASSWORD = 'Correct-Horse-9-Battery'

let world: World
let admin: Client
let rotator: Client
const keys: Record<string, string> = {}
beforeAll(async () => {
  world = await startWorld({ env: { CONJUR_TRUSTED_PROXIES: '203.0.113.0/24' } })
  admin = world.admin
  const loaded = await answered(admin.loadPolicy('root', policy))
  const { created_roles } = loaded[1] as { created_roles: Record<string, { api_key: string }> }
  for (const [id, { api_key }] of Object.entries(created_roles)) keys[id] = api_key
  rotator = await new Client(admin.url, 'acme').login('host/keys/rotator', keys['acme:host:keys/rotator']!)
  const set = admin.request('PUT', '/authn/acme/password', {
    headers: basic('pat@keys', keys['acme:user:pat@keys']!),
    body: PASSWORD,
  })
  expect((await set).status).toBe(204)
  await settled(world)
})
afterAll(() => world?.machine.stop())

const weak = [401, { error: { code: 'unauthorized', message: 'Credential strength is insufficient' } }]
const missing = (name: string) => [
  404,
  {
    error: {
      code: 'not_found',
      message: `CONJ00123E Resource '${name}' requested by role 'acme:host:keys/rotator' not found`,
    },
  },
]
const notApplicable = [
  405,
  {
    error: {
      code: 'method_not_allowed',
      message: "CONJ00126E Role 'acme:group:keys/ops' is not applicable for key rotation",
    },
  },
]

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const url = (): string => world.machine[node].url
  const anonymous = (method: string, path: string, headers: Record<string, string>, body?: string) =>
    answered(fetch(url() + path, { method, headers, ...(body === undefined ? {} : { body }) }))
  const login = (name: string, secret: string) => anonymous('GET', '/authn/acme/login', basic(name, secret))
  const authenticate = (name: string, key: string, headers: Record<string, string> = {}) =>
    anonymous('POST', `/authn/acme/${encodeURIComponent(name)}/authenticate`, headers, key)

  test('login tells the key, the same each time; only the key authenticates (http-api note 9)', async () => {
    const key = keys['acme:user:pat@keys']!
    for (const secret of [PASSWORD, key, PASSWORD, key])
      expect(await login('pat@keys', secret)).toEqual([200, key])
    for (const secret of ['', 'Wrong-Horse-9-Battery', `${key}x`])
      expect(await login('pat@keys', secret)).toEqual(unauthorized)
    expect(await anonymous('GET', '/authn/acme/login', {})).toEqual(unauthorized)
    expect((await authenticate('pat@keys', key))[0]).toBe(200)
    expect((await authenticate('user/pat@keys', key))[0]).toBe(200)
    for (const secret of [PASSWORD, '', 'wrong'])
      expect(await authenticate('pat@keys', secret)).toEqual(unauthorized)
  })

  test('a host stands in paths as host%2F; unencoded there is no such route (http-api note 10)', async () => {
    const key = world.keys.get('acme:host:app/web')!
    expect((await authenticate('host/app/web', key))[0]).toBe(200)
    expect(await login('host/app/web', key)).toEqual([200, key])
    for (const path of ['host/app/web', 'host/app%2Fweb'])
      expect(await anonymous('POST', `/authn/acme/${path}/authenticate`, {}, key)).toEqual([404, ''])
  })

  test('restricted_to is asked of who authenticates, and of nobody else; proxies count that are trusted (http-api note 11)', async () => {
    const key = world.keys.get('acme:host:app/far')!
    const from = (addresses: string) => ({ 'X-Forwarded-For': addresses })
    expect(await authenticate('host/app/far', key)).toEqual(unauthorized)
    expect(await login('host/app/far', key)).toEqual([200, key])
    for (const outside of ['10.98.0.1', '10.99.0.1, 198.51.100.7', '10.99.0.1, nonsense'])
      expect(await authenticate('host/app/far', key, from(outside)), outside).toEqual(unauthorized)
    for (const inside of ['10.99.0.1', '198.51.100.7, 10.99.0.1', '10.99.0.1, 203.0.113.7'])
      expect((await authenticate('host/app/far', key, from(inside)))[0], inside).toBe(200)
    const [, token] = await authenticate('host/app/far', key, from('10.99.0.1'))
    const far = new Client(url(), 'acme', btoa(JSON.stringify(token)))
    expect(await answered(far.request('GET', '/whoami'))).toMatchObject([
      200,
      { username: 'host/app/far', client_ip: '127.0.0.1' },
    ])
  })

  test('when a key was rotated is told to whom it belongs and to who may rotate it', async () => {
    const time = (path: string, headers: Record<string, string> = {}, name = 'authn') =>
      answered(rotator.at(url()).request('GET', `/${name}/acme/api_key${path}`, { headers }))

    const never = basic('host/keys/never', keys['acme:host:keys/never']!)
    expect(await time('', never)).toEqual([200, { role: 'acme:host:keys/never', timestamp: '' }])
    expect(await time('?role=host:keys/never', never, 'authn-ldap')).toMatchObject([200, {}])
    expect(await time('', basic('pat@keys', keys['acme:user:pat@keys']!))).toMatchObject([
      200,
      { role: 'acme:user:pat@keys' },
    ])
    expect(await time('', basic('pat@keys', PASSWORD))).toMatchObject([200, { role: 'acme:user:pat@keys' }])
    expect(await time('?role=acme:user:quinn@keys')).toEqual([
      200,
      { role: 'acme:user:quinn@keys', timestamp: '' },
    ])

    expect(await time('')).toEqual(weak)
    expect(await time('?role=host:keys/rotator')).toEqual(weak)
    expect(await time('', basic('pat@keys', 'wrong'))).toEqual(unauthorized)
    expect(await time('?role=host:keys/target', never)).toEqual(unauthorized)
    expect(await time('', { Authorization: '' })).toEqual(unauthorized)
    expect(await time('?role=host:keys/never')).toEqual(forbidden)
    expect(await time('?role=group:keys/ops')).toEqual(forbidden)
    expect(await time('?role=user:zed')).toEqual(missing('user:zed'))
    expect(await time('?role=user:pat@keys')).toEqual(missing('acme:user:pat@keys'))
    expect(await time('?role=nonsense')).toEqual(argument('Invalid role: nonsense'))
    const ops = admin.at(url()).request('GET', '/authn/acme/api_key?role=group:keys/ops')
    expect(await answered(ops)).toEqual(notApplicable)
  })
})

describe('rotation', () => {
  const rotate = (query: string, as: Client | Record<string, string> = rotator): Promise<Answered> =>
    as instanceof Client
      ? answered(as.request('PUT', `/authn/acme/api_key${query}`))
      : answered(fetch(`${admin.url}/authn/acme/api_key${query}`, { method: 'PUT', headers: as }))
  const logsIn = async (login: string, key: string): Promise<boolean> =>
    (await fetch(`${admin.url}/authn/acme/login`, { headers: basic(login, key) })).status === 200
  const fresh = expect.stringMatching(/^[0-9a-hjkmnp-tv-z]{50,56}$/)

  test('one’s own key with Basic, another’s with update (http-api note 12)', async () => {
    expect(await rotate('')).toEqual(weak)
    expect(await rotate('?role=host:keys/rotator')).toEqual(weak)
    const old = keys['acme:host:keys/target']!
    const [status, key] = await rotate('?role=host:keys/target')
    expect([status, key]).toEqual([200, fresh])
    expect([await logsIn('host/keys/target', old), await logsIn('host/keys/target', key as string)]).toEqual([
      false,
      true,
    ])
    const [, next] = await rotate('', basic('host/keys/target', key as string))
    expect(next).toEqual(fresh)
    expect(await rotate('?role=acme:host:keys/target', basic('host/keys/target', next as string))).toEqual([
      200,
      fresh,
    ])
    expect(await rotate('?role=user:zed')).toEqual(missing('user:zed'))
    expect(await rotate('?role=user:pat@keys')).toEqual(missing('acme:user:pat@keys'))
    expect(await rotate('?role=host:keys/never')).toEqual(forbidden)
    expect(await rotate('?role=group:keys/ops')).toEqual(forbidden)
    expect(await rotate('?role=group:keys/ops', admin)).toEqual(notApplicable)
    expect(await rotate('?role=nonsense')).toEqual(argument('Invalid role: nonsense'))
    const never = basic('host/keys/never', keys['acme:host:keys/never']!)
    expect(await rotate('?role=host:keys/target', never)).toEqual(unauthorized)
    expect(await rotate('', {})).toEqual(unauthorized)
  })

  test('a token outlives the key that it was got with; the time of the rotation is told', async () => {
    const quinn = await new Client(admin.url, 'acme').login('quinn@keys', keys['acme:user:quinn@keys']!)
    expect((await rotate('?role=user:quinn@keys'))[0]).toBe(200)
    expect((await quinn.request('GET', '/whoami')).status).toBe(200)
    expect(await answered(rotator.request('GET', '/authn/acme/api_key?role=user:quinn@keys'))).toEqual([
      200,
      { role: 'acme:user:quinn@keys', timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}Z$/) },
    ])
  })

  test('a guess leaves its trace, wherever it is made', async () => {
    const guesses: [string, string][] = [
      ['PUT', '/authn/acme/api_key'],
      ['GET', '/authn/acme/api_key'],
      ['PUT', '/authn/acme/password'],
    ]
    for (const [i, [method, path]] of guesses.entries()) {
      const id = `guess-${i}`
      const headers = { ...basic('pat@keys', 'wrong'), 'X-Request-Id': id }
      expect(await answered(fetch(admin.url + path, { method, headers }))).toEqual(unauthorized)
      expect((await recordsOf(world, id)).map(({ message }) => message)).toEqual([
        'acme:user:pat@keys failed to login with authenticator authn service acme:webservice:conjur/authn: ' +
          'CONJ00002E Invalid credentials',
      ])
    }
  })
})

describe('passwords', () => {
  const change = (headers: Record<string, string>, body: string, query = ''): Promise<Answered> =>
    answered(fetch(`${admin.url}/authn/acme/password${query}`, { method: 'PUT', headers, body }))
  const key = () => keys['acme:user:pat@keys']!

  test('are changed with Basic, by users, and are not weak (http-api note 13)', async () => {
    expect(await change({ Authorization: admin.authorization }, PASSWORD)).toEqual(weak)
    const other = '?role=user:quinn@keys'
    expect(await change({ Authorization: admin.authorization }, PASSWORD, other)).toEqual(unauthorized)
    expect(await change(basic('pat@keys', key()), PASSWORD, other)).toEqual(unauthorized)
    expect(await change({}, PASSWORD)).toEqual(unauthorized)
    expect(await change(basic('pat@keys', 'wrong'), PASSWORD)).toEqual(unauthorized)
    const host = basic('host/app/web', world.keys.get('acme:host:app/web')!)
    expect(await change(host, PASSWORD)).toEqual(forbidden)
    const words =
      'CONJ00046E The password you have chosen does not meet the complexity requirements. Choose a password that ' +
      'includes: 12-128 characters, 2 uppercase letters, 2 lowercase letters, 1 digit'
    for (const text of [
      '',
      'Sh0rt-Pass',
      'no-uppercase-9-letters',
      'NO-LOWERCASE-9-LETTERS',
      'No-Digits-In-Here',
      'NoSpecial9Characters',
      'Line\nBreak-9-Password',
      `Aa-9${'x'.repeat(125)}`,
    ])
      expect(await change(basic('pat@keys', key()), text), text).toEqual([
        422,
        {
          error: {
            code: 'validation_failed',
            message: expect.stringContaining(words),
            details: [
              { code: 'validation_failed', target: 'password', message: expect.stringContaining(words) },
            ],
          },
        },
      ])
  })

  test('a new one works at once, and leaves the key as it was (http-api note 13)', async () => {
    const next = 'Another Horse 9'
    const login = (secret: string) =>
      answered(fetch(`${admin.url}/authn/acme/login`, { headers: basic('pat@keys', secret) }))
    expect(await change(basic('pat@keys', PASSWORD), next)).toEqual([204, ''])
    expect(await login(PASSWORD)).toEqual(unauthorized)
    expect(await login(next)).toEqual([200, key()])
    expect(await change(basic('pat@keys', key()), PASSWORD)).toEqual([204, ''])
    expect(await login(next)).toEqual(unauthorized)
    expect(await login(PASSWORD)).toEqual([200, key()])
  })
})
