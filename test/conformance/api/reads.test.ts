// Every read of the API, at the Leader and at a Follower: the same request, the same answer (http-api 7-12, 17).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../../support/nodes.ts'
import { startWorld, type World } from './world.ts'

type Who = 'admin' | 'web' | 'onlooker' | 'nobody'
type Case = {
  readonly name: string
  readonly as: Who
  readonly path: string
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly status: number
  /** Text, or a part of the JSON. */
  readonly body?: unknown
}

const empty = 'CONJ00076E Variable acme:variable:app/NAME is empty or not found.'
const notFound = (name: string) => ({ error: { code: 'not_found', message: empty.replace('NAME', name) } })
const record = (kind: string, id: string) => ({
  error: {
    code: 'not_found',
    message: `${kind[0]!.toUpperCase()}${kind.slice(1)} '${id}' not found in account 'acme'`,
    target: kind,
    details: { code: 'not_found', target: 'id', message: `acme:${kind}:${id}` },
  },
})

const cases: readonly Case[] = [
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
  { name: 'health is open', as: 'nobody', path: '/health', status: 200, body: { ok: true } },
  {
    name: 'note 24: /authenticators is public',
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
    name: 'note 4: an unknown route without a token is 401',
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

  { name: 'a secret', as: 'web', path: '/secrets/acme/variable/app%2Fdb%2Fpw', status: 200, body: 'one' },
  {
    name: 'a secret with plain slashes',
    as: 'web',
    path: '/secrets/acme/variable/app/db/pw',
    status: 200,
    body: 'one',
  },
  {
    name: 'a version',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw?version=1',
    status: 200,
    body: 'one',
  },
  {
    name: 'note 5: no such version',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw?version=9',
    status: 404,
    body: notFound('db/pw'),
  },
  {
    name: 'a version that is no number',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw?version=x',
    status: 422,
    body: { error: { code: 'argument_error', message: "invalid type for parameter 'version'" } },
  },
  {
    name: 'note 5: no value yet',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fempty',
    status: 404,
    body: notFound('empty'),
  },
  {
    name: 'note 5: no such variable',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fabsent',
    status: 404,
    body: notFound('absent'),
  },
  {
    name: 'note 5: an invisible variable looks the same',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fhidden',
    status: 404,
    body: notFound('hidden'),
  },
  {
    name: 'note 5: visible but not executable',
    as: 'onlooker',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw',
    status: 403,
    body: '',
  },
  {
    name: 'an id with blank, plus and colon',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fodd%20a+b%3Ac',
    status: 404,
    body: notFound('odd a+b:c'),
  },
  {
    name: 'HEAD',
    as: 'web',
    method: 'HEAD',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw',
    status: 200,
    body: '',
  },

  {
    name: 'a batch',
    as: 'web',
    path: '/secrets?variable_ids=acme:variable:app%2Fdb%2Fpw',
    status: 200,
    body: { 'acme:variable:app/db/pw': 'one' },
  },
  {
    name: 'note 7: duplicates are answered once',
    as: 'web',
    path: '/secrets?variable_ids=acme:variable:app/db/pw,acme:variable:app/db/pw',
    status: 200,
    body: { 'acme:variable:app/db/pw': 'one' },
  },
  {
    name: 'note 8: base64',
    as: 'web',
    path: '/secrets?variable_ids=acme:variable:app/db/pw',
    headers: { 'Accept-Encoding': 'base64' },
    status: 200,
  },
  {
    name: 'note 7: an empty list',
    as: 'web',
    path: '/secrets?variable_ids=',
    status: 422,
    body: { error: { code: 'argument_error', message: 'variable_ids' } },
  },
  { name: 'note 7: an empty item', as: 'web', path: '/secrets?variable_ids=a,,b', status: 422 },
  {
    name: 'note 7: 403 comes before 404, even unseen',
    as: 'web',
    path: '/secrets?variable_ids=acme:variable:app/absent,acme:variable:app/hidden',
    status: 403,
    body: '',
  },
  {
    name: 'a batch with one that is missing',
    as: 'web',
    path: '/secrets?variable_ids=acme:variable:app/db/pw,acme:variable:app/absent',
    status: 404,
    body: notFound('absent'),
  },

  {
    name: 'a resource',
    as: 'web',
    path: '/resources/acme/variable/app%2Fdb%2Fpw',
    status: 200,
    body: {
      id: 'acme:variable:app/db/pw',
      owner: 'acme:policy:app',
      policy: 'acme:policy:root',
      secrets: [{ version: 1, expires_at: null }],
    },
  },
  {
    name: 'note 1: an unseen resource',
    as: 'web',
    path: '/resources/acme/variable/app%2Fhidden',
    status: 404,
    body: record('variable', 'app/hidden'),
  },
  {
    name: 'note 31: HEAD of an unseen resource',
    as: 'web',
    method: 'HEAD',
    path: '/resources/acme/variable/app%2Fhidden',
    status: 404,
    body: '',
  },
  {
    name: 'restricted_to is shown with its mask',
    as: 'admin',
    path: '/resources/acme/host/app%2Ffar',
    status: 200,
    body: { restricted_to: ['10.99.0.0/16'] },
  },
  { name: 'an unknown kind is no route', as: 'web', path: '/resources/acme/thing/x', status: 404, body: '' },
  {
    name: 'note 2: check, allowed',
    as: 'web',
    path: '/resources/acme/variable/app%2Fdb%2Fpw?check&privilege=execute',
    status: 204,
    body: '',
  },
  {
    name: 'note 2: check, denied',
    as: 'onlooker',
    path: '/resources/acme/variable/app%2Fdb%2Fpw?check&privilege=execute',
    status: 404,
    body: '',
  },
  {
    name: 'note 2: check of an unseen resource',
    as: 'web',
    path: '/resources/acme/variable/app%2Fhidden?check&privilege=read',
    status: 404,
    body: record('variable', 'app/hidden'),
  },
  {
    name: 'check without a privilege',
    as: 'web',
    path: '/resources/acme/variable/app%2Fdb%2Fpw?check',
    status: 422,
    body: { error: { code: 'argument_error', message: 'privilege' } },
  },
  {
    name: 'check as a role that is not held',
    as: 'web',
    path: '/resources/acme/variable/app%2Fdb%2Fpw?check&privilege=read&role=acme:host:app/onlooker',
    status: 403,
    body: '',
  },
  {
    name: 'permitted roles',
    as: 'web',
    path: '/resources/acme/variable/app%2Fdb%2Fpw?permitted_roles&privilege=execute',
    status: 200,
    body: [
      'acme:group:app/readers',
      'acme:host:app/web',
      'acme:policy:app',
      'acme:user:admin',
      'acme:user:alice@app',
    ],
  },
  {
    name: 'a list of one kind',
    as: 'onlooker',
    path: '/resources/acme/variable',
    status: 200,
    body: [
      { id: 'acme:variable:app/db/pw' },
      { id: 'acme:variable:app/empty' },
      { id: 'acme:variable:app/odd a+b:c' },
    ],
  },
  {
    name: 'note 14: pages',
    as: 'onlooker',
    path: '/resources/acme/variable?limit=1&offset=1',
    status: 200,
    body: [{ id: 'acme:variable:app/empty' }],
  },
  {
    name: 'note 15: count',
    as: 'onlooker',
    path: '/resources/acme?count=true',
    status: 200,
    body: { count: 3 },
  },
  {
    name: 'note 15: an empty role is ignored',
    as: 'onlooker',
    path: '/resources/acme/variable?role=&limit=1',
    status: 200,
    body: [{ id: 'acme:variable:app/db/pw' }],
  },
  {
    name: 'note 15: an acting role that is not held',
    as: 'onlooker',
    path: '/resources/acme?acting_as=acme:host:app/web',
    status: 403,
    body: '',
  },
  {
    name: 'a limit that is no number',
    as: 'onlooker',
    path: '/resources/acme?limit=x',
    status: 422,
    body: {
      error: {
        code: 'unprocessable_entity',
        message: "'limit' contains an invalid value. 'limit' must be a positive integer.",
      },
    },
  },
  {
    name: 'a limit above the cap',
    as: 'onlooker',
    path: '/resources/acme?limit=1001',
    status: 422,
    body: { error: { message: "'Limit' parameter must not exceed 1000" } },
  },
  {
    name: 'note 15: the one limit above the cap',
    as: 'onlooker',
    path: '/resources/acme/variable?limit=10000',
    status: 200,
  },
  {
    name: 'note 16: stemmed search',
    as: 'onlooker',
    path: '/resources/acme?search=run%20DATABASE',
    status: 200,
    body: [{ id: 'acme:variable:app/db/pw' }],
  },
  {
    name: 'note 16: no match',
    as: 'onlooker',
    path: '/resources/acme?search=nothing',
    status: 200,
    body: [],
  },
  { name: 'an unknown account', as: 'onlooker', path: '/resources/other', status: 200, body: [] },

  {
    name: 'a role',
    as: 'admin',
    path: '/roles/acme/group/app%2Freaders',
    status: 200,
    body: { id: 'acme:group:app/readers', policy: 'acme:policy:root' },
  },
  {
    name: 'a role that is not seen',
    as: 'onlooker',
    path: '/roles/acme/group/app%2Freaders',
    status: 404,
    body: record('group', 'app/readers'),
  },
  {
    name: 'members',
    as: 'admin',
    path: '/roles/acme/group/app%2Freaders?members',
    status: 200,
    body: [
      { member: 'acme:host:app/web', ownership: false },
      { member: 'acme:policy:app', ownership: true, admin_option: true },
      { member: 'acme:user:alice@app' },
    ],
  },
  {
    name: 'members of a kind',
    as: 'admin',
    path: '/roles/acme/group/app%2Freaders?members&kind=user',
    status: 200,
    body: [{ member: 'acme:user:alice@app' }],
  },
  {
    name: 'members counted',
    as: 'admin',
    path: '/roles/acme/group/app%2Freaders?members&count',
    status: 200,
    body: { count: 3 },
  },
  {
    name: 'note 17: memberships are direct',
    as: 'admin',
    path: '/roles/acme/host/app%2Fweb?memberships',
    status: 200,
    body: [{ role: 'acme:group:app/readers' }, { role: 'acme:group:app/writers' }],
  },
  {
    name: 'note 17: all includes the role itself',
    as: 'web',
    path: '/roles/acme/host/app%2Fweb?all',
    status: 200,
    body: ['acme:group:app/readers', 'acme:group:app/writers', 'acme:host:app/web'],
  },
  {
    name: 'all, filtered',
    as: 'web',
    path: '/roles/acme/host/app%2Fweb?all&filter[]=group:app/readers',
    status: 200,
    body: ['acme:group:app/readers'],
  },
  { name: 'graph', as: 'admin', path: '/roles/acme/host/app%2Fweb?graph', status: 200 },
  {
    name: 'public keys need no token',
    as: 'nobody',
    path: '/public_keys/acme/user/bob%40app',
    status: 200,
    body: 'ssh-ed25519 AAAAC3Nz laptop\n',
  },
  {
    name: 'note 21: public keys of nobody',
    as: 'nobody',
    path: '/public_keys/acme/user/zed',
    status: 200,
    body: '\n',
  },
  {
    name: 'note 3: a bad token on public keys',
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

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.machine.stop())

const clientOf = (who: Who): Client =>
  who === 'nobody' ? new Client(world.machine.leader.url, 'acme') : world[who]

describe.each(['leader', 'follower'] as const)('read at the %s', (node) => {
  test.each(cases)('$name', async (c) => {
    const client = clientOf(c.as).at(world.machine[node].url)
    const headers = c.as === 'nobody' ? { Authorization: '', ...c.headers } : c.headers
    const response = await client.request(c.method ?? 'GET', c.path, { headers: headers ?? {} })
    const text = await response.text()
    expect(`${response.status} ${text}`).toMatch(new RegExp(`^${c.status} `))
    if (c.body === undefined) return
    if (typeof c.body === 'object' && !('asymmetricMatch' in (c.body as object))) {
      expect(JSON.parse(text)).toMatchObject(c.body as object)
    } else expect(text).toEqual(c.body)
  })

  test('a read tells its position and its age', async () => {
    const response = await world.web.at(world.machine[node].url).getSecret('app/db/pw')
    expect(response.headers.get('holdfast-position')).toMatch(/^1\.\d+$/)
    expect(Number(response.headers.get('holdfast-age-ms'))).toBeGreaterThanOrEqual(0)
    expect(response.headers.get('content-type')).toBe('text/plain')
    expect(response.headers.get('content-disposition')).toBe('attachment')
  })

  test('note 9, 10: authenticate with a key, never with a wrong one', async () => {
    const client = new Client(world.machine[node].url, 'acme')
    await client.login('host/app/web', world.keys.get('acme:host:app/web')!)
    expect((await client.getSecret('app/db/pw')).status).toBe(200)
    await expect(client.login('host/app/web', 'wrong')).rejects.toThrow('401')
    await expect(client.login('host/app/nobody', 'wrong')).rejects.toThrow('401')
  })

  test('note 11: a foreign origin may not authenticate, but may log in', async () => {
    const key = world.keys.get('acme:host:app/far')!
    const client = new Client(world.machine[node].url, 'acme')
    await expect(client.login('host/app/far', key)).rejects.toThrow('401')
    const basic = `Basic ${btoa(`host/app/far:${key}`)}`
    const login = await client.request('GET', '/authn/acme/login', { headers: { Authorization: basic } })
    expect([login.status, await login.text()]).toEqual([200, key])
  })

  test('a token of either node is believed by the other', async () => {
    const other = node === 'leader' ? world.machine.follower : world.machine.leader
    const client = await new Client(other.url, 'acme').login(
      'host/app/web',
      world.keys.get('acme:host:app/web')!,
    )
    expect((await client.at(world.machine[node].url).getSecret('app/db/pw')).status).toBe(200)
  })
})
