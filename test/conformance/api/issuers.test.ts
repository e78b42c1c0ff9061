// Issuers, and the secrets that an engine makes of them when they are read (http-api 12, 14; policy 3).
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  argument,
  loadedBy,
  settled,
  startWorld,
  unprocessable,
  type World,
} from './world.ts'

const policy = `
- !policy
  id: data
  body:
  - !policy dynamic
  - !variable plain
- !host maker
- !host reader
- !host app
- !host seer
- !host stranger
- !permit { role: !host maker, privileges: [ create, update ], resource: !policy data/dynamic }
- !permit { role: !host app, privileges: [ read, execute ], resource: !variable data/plain }
`
const KEY = {
  access_key_id: 'AKIAIOSFODNN7EXAMPLE',
  secret_access_key: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
}
const aws = (id: string, more: object = {}) => ({ id, type: 'aws', max_ttl: 3600, data: KEY, ...more })

type Asked = { readonly requestId: unknown; readonly body: Record<string, unknown> }

let engine: Server
let asked: Asked[] = []
/** How the engine answers. */
const made = { status: 200, text: '{"data":{"access_key_id":"ASIA","n":1}}' }

let world: World
const clients: Record<string, Client> = {}
beforeAll(async () => {
  engine = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    asked.push({ requestId: request.headers['x-request-id'], body: JSON.parse(text) })
    response.writeHead(request.url === '/engine/secrets' ? made.status : 404).end(made.text)
  }).listen(0, '127.0.0.1')
  await once(engine, 'listening')
  world = await startWorld({
    env: {
      CONJUR_FEATURE_DYNAMIC_SECRETS_ENABLED: 'true',
      CONJUR_DYNAMIC_SECRETS_PER_REQUEST_MAX: '2',
      HOLDFAST_SECRET_ENGINE_URL: `http://127.0.0.1:${(engine.address() as AddressInfo).port}/engine`,
    },
  })
  const as = await loadedBy(world.admin, policy)
  for (const name of ['maker', 'reader', 'app', 'seer', 'stranger']) clients[name] = await as(`host/${name}`)
  clients.admin = world.admin
})
afterAll(async () => {
  await world?.machine.stop()
  engine.close()
})

const ask = (as: string, method: string, path: string, body?: unknown, type = 'application/json') =>
  answered(
    clients[as]!.request(method, path, {
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      headers: { 'Content-Type': type },
    }),
  )
const create = (as: string, body: unknown, type?: string) => ask(as, 'POST', '/issuers/acme', body, type)
const one = (as: string, id: string, query = '') => ask(as, 'GET', `/issuers/acme/${id}${query}`)
const change = (as: string, id: string, body: unknown) => ask(as, 'PATCH', `/issuers/acme/${id}`, body)
const drop = (as: string, id: string, query = '') => ask(as, 'DELETE', `/issuers/acme/${id}${query}`)

const badRequest = (message: string) => [400, { error: { code: 'bad_request', message } }]
const missing = [404, { error: { code: 'not_found', message: 'Issuer not found' } }]
const shown = (id: string, more: object = {}) => ({
  id,
  account: 'acme',
  max_ttl: 3600,
  type: 'aws',
  data: { access_key_id: KEY.access_key_id, secret_access_key: '*****' },
  created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*\+00:00$/),
  modified_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*\+00:00$/),
  ...more,
})
const exists = async (kind: string, id: string): Promise<boolean> =>
  (await ask('admin', 'GET', `/resources/acme/${kind}/${encodeURIComponent(id)}`))[0] === 200

/** Newest first. */
async function records(msgid: string, limit: number): Promise<{ severity: number; message: string }[]> {
  const [, rows] = await ask('admin', 'GET', `/audit?msgid=${msgid}&limit=${limit}`)
  return rows as { severity: number; message: string }[]
}

describe('issuers', () => {
  test('before there are any: nobody but who holds the admin may make or list them (http-api note 32)', async () => {
    expect(await create('stranger', aws('aws-1'))).toEqual([403, ''])
    expect(await create('maker', {})).toEqual([403, ''])
    expect(await ask('stranger', 'GET', '/issuers/acme')).toEqual([403, ''])
    expect(await create('admin', {})).toEqual(badRequest('id is a required parameter and must be specified'))
    expect(await exists('policy', 'conjur/issuers')).toBe(false)
    expect(await ask('admin', 'GET', '/issuers/acme')).toEqual([200, { issuers: [] }])
    expect((await records('issuer', 4)).map(({ severity, message }) => [severity, message])).toEqual([
      [6, 'acme:user:admin listed acme:issuer:*'],
      [4, 'acme:user:admin tried to add acme:issuer:: id is a required parameter and must be specified'],
      [4, 'acme:host:stranger tried to list acme:issuer:*: Forbidden'],
      [4, 'acme:host:maker tried to add acme:issuer:: Forbidden'],
    ])
  })

  test('the first makes the policies, and a group that may use it', async () => {
    expect(await create('admin', aws('aws-1'))).toEqual([201, shown('aws-1')])
    const [, resource] = await ask('admin', 'GET', '/resources/acme/policy/conjur%2Fissuers')
    expect(resource).toMatchObject({ owner: 'acme:user:admin', policy: 'acme:policy:root' })
    const [, own] = await ask('admin', 'GET', '/resources/acme/policy/conjur%2Fissuers%2Faws-1')
    const consumers = 'acme:group:conjur/issuers/aws-1/delegation/consumers'
    const permission = (privilege: string) => ({
      privilege,
      role: consumers,
      policy: 'acme:policy:conjur/issuers',
    })
    expect(own).toMatchObject({
      owner: 'acme:policy:conjur/issuers',
      policy: 'acme:policy:conjur/issuers',
      permissions: [permission('read'), permission('use')],
    })
    expect(await exists('policy', 'conjur/issuers/aws-1/delegation')).toBe(true)
    const [, group] = await ask(
      'admin',
      'GET',
      `/resources/acme/group/conjur%2Fissuers%2Faws-1%2Fdelegation%2Fconsumers`,
    )
    expect(group).toMatchObject({ owner: 'acme:policy:conjur/issuers/aws-1/delegation' })
    const [event] = await records('issuer', 1)
    expect(event).toMatchObject({
      severity: 6,
      message: 'acme:user:admin added acme:issuer:aws-1',
      sdata: {
        'subject@43868': { account: 'acme', issuer: 'aws-1' },
        'action@43868': { result: 'success', operation: 'add' },
      },
    })
  })

  test('is made of a form too, and of whatever name is one', async () => {
    const form = `id=A%2Bb_c&type=aws&max_ttl=900&data[access_key_id]=${KEY.access_key_id}&data[secret_access_key]=${encodeURIComponent(KEY.secret_access_key)}`
    expect(await create('admin', form, 'application/x-www-form-urlencoded')).toEqual([
      201,
      shown('A+b_c', { max_ttl: 900 }),
    ])
    expect(await create('admin', form, 'text\\plain')).toMatchObject([409, {}])
  })

  test('one that is there, and what is wrong with a new one', async () => {
    expect(await create('admin', aws('aws-1'))).toEqual([
      409,
      {
        error: {
          code: 'conflict',
          message: 'issuer "aws-1" already exists',
          target: 'issuer',
          details: { code: 'conflict', target: 'id', message: 'aws-1' },
        },
      },
    ])
    expect(await create('admin', aws('x', { max_ttl: 899 }))).toEqual(
      badRequest("the 'max_ttl' parameter must be a between 900 and 43200"),
    )
    expect(await create('admin', aws('x', { max_ttl: '3600' }))).toEqual(
      badRequest("the 'max_ttl' parameter must be a positive integer"),
    )
    expect(await create('admin', aws('x', { type: 'gcp' }))).toEqual(badRequest('issuer type is unsupported'))
    expect(await create('admin', aws('x', { more: 1 }))).toEqual(
      badRequest(
        'invalid parameter received in the request body. Only id, type, max_ttl and data are allowed',
      ),
    )
    for (const id of ['a/b', 'a.b', 'a\0b', '\ud800', 'a b'])
      expect(await create('admin', aws(id))).toEqual(
        badRequest(
          "invalid 'id' parameter. Only the following characters are supported: A-Z, a-z, 0-9, +, -, and _",
        ),
      )
    expect(await create('admin', aws('x', { data: { ...KEY, secret_access_key: 'too short' } }))).toEqual(
      unprocessable(
        "invalid 'secret_access_key' parameter format. The secret access key must be a valid AWS secret access key.",
      ),
    )
    for (const body of ['[]', '{', 'null', '"x"']) expect(await create('admin', body)).toEqual([400, ''])
    expect(await create('admin', '')).toEqual(badRequest('id is a required parameter and must be specified'))
    expect(JSON.stringify(await records('issuer', 10))).not.toContain('too short')
  })

  test('of an account that is not there are nobody’s', async () => {
    expect(await ask('admin', 'POST', '/issuers/none', aws('x'))).toEqual([403, ''])
    expect(await ask('admin', 'GET', '/issuers/none')).toEqual([403, ''])
    expect(await ask('admin', 'GET', '/issuers/none/aws-1')).toEqual(missing)
  })

  test('are updated: a time to live only grows, keys come in pairs', async () => {
    expect(await create('admin', aws('upd'))).toMatchObject([201, {}])
    expect(await change('admin', 'upd', { max_ttl: 3599 })).toEqual(
      badRequest('The new max_ttl must be equal or higher than the current max_ttl'),
    )
    expect(await change('admin', 'upd', { max_ttl: 43_201 })).toEqual(
      badRequest("the 'max_ttl' parameter must be a between 900 and 43200"),
    )
    expect(await change('admin', 'upd', { id: 'x' })).toEqual(
      badRequest('invalid parameter received in the request body. Only max_ttl and data are allowed'),
    )
    expect(await change('admin', 'upd', { data: { access_key_id: KEY.access_key_id } })).toEqual(
      unprocessable('secret_access_key is a required parameter and must be specified'),
    )
    expect(await change('admin', 'upd', {})).toEqual([200, shown('upd')])
    const data = { ...KEY, access_key_id: 'AKIAIOSFODNN7EXAMPL2' }
    const masked = { access_key_id: data.access_key_id, secret_access_key: '*****' }
    expect(await change('admin', 'upd', { max_ttl: 4000, data })).toEqual([
      200,
      shown('upd', { max_ttl: 4000, data: masked }),
    ])
    expect(await one('admin', 'upd')).toEqual([200, shown('upd', { max_ttl: 4000, data: masked })])
    expect((await records('issuer', 2)).map(({ message }) => message)).toEqual([
      'acme:user:admin fetched acme:issuer:upd',
      'acme:user:admin updated acme:issuer:upd',
    ])
  })

  test('rights: consumers read, others see nothing', async () => {
    const grant = (group: string, host: string) =>
      world.admin.request(
        'POST',
        `/roles/acme/group/${encodeURIComponent(group)}?members&member=acme:host:${host}`,
      )
    const consumers = 'conjur/issuers/aws-1/delegation/consumers'
    for (const host of ['maker', 'reader']) expect((await grant(consumers, host)).status).toBe(204)
    const permit =
      '- !permit { role: !host /seer, privileges: [ execute ], resource: !policy aws-1 }\n' +
      '- !permit { role: !host /seer, privileges: [ execute ], resource: !policy upd }\n'
    expect((await world.admin.loadPolicy('conjur/issuers', permit)).status).toBe(201)

    expect(await one('seer', 'aws-1')).toEqual([403, ''])
    expect(await one('stranger', 'aws-1')).toEqual(missing)
    expect(await one('admin', 'none')).toEqual(missing)
    expect(await one('admin', 'aws-1%2Fdelegation')).toEqual(missing)
    expect(await change('reader', 'aws-1', { max_ttl: 5000 })).toEqual([403, ''])
    expect(await change('stranger', 'aws-1', { max_ttl: 5000 })).toEqual(missing)
    expect(await drop('reader', 'aws-1')).toEqual([403, ''])
    expect(await drop('stranger', 'aws-1')).toEqual(missing)
    expect(await drop('admin', 'none')).toEqual(missing)
    expect(await create('reader', aws('x'))).toEqual([403, ''])
    expect((await records('issuer', 2)).map(({ message }) => message)).toEqual([
      'acme:host:reader tried to add acme:issuer:x: Forbidden',
      'acme:user:admin tried to remove acme:issuer:none: Issuer not found',
    ])
  })
})

const variable = (id: string, annotations: Record<string, string | number> = {}) => `
- !variable
  id: ${id}
  annotations: ${JSON.stringify({ 'dynamic/issuer': 'aws-1', 'dynamic/method': 'assume-role', ...annotations })}
`
const load = (text: string, query = '', as = 'maker') =>
  ask(as, 'POST', `/policies/acme/policy/data%2Fdynamic${query}`, text)
const invalid = (message: string) => [422, { error: { code: 'policy_invalid', message } }]

describe('dynamic variables', () => {
  test('are loaded by who may use their issuer', async () => {
    const permits =
      '- !permit { role: !host /app, privileges: [ read, execute ], resources: [ !variable key, !variable two, !variable three ] }\n' +
      '- !permit { role: !host /app, privileges: [ update ], resource: !variable key }\n' +
      '- !permit { role: !host /seer, privileges: [ read ], resource: !variable key }\n'
    const text = variable('key', {
      'dynamic/role-arn': 'arn:aws:iam::1:role/x',
      'dynamic/ttl': 3600,
      note: 'n',
    })
    const [status] = await load(text + variable('two') + variable('three') + permits)
    expect(status).toBe(201)
    for (const query of ['', '?dryRun=true']) {
      expect(await load(variable('x', { 'dynamic/issuer': 'upd' }), query)).toMatchObject([422, {}])
    }
    expect(await load(variable('x', { 'dynamic/issuer': 'upd' }))).toEqual(
      invalid("Issuer 'upd' not found in account 'acme'"),
    )
    expect(await load('- !variable x')).toEqual(
      invalid("The dynamic variable 'data/dynamic/x' has no issuer annotation"),
    )
    expect(await load(variable('x', { 'dynamic/ttl': 3601 }))).toEqual(
      invalid("The TTL of the dynamic secret can't exceed the maximum TTL defined in the issuer."),
    )
    expect(await ask('admin', 'POST', '/policies/acme/policy/data', variable('elsewhere'))).toEqual(
      invalid("The dynamic variable 'data/elsewhere' is not in the correct path"),
    )
    expect(await load(variable('y'), '?dryRun=true')).toMatchObject([200, { status: 'Valid YAML' }])
    expect(await exists('variable', 'data/dynamic/y')).toBe(false)
    await settled(world)
  })

  test('take no values', async () => {
    const message = 'adding a static secret to a dynamic secret variable is not allowed'
    const no = [405, { error: { code: 'method_not_allowed', message } }]
    expect(await answered(clients.app!.setSecret('data/dynamic/key', 'x'))).toEqual(no)
    expect(await answered(clients.app!.setSecret('data/dynamic/key', ''))).toEqual(no)
    expect((await clients.app!.setSecret('data/dynamic/two', 'x')).status).toBe(403)
    expect((await clients.stranger!.setSecret('data/dynamic/key', 'x')).status).toBe(404)
    const [event] = await records('update', 3).then((rows) => rows.slice(2))
    expect(event!.message).toBe(`acme:host:app tried to update acme:variable:data/dynamic/key: ${message}`)
    expect((await world.admin.setSecret('data/plain', 'static')).status).toBe(201)
    await settled(world)
  })
})

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const at = (as: string) => clients[as]!.at(world.machine[node].url)
  const get = (as: string, path: string): Promise<Answered> => answered(at(as).request('GET', path))
  const id = (name: string) => `acme:variable:data/dynamic/${name}`
  const batch = (as: string, ids: readonly string[], headers = {}) =>
    answered(
      at(as).request('GET', `/secrets?variable_ids=${ids.map(encodeURIComponent).join(',')}`, { headers }),
    )

  test('issuers are listed, sorted by what is asked for', async () => {
    const ids = async (query: string) =>
      ((await get('admin', `/issuers/acme${query}`))[1] as { issuers: { id: string }[] }).issuers.map(
        (i) => i.id,
      )
    expect(await get('admin', '/issuers/acme')).toEqual([
      200,
      {
        issuers: [
          shown('A+b_c', { max_ttl: 900 }),
          shown('aws-1'),
          shown('upd', { max_ttl: 4000, data: expect.anything() }),
        ],
      },
    ])
    expect(await ids('?sort=max_ttl')).toEqual(['A+b_c', 'aws-1', 'upd'])
    expect(await ids('?sort=created_at')).toEqual(['aws-1', 'A+b_c', 'upd'])
    expect(await get('admin', '/issuers/acme?sort=data')).toMatchObject([
      400,
      { error: { code: 'bad_request' } },
    ])
    expect(await get('reader', '/issuers/acme')).toEqual([403, ''])
  })

  test('an issuer is shown without its key', async () => {
    expect(await get('admin', '/issuers/acme/aws-1')).toEqual([200, shown('aws-1')])
    expect(await get('reader', '/issuers/acme/aws-1')).toEqual([200, shown('aws-1')])
    expect(await get('reader', '/issuers/acme/aws-1?projection=minimal')).toEqual([200, { max_ttl: 3600 }])
    expect(await get('reader', '/issuers/acme/aws-1?projection=full')).toEqual(
      argument("Invalid value for parameter 'projection': full"),
    )
    expect(await get('seer', '/issuers/acme/aws-1?projection=minimal')).toEqual([403, ''])
    expect(await get('stranger', '/issuers/acme/aws-1')).toEqual(missing)
  })

  test('a dynamic secret is what the engine makes for who asks', async () => {
    asked = []
    for (const path of ['data/dynamic/key', 'data%2Fdynamic%2Fkey', 'data/dynamic/key?version=7']) {
      const response = await at('app').request('GET', `/secrets/acme/variable/${path}`, {
        headers: { 'X-Request-Id': 'asked-1' },
      })
      expect([response.status, response.headers.get('content-type'), await response.text()]).toEqual([
        200,
        'application/json',
        made.text,
      ])
      expect(response.headers.get('content-disposition')).toBe('attachment')
    }
    expect(asked).toHaveLength(3)
    expect(asked[0]).toEqual({
      requestId: 'asked-1',
      body: {
        type: 'aws',
        method: 'assume-role',
        role: 'acme:host:app',
        issuer: { max_ttl: 3600, data: KEY },
        secret: { issuer: 'aws-1', method: 'assume-role', role_arn: 'arn:aws:iam::1:role/x', ttl: '3600' },
      },
    })
  })

  test('is asked of the engine by nobody else', async () => {
    asked = []
    const absent = (name: string) => [
      404,
      { error: { code: 'not_found', message: `CONJ00076E Variable ${id(name)} is empty or not found.` } },
    ]
    expect(await get('seer', '/secrets/acme/variable/data/dynamic/key')).toEqual([403, ''])
    expect(await get('stranger', '/secrets/acme/variable/data/dynamic/key')).toEqual(absent('key'))
    expect(await get('app', '/secrets/acme/variable/data/dynamic/none')).toEqual(absent('none'))
    expect(await batch('seer', [id('key')])).toEqual([403, ''])
    expect(await batch('app', [id('key'), id('none')])).toEqual(absent('none'))
    expect(asked).toEqual([])
  })

  test('a batch holds both kinds, and not too many dynamic ones', async () => {
    const plain = 'acme:variable:data/plain'
    const ids = [id('key'), plain, id('two')]
    expect(await batch('app', ids)).toEqual([
      200,
      { [id('key')]: made.text, [plain]: 'static', [id('two')]: made.text },
    ])
    const [, encoded] = await batch('app', ids, { 'Accept-Encoding': 'base64' })
    expect(atob((encoded as Record<string, string>)[id('two')]!.replaceAll('\n', ''))).toBe(made.text)
    expect(await batch('app', [id('key'), id('two'), id('three')])).toEqual(
      unprocessable(
        'Number of dynamic secrets requested exceeds the maximum allowed in a single request (2)',
      ),
    )
    expect(await batch('app', [id('key'), id('key'), id('key'), id('two')])).toMatchObject([200, {}])
  })

  test('what the engine refuses is told without the key, and recorded', async () => {
    const was = { ...made }
    Object.assign(made, {
      status: 400,
      text: JSON.stringify({ code: 'x-1', message: `no ${KEY.secret_access_key}` }),
    })
    const error = 'Failed to create the dynamic secret. Code: x-1, Message: no *****, description: '
    expect(await get('app', '/secrets/acme/variable/data/dynamic/key')).toEqual(unprocessable(error))
    expect(await batch('app', [id('two')])).toEqual(unprocessable(error))
    Object.assign(made, { status: 500, text: 'broken' })
    expect(await get('app', '/secrets/acme/variable/data/dynamic/key')).toEqual([502, ''])
    expect(await batch('app', [id('two')])).toEqual([502, ''])
    Object.assign(made, was)
    if (node === 'follower') return
    const rows = await records('fetch', 4)
    expect(rows.map(({ severity, message }) => [severity, message])).toEqual([
      [4, `acme:host:app tried to fetch ${id('two')}: The secret engine did not answer with JSON`],
      [4, `acme:host:app tried to fetch ${id('key')}: The secret engine did not answer with JSON`],
      [4, `acme:host:app tried to fetch ${id('two')}: ${error}`],
      [4, `acme:host:app tried to fetch ${id('key')}: ${error}`],
    ])
    await get('app', '/secrets/acme/variable/data/dynamic/key')
    expect((await records('fetch', 1))[0]).toMatchObject({
      severity: 6,
      message: `acme:host:app fetched ${id('key')}`,
    })
  })
})

test('a Follower writes none, whatever it is asked', async () => {
  const follower = (as: string, method: string, path: string, body?: object) =>
    answered(
      clients[as]!.at(world.machine.follower.url).request(method, path, {
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        headers: { 'Content-Type': 'application/json' },
      }),
    )
  const no = [405, { error: { code: 405, message: 'Write operations are not allowed' } }]
  expect(await follower('admin', 'POST', '/issuers/acme', aws('new'))).toEqual(no)
  expect(await follower('admin', 'PATCH', '/issuers/acme/aws-1', { max_ttl: 4000 })).toEqual(no)
  expect(await follower('admin', 'DELETE', '/issuers/acme/aws-1')).toEqual(no)
  expect(await follower('admin', 'POST', '/issuers/acme', aws('aws-1'))).toMatchObject([409, {}])
  expect(await follower('stranger', 'POST', '/issuers/acme', aws('new'))).toEqual([403, ''])
  expect(await follower('stranger', 'DELETE', '/issuers/acme/aws-1')).toEqual(missing)
})

test('who may create and update on the policy of all makes and lists them, and does not see what others made', async () => {
  const permits = (privilege: string) =>
    `- !permit { role: !host seer, privileges: [ ${privilege} ], resource: !policy conjur/issuers }\n`
  expect((await world.admin.loadPolicy('root', permits('read'))).status).toBe(201)
  expect(await create('seer', aws('mine'))).toEqual([403, ''])
  expect((await world.admin.loadPolicy('root', permits('create'))).status).toBe(201)
  expect(await create('seer', aws('mine'))).toEqual([201, shown('mine')])
  expect(await one('seer', 'mine')).toEqual(missing)
  expect(await ask('seer', 'GET', '/issuers/acme')).toEqual([403, ''])
  expect((await world.admin.loadPolicy('root', permits('update'))).status).toBe(201)
  expect(await ask('seer', 'GET', '/issuers/acme')).toMatchObject([200, { issuers: [{}, {}, {}, {}] }])
  expect(await drop('admin', 'mine')).toEqual([204, ''])
})

describe('an issuer that goes', () => {
  test('takes what belongs to its own group, and Followers still hold what the Leader holds', async () => {
    const owned = 'owner: !group /conjur/issuers/twice/delegation/consumers'
    expect(await create('admin', aws('twice'))).toMatchObject([201, {}])
    const text = variable('twice', { 'dynamic/issuer': 'twice' }).replace(
      'id: twice',
      `id: twice\n  ${owned}`,
    )
    expect(await load(text, '', 'admin')).toMatchObject([201, {}])
    expect(await drop('admin', 'twice')).toEqual([204, ''])
    expect(await exists('variable', 'data/dynamic/twice')).toBe(false)
    await settled(world)
    const health = await world.admin.at(world.machine.follower.url).request('GET', '/health')
    expect(await health.json()).toMatchObject({ degraded: false })
  })

  test('goes for whoever may update it, and nothing around it', async () => {
    expect(await create('admin', aws('spare'))).toMatchObject([201, {}])
    const permit = '- !permit { role: !host /stranger, privileges: [ update ], resource: !policy spare }'
    expect((await world.admin.loadPolicy('conjur/issuers', permit)).status).toBe(201)
    expect(await drop('stranger', 'spare')).toEqual([204, ''])
    expect(await one('admin', 'spare')).toEqual(missing)
    expect(await exists('policy', 'conjur/issuers/spare')).toBe(false)
  })

  test('takes its variables and all that depends on them', async () => {
    expect(await drop('admin', 'aws-1')).toEqual([204, ''])
    for (const name of ['key', 'two', 'three'])
      expect(await exists('variable', `data/dynamic/${name}`)).toBe(false)
    for (const name of ['', '/delegation'])
      expect(await exists('policy', `conjur/issuers/aws-1${name}`)).toBe(false)
    expect(await exists('group', 'conjur/issuers/aws-1/delegation/consumers')).toBe(false)
    expect(await exists('policy', 'conjur/issuers')).toBe(true)
    expect(await one('admin', 'aws-1')).toEqual(missing)
    const removed = await records('variable', 3)
    expect(removed.map(({ message }) => message).sort()).toEqual(
      ['key', 'three', 'two'].map((name) => `acme:user:admin removed acme:variable:data/dynamic/${name}`),
    )
    expect(removed[0]).toMatchObject({
      sdata: {
        'subject@43868': {
          account: 'acme',
          issuer: 'aws-1',
          resource: expect.any(String),
          resource_id: expect.any(String),
        },
      },
    })
    expect((await ask('admin', 'GET', '/secrets/acme/variable/data/dynamic/key'))[0]).toBe(404)
    // Nothing of them is left over: a new one has only what it is given.
    expect(await create('admin', aws('aws-1'))).toMatchObject([201, {}])
    expect(await load(variable('key'), '', 'admin')).toMatchObject([201, {}])
    const [, again] = await ask('admin', 'GET', '/resources/acme/variable/data%2Fdynamic%2Fkey')
    expect(again).toMatchObject({ permissions: [], annotations: [{}, {}] })
  })

  test('leaves them when it is asked to; they name nobody then, and nobody takes its name', async () => {
    expect(await drop('admin', 'aws-1', '?keep_secrets=true')).toEqual([204, ''])
    expect(await exists('variable', 'data/dynamic/key')).toBe(true)
    expect(await ask('admin', 'GET', '/secrets/acme/variable/data/dynamic/key')).toEqual(
      unprocessable('Issuer assigned to acme:variable:data/dynamic/key was not found'),
    )
    expect(await create('admin', aws('aws-1'))).toEqual([500, ''])
    expect((await records('issuer', 1))[0]!.message).toBe(
      'acme:user:admin tried to add acme:issuer:aws-1: Found variables associated with the issuer id',
    )
  })

  test('goes with its policy', async () => {
    expect(
      (await world.admin.loadPolicy('conjur/issuers', '- !delete { record: !policy upd }', 'PATCH')).status,
    ).toBe(201)
    expect(await one('admin', 'upd')).toEqual(missing)
  })
})

test('a Follower has dynamic secrets made while the Leader is away; not without the engine', async () => {
  expect(await create('admin', aws('last'))).toMatchObject([201, {}])
  expect(await load(variable('last', { 'dynamic/issuer': 'last' }), '', 'admin')).toMatchObject([201, {}])
  await settled(world)
  await world.machine.leader.kill()
  const read = () => answered(clients.admin!.at(world.machine.follower.url).getSecret('data/dynamic/last'))
  expect(await read()).toEqual([200, JSON.parse(made.text)])
  engine.closeAllConnections()
  await new Promise((resolve) => engine.close(resolve))
  expect(await read()).toEqual([502, ''])
})

describe('while the feature is off', () => {
  let off: World
  beforeAll(async () => {
    off = await startWorld()
  })
  afterAll(() => off?.machine.stop())

  test('there are no issuers (http-api note 32)', async () => {
    const at = (method: string, path: string, body?: string) =>
      answered(
        off.admin.request(method, path, {
          ...(body === undefined ? {} : { body }),
          headers: { 'Content-Type': 'application/json' },
        }),
      )
    expect(await at('POST', '/issuers/acme', JSON.stringify(aws('aws-1')))).toEqual([404, ''])
    expect(await at('POST', '/issuers/acme', '{')).toEqual([404, ''])
    expect(await at('GET', '/issuers/acme')).toEqual([404, ''])
    for (const method of ['GET', 'PATCH', 'DELETE'])
      expect(await at(method, '/issuers/acme/aws-1', method === 'PATCH' ? '{}' : undefined)).toEqual([
        404,
        '',
      ])
    const follower = off.admin.at(off.machine.follower.url)
    expect(await answered(follower.request('GET', '/issuers/acme/aws-1'))).toEqual([404, ''])
  })

  test('variables there are ordinary ones', async () => {
    const text = '- !policy { id: data/dynamic, body: [ !variable key ] }\n'
    expect((await off.admin.loadPolicy('root', text)).status).toBe(201)
    expect(await answered(off.admin.getSecret('data/dynamic/key'))).toMatchObject([404, {}])
    expect((await off.admin.setSecret('data/dynamic/key', 'mine')).status).toBe(201)
    expect(await answered(off.admin.getSecret('data/dynamic/key'))).toEqual([200, 'mine'])
    expect(
      await answered(off.admin.request('GET', '/secrets?variable_ids=acme:variable:data/dynamic/key')),
    ).toEqual([200, { 'acme:variable:data/dynamic/key': 'mine' }])
  })
})
