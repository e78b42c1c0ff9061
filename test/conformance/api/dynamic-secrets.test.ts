// Secrets that an engine makes when they are read, and the variables that stand for them (http-api 12, 14; policy 3).
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import {
  ask,
  aws,
  consume,
  create,
  drop,
  exists,
  KEY,
  missing,
  one,
  records,
  startIssuers,
} from './issuers.world.ts'
import { type Answered, answered, settled, unprocessable, type World } from './world.ts'

type Asked = { readonly requestId: unknown; readonly body: Record<string, unknown> }

let engine: Server
let asked: Asked[] = []
/** How the engine answers. */
const made = { status: 200, text: '{"data":{"access_key_id":"ASIA","n":1}}' }

let world: World
let admin: Client
let maker: Client
let app: Client
let seer: Client
let stranger: Client
beforeAll(async () => {
  engine = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    asked.push({ requestId: request.headers['x-request-id'], body: JSON.parse(text) })
    response.writeHead(request.url === '/engine/secrets' ? made.status : 404).end(made.text)
  }).listen(0, '127.0.0.1')
  await once(engine, 'listening')
  ;({ world, maker, app, seer, stranger } = await startIssuers({
    CONJUR_DYNAMIC_SECRETS_PER_REQUEST_MAX: '2',
    HOLDFAST_SECRET_ENGINE_URL: `http://127.0.0.1:${(engine.address() as AddressInfo).port}/engine`,
  }))
  admin = world.admin
  for (const id of ['aws-1', 'upd']) expect(await create(admin, aws(id))).toMatchObject([201, {}])
  await consume(admin, 'aws-1', 'maker')
})
afterAll(async () => {
  await world?.machine.stop()
  engine.close()
})

const variable = (id: string, annotations: Record<string, string | number> = {}) => `
- !variable
  id: ${id}
  annotations: ${JSON.stringify({ 'dynamic/issuer': 'aws-1', 'dynamic/method': 'assume-role', ...annotations })}
`
const load = (text: string, query = '', as = maker) =>
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
    expect(await ask(admin, 'POST', '/policies/acme/policy/data', variable('elsewhere'))).toEqual(
      invalid("The dynamic variable 'data/elsewhere' is not in the correct path"),
    )
    expect(await load(variable('y'), '?dryRun=true')).toMatchObject([200, { status: 'Valid YAML' }])
    expect(await exists(admin, 'variable', 'data/dynamic/y')).toBe(false)
    await settled(world)
  })

  test('take no values', async () => {
    const message = 'adding a static secret to a dynamic secret variable is not allowed'
    const no = [405, { error: { code: 'method_not_allowed', message } }]
    expect(await answered(app.setSecret('data/dynamic/key', 'x'))).toEqual(no)
    expect(await answered(app.setSecret('data/dynamic/key', ''))).toEqual(no)
    expect((await app.setSecret('data/dynamic/two', 'x')).status).toBe(403)
    expect((await stranger.setSecret('data/dynamic/key', 'x')).status).toBe(404)
    const [event] = await records(admin, 'update', 3).then((rows) => rows.slice(2))
    expect(event!.message).toBe(`acme:host:app tried to update acme:variable:data/dynamic/key: ${message}`)
    expect((await admin.setSecret('data/plain', 'static')).status).toBe(201)
    await settled(world)
  })
})

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const at = (as: Client) => as.at(world.machine[node].url)
  const get = (as: Client, path: string): Promise<Answered> => answered(at(as).request('GET', path))
  const id = (name: string) => `acme:variable:data/dynamic/${name}`
  const batch = (as: Client, ids: readonly string[], headers = {}) =>
    answered(
      at(as).request('GET', `/secrets?variable_ids=${ids.map(encodeURIComponent).join(',')}`, { headers }),
    )

  test('a dynamic secret is what the engine makes for who asks', async () => {
    asked = []
    for (const path of ['data/dynamic/key', 'data%2Fdynamic%2Fkey', 'data/dynamic/key?version=7']) {
      const response = await at(app).request('GET', `/secrets/acme/variable/${path}`, {
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
    expect(await get(seer, '/secrets/acme/variable/data/dynamic/key')).toEqual([403, ''])
    expect(await get(stranger, '/secrets/acme/variable/data/dynamic/key')).toEqual(absent('key'))
    expect(await get(app, '/secrets/acme/variable/data/dynamic/none')).toEqual(absent('none'))
    expect(await batch(seer, [id('key')])).toEqual([403, ''])
    expect(await batch(app, [id('key'), id('none')])).toEqual(absent('none'))
    expect(asked).toEqual([])
  })

  test('a batch holds both kinds, and not too many dynamic ones', async () => {
    const plain = 'acme:variable:data/plain'
    const ids = [id('key'), plain, id('two')]
    expect(await batch(app, ids)).toEqual([
      200,
      { [id('key')]: made.text, [plain]: 'static', [id('two')]: made.text },
    ])
    const [, encoded] = await batch(app, ids, { 'Accept-Encoding': 'base64' })
    expect(atob((encoded as Record<string, string>)[id('two')]!.replaceAll('\n', ''))).toBe(made.text)
    expect(await batch(app, [id('key'), id('two'), id('three')])).toEqual(
      unprocessable(
        'Number of dynamic secrets requested exceeds the maximum allowed in a single request (2)',
      ),
    )
    expect(await batch(app, [id('key'), id('key'), id('key'), id('two')])).toMatchObject([200, {}])
  })

  test('what the engine refuses is told without the key, and recorded', async () => {
    const was = { ...made }
    Object.assign(made, {
      status: 400,
      text: JSON.stringify({ code: 'x-1', message: `no ${KEY.secret_access_key}` }),
    })
    const error = 'Failed to create the dynamic secret. Code: x-1, Message: no *****, description: '
    expect(await get(app, '/secrets/acme/variable/data/dynamic/key')).toEqual(unprocessable(error))
    expect(await batch(app, [id('two')])).toEqual(unprocessable(error))
    Object.assign(made, { status: 500, text: 'broken' })
    expect(await get(app, '/secrets/acme/variable/data/dynamic/key')).toEqual([502, ''])
    expect(await batch(app, [id('two')])).toEqual([502, ''])
    Object.assign(made, was)
    if (node === 'follower') return
    const rows = await records(admin, 'fetch', 4)
    expect(rows.map(({ severity, message }) => [severity, message])).toEqual([
      [4, `acme:host:app tried to fetch ${id('two')}: The secret engine did not answer with JSON`],
      [4, `acme:host:app tried to fetch ${id('key')}: The secret engine did not answer with JSON`],
      [4, `acme:host:app tried to fetch ${id('two')}: ${error}`],
      [4, `acme:host:app tried to fetch ${id('key')}: ${error}`],
    ])
    await get(app, '/secrets/acme/variable/data/dynamic/key')
    expect((await records(admin, 'fetch', 1))[0]).toMatchObject({
      severity: 6,
      message: `acme:host:app fetched ${id('key')}`,
    })
  })
})

describe('with its issuer', () => {
  test('takes what belongs to its own group, and Followers still hold what the Leader holds', async () => {
    const owned = 'owner: !group /conjur/issuers/twice/delegation/consumers'
    expect(await create(admin, aws('twice'))).toMatchObject([201, {}])
    const text = variable('twice', { 'dynamic/issuer': 'twice' }).replace(
      'id: twice',
      `id: twice\n  ${owned}`,
    )
    expect(await load(text, '', admin)).toMatchObject([201, {}])
    expect(await drop(admin, 'twice')).toEqual([204, ''])
    expect(await exists(admin, 'variable', 'data/dynamic/twice')).toBe(false)
    await settled(world)
    const health = await admin.at(world.machine.follower.url).request('GET', '/health')
    expect(await health.json()).toMatchObject({ degraded: false })
  })

  test('takes its variables and all that depends on them', async () => {
    expect(await drop(admin, 'aws-1')).toEqual([204, ''])
    for (const name of ['key', 'two', 'three'])
      expect(await exists(admin, 'variable', `data/dynamic/${name}`)).toBe(false)
    for (const name of ['', '/delegation'])
      expect(await exists(admin, 'policy', `conjur/issuers/aws-1${name}`)).toBe(false)
    expect(await exists(admin, 'group', 'conjur/issuers/aws-1/delegation/consumers')).toBe(false)
    expect(await exists(admin, 'policy', 'conjur/issuers')).toBe(true)
    expect(await one(admin, 'aws-1')).toEqual(missing)
    const removed = await records(admin, 'variable', 3)
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
    expect((await ask(admin, 'GET', '/secrets/acme/variable/data/dynamic/key'))[0]).toBe(404)
    // Nothing of them is left over: a new one has only what it is given.
    expect(await create(admin, aws('aws-1'))).toMatchObject([201, {}])
    expect(await load(variable('key'), '', admin)).toMatchObject([201, {}])
    const [, again] = await ask(admin, 'GET', '/resources/acme/variable/data%2Fdynamic%2Fkey')
    expect(again).toMatchObject({ permissions: [], annotations: [{}, {}] })
  })

  test('leaves them when it is asked to; they name nobody then, and nobody takes its name', async () => {
    expect(await drop(admin, 'aws-1', '?keep_secrets=true')).toEqual([204, ''])
    expect(await exists(admin, 'variable', 'data/dynamic/key')).toBe(true)
    expect(await ask(admin, 'GET', '/secrets/acme/variable/data/dynamic/key')).toEqual(
      unprocessable('Issuer assigned to acme:variable:data/dynamic/key was not found'),
    )
    expect(await create(admin, aws('aws-1'))).toEqual([500, ''])
    expect((await records(admin, 'issuer', 1))[0]!.message).toBe(
      'acme:user:admin tried to add acme:issuer:aws-1: Found variables associated with the issuer id',
    )
  })
})

test('a Follower has dynamic secrets made while the Leader is away; not without the engine', async () => {
  expect(await create(admin, aws('last'))).toMatchObject([201, {}])
  expect(await load(variable('last', { 'dynamic/issuer': 'last' }), '', admin)).toMatchObject([201, {}])
  await settled(world)
  await world.machine.leader.kill()
  const read = () => answered(admin.at(world.machine.follower.url).getSecret('data/dynamic/last'))
  expect(await read()).toEqual([200, JSON.parse(made.text)])
  engine.closeAllConnections()
  await new Promise((resolve) => engine.close(resolve))
  expect(await read()).toEqual([502, ''])
})
