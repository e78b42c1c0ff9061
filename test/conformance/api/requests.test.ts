// What holds for requests of every kind: paths that lead nowhere, and the form of errors (http-api 1, 2.1, 3).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Answered, answered, argument, startWorld, type World } from './world.ts'

const V2 = 'application/x.secretsmgr.v2beta+json'
const FORM = 'application/x-www-form-urlencoded'
const JSON_404: Answered = [404, { status: 404, error: 'Not Found' }]

let world: World
beforeAll(async () => {
  // A zone of its own: times that name none are UTC wherever a node stands.
  world = await startWorld({
    env: { TZ: 'America/New_York' },
    leaderEnv: { CONJUR_PASSWORD_BOB_APP: 'SEcret12!!!!' },
  })
}, 120_000)
afterAll(() => world.machine.stop())

describe.each(['leader', 'follower'] as const)('at the %s', (at) => {
  const ask = (method: string, path: string, headers: Record<string, string> = {}): Promise<Response> =>
    world.admin.at(world.machine[at].url).request(method, path, { headers })

  test.each([
    ['GET', '/no/such'],
    ['GET', '/roles/acme/planet/x'],
    ['GET', '/roles/acme/planet/x?members'],
    ['GET', '/resources/acme/planet'],
    ['GET', '/resources/acme/planet/x'],
    ['GET', '/secrets/acme/planet/x'],
    ['POST', '/secrets/acme/host/x'],
    ['GET', '/policies/acme/planet/x'],
    ['POST', '/policies/acme/planet/x'],
    ['GET', '/public_keys/acme/planet/x'],
    ['GET', '/issuers/acme'],
  ])('%s %s leads nowhere, which is said in JSON to whoever accepts it', async (method, path) => {
    expect(await answered(ask(method, path))).toEqual([404, ''])
    expect(await answered(ask(method, path, { Accept: 'application/json' }))).toEqual(JSON_404)
    const v2 = await ask(method, path, { Accept: V2 })
    expect([v2.status, v2.headers.get('content-type')]).toEqual([404, V2])
    expect(await v2.json()).toEqual({ code: '404', message: 'Not Found' })
  })

  test.each([
    ['GET', '/authn/acme/alice/authenticate'],
    ['GET', '/authn-jwt/ci/acme/authenticate'],
    ['POST', '/authn-oidc/acme/providers'],
    ['POST', '/authenticators'],
    ['GET', '/host_factories/hosts'],
    ['GET', '/assets/logo.png'],
    ['POST', '/'],
  ])('%s %s is no route, and no token is looked at (http-api note 3)', async (method, path) => {
    expect((await ask(method, path, { Authorization: 'Token token="bad"' })).status).toBe(404)
  })

  test.each(['/authn/acme/nothing', '/public_keys/acme'])(
    '%s looks at a token if there is one',
    async (path) => {
      expect((await ask('POST', path, { Authorization: '' })).status).toBe(404)
      expect((await ask('POST', path, { Authorization: 'Token token="bad"' })).status).toBe(401)
    },
  )

  test('what goes with an error status and is no error keeps its form in V2', async () => {
    const status = await ask('GET', '/authn-planet/x/acme/status', { Accept: V2 })
    expect([status.status, await status.json()]).toEqual([404, expect.objectContaining({ status: 'error' })])
    const missing = await ask('GET', '/resources/acme/variable/none', { Accept: V2 })
    expect(await missing.json()).toEqual({
      code: '404',
      message: "Variable 'none' not found in account 'acme'",
    })
  })
})

test.each([
  ['/accounts', '{"id":DEEP}', 'application/json'],
  ['/branches/acme', '{"name":"a","branch":"/","annotations":{"a":DEEP}}', V2],
  ['/authenticators/acme', '{"type":"jwt","name":"a","data":DEEP}', V2],
  ['/groups/acme/app/readers/members', '{"kind":DEEP,"id":"x"}', V2],
])('a body at %s that is nested deep is refused like one that is no JSON', async (path, body, type) => {
  for (const levels of [70, 30_000]) {
    const deep = body.replace('DEEP', '['.repeat(levels) + ']'.repeat(levels))
    const headers = { Accept: type, 'Content-Type': type }
    expect((await world.admin.request('POST', path, { body: deep, headers })).status).toBe(400)
  }
})

describe('a host factory', () => {
  const factory = (form: string): Promise<Answered> =>
    answered(
      world.admin.request('POST', '/host_factory_tokens', {
        body: `host_factory=acme:host_factory:app/factory&${form}`,
        headers: { 'Content-Type': FORM },
      }),
    )

  test.each(['2037-01-01T00:00:00', '2037-01-01 00:00', '2037-01-01', '2036-12-31T19:00:00-0500'])(
    'takes %s as UTC or as the zone says',
    async (expiration) => {
      expect(await factory(`expiration=${encodeURIComponent(expiration)}`)).toMatchObject([
        200,
        [{ expiration: '2037-01-01T00:00:00Z' }],
      ])
    },
  )

  test('makes no host whose annotation has a name that no store can hold', async () => {
    const [, tokens] = await factory('expiration=2037-01-01')
    const made = fetch(`${world.machine.leader.url}/host_factories/hosts`, {
      method: 'POST',
      headers: {
        Authorization: `Token token="${(tokens as { token: string }[])[0]!.token}"`,
        'Content-Type': FORM,
      },
      body: `id=h&annotations[${'n'.repeat(600)}]=v`,
    })
    expect(await answered(made)).toEqual(argument('Invalid annotation: its name is longer than 500 bytes'))
  })
})

test.each(['-1', '0', '7', '9'.repeat(20)])('there is no version %s of a secret', async (version) => {
  const got = world.admin.request('GET', `/secrets/acme/variable/app%2Fdb%2Fpw?version=${version}`)
  const message = 'CONJ00076E Variable acme:variable:app/db/pw is empty or not found.'
  expect(await answered(got)).toEqual([404, { error: { code: 'not_found', message } }])
})

test.each([
  ['ssh-ecdsa-nistp256 AAAA work', 201],
  ['ssh-rsa AAAA', 201],
  ['ssh-x AAAA', 422],
])('the public key %j is answered %d', async (line, status) => {
  const set = await world.admin.request('POST', '/secrets/acme/public_key/user%2Fbob%40app%2Flaptop', {
    body: line,
  })
  expect(set.status).toBe(status)
})

test('a user whose password stands in the environment logs in with it', async () => {
  const login = (user: string): Promise<Answered> =>
    answered(
      fetch(`${world.machine.leader.url}/authn/acme/login`, {
        headers: { Authorization: `Basic ${btoa(`${user}:SEcret12!!!!`)}` },
      }),
    )
  expect(await login('bob@app')).toEqual([200, world.keys.get('acme:user:bob@app')])
  expect(await login('alice@app')).toEqual([401, ''])
})

test('a report of a dry run keeps its form in V2', async () => {
  const report = await world.admin.request('POST', '/policies/acme/policy/root?dryRun=true', {
    body: '- !planet x\n',
    headers: { Accept: V2 },
  })
  expect([report.status, await report.json()]).toEqual([
    422,
    { status: 'Invalid YAML', errors: [expect.objectContaining({ line: 1, column: 0 })] },
  ])
})
