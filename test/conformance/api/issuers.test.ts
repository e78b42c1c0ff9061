// Issuers: made, shown without their keys, updated and removed by who may (http-api 14).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import {
  ask,
  aws,
  change,
  consume,
  create,
  drop,
  exists,
  KEY,
  missing,
  one,
  records,
  shown,
  startIssuers,
} from './issuers.world.ts'
import { type Answered, answered, argument, settled, unprocessable, type World } from './world.ts'

let world: World
let admin: Client
let maker: Client
let reader: Client
let seer: Client
let stranger: Client
beforeAll(async () => {
  ;({ world, maker, reader, seer, stranger } = await startIssuers())
  admin = world.admin
})
afterAll(() => world?.machine.stop())

const badRequest = (message: string) => [400, { error: { code: 'bad_request', message } }]

describe('issuers', () => {
  test('before there are any: nobody but who holds the admin may make or list them (http-api note 32)', async () => {
    expect(await create(stranger, aws('aws-1'))).toEqual([403, ''])
    expect(await create(maker, {})).toEqual([403, ''])
    expect(await ask(stranger, 'GET', '/issuers/acme')).toEqual([403, ''])
    expect(await create(admin, {})).toEqual(badRequest('id is a required parameter and must be specified'))
    expect(await exists(admin, 'policy', 'conjur/issuers')).toBe(false)
    expect(await ask(admin, 'GET', '/issuers/acme')).toEqual([200, { issuers: [] }])
    expect((await records(admin, 'issuer', 4)).map(({ severity, message }) => [severity, message])).toEqual([
      [6, 'acme:user:admin listed acme:issuer:*'],
      [4, 'acme:user:admin tried to add acme:issuer:: id is a required parameter and must be specified'],
      [4, 'acme:host:stranger tried to list acme:issuer:*: Forbidden'],
      [4, 'acme:host:maker tried to add acme:issuer:: Forbidden'],
    ])
  })

  test('the first makes the policies, and a group that may use it', async () => {
    expect(await create(admin, aws('aws-1'))).toEqual([201, shown('aws-1')])
    const [, resource] = await ask(admin, 'GET', '/resources/acme/policy/conjur%2Fissuers')
    expect(resource).toMatchObject({ owner: 'acme:user:admin', policy: 'acme:policy:root' })
    const [, own] = await ask(admin, 'GET', '/resources/acme/policy/conjur%2Fissuers%2Faws-1')
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
    expect(await exists(admin, 'policy', 'conjur/issuers/aws-1/delegation')).toBe(true)
    const [, group] = await ask(
      admin,
      'GET',
      `/resources/acme/group/conjur%2Fissuers%2Faws-1%2Fdelegation%2Fconsumers`,
    )
    expect(group).toMatchObject({ owner: 'acme:policy:conjur/issuers/aws-1/delegation' })
    const [event] = await records(admin, 'issuer', 1)
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
    expect(await create(admin, form, 'application/x-www-form-urlencoded')).toEqual([
      201,
      shown('A+b_c', { max_ttl: 900 }),
    ])
    expect(await create(admin, form, 'text\\plain')).toMatchObject([409, {}])
  })

  test('one that is there, and what is wrong with a new one', async () => {
    expect(await create(admin, aws('aws-1'))).toEqual([
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
    expect(await create(admin, aws('x', { max_ttl: 899 }))).toEqual(
      badRequest("the 'max_ttl' parameter must be a between 900 and 43200"),
    )
    expect(await create(admin, aws('x', { max_ttl: '3600' }))).toEqual(
      badRequest("the 'max_ttl' parameter must be a positive integer"),
    )
    expect(await create(admin, aws('x', { type: 'gcp' }))).toEqual(badRequest('issuer type is unsupported'))
    expect(await create(admin, aws('x', { more: 1 }))).toEqual(
      badRequest(
        'invalid parameter received in the request body. Only id, type, max_ttl and data are allowed',
      ),
    )
    for (const id of ['a/b', 'a.b', 'a\0b', '\ud800', 'a b'])
      expect(await create(admin, aws(id))).toEqual(
        badRequest(
          "invalid 'id' parameter. Only the following characters are supported: A-Z, a-z, 0-9, +, -, and _",
        ),
      )
    expect(await create(admin, aws('x', { data: { ...KEY, secret_access_key: 'too short' } }))).toEqual(
      unprocessable(
        "invalid 'secret_access_key' parameter format. The secret access key must be a valid AWS secret access key.",
      ),
    )
    for (const body of ['[]', '{', 'null', '"x"']) expect(await create(admin, body)).toEqual([400, ''])
    expect(await create(admin, '')).toEqual(badRequest('id is a required parameter and must be specified'))
    expect(JSON.stringify(await records(admin, 'issuer', 10))).not.toContain('too short')
  })

  test('of an account that is not there are nobody’s', async () => {
    expect(await ask(admin, 'POST', '/issuers/none', aws('x'))).toEqual([403, ''])
    expect(await ask(admin, 'GET', '/issuers/none')).toEqual([403, ''])
    expect(await ask(admin, 'GET', '/issuers/none/aws-1')).toEqual(missing)
  })

  test('are updated: a time to live only grows, keys come in pairs', async () => {
    expect(await create(admin, aws('upd'))).toMatchObject([201, {}])
    expect(await change(admin, 'upd', { max_ttl: 3599 })).toEqual(
      badRequest('The new max_ttl must be equal or higher than the current max_ttl'),
    )
    expect(await change(admin, 'upd', { max_ttl: 43_201 })).toEqual(
      badRequest("the 'max_ttl' parameter must be a between 900 and 43200"),
    )
    expect(await change(admin, 'upd', { id: 'x' })).toEqual(
      badRequest('invalid parameter received in the request body. Only max_ttl and data are allowed'),
    )
    expect(await change(admin, 'upd', { data: { access_key_id: KEY.access_key_id } })).toEqual(
      unprocessable('secret_access_key is a required parameter and must be specified'),
    )
    expect(await change(admin, 'upd', {})).toEqual([200, shown('upd')])
    const data = { ...KEY, access_key_id: 'AKIAIOSFODNN7EXAMPL2' }
    const masked = { access_key_id: data.access_key_id, secret_access_key: '*****' }
    expect(await change(admin, 'upd', { max_ttl: 4000, data })).toEqual([
      200,
      shown('upd', { max_ttl: 4000, data: masked }),
    ])
    expect(await one(admin, 'upd')).toEqual([200, shown('upd', { max_ttl: 4000, data: masked })])
    expect((await records(admin, 'issuer', 2)).map(({ message }) => message)).toEqual([
      'acme:user:admin fetched acme:issuer:upd',
      'acme:user:admin updated acme:issuer:upd',
    ])
  })

  test('rights: consumers read, others see nothing', async () => {
    for (const host of ['maker', 'reader']) await consume(admin, 'aws-1', host)
    const permit =
      '- !permit { role: !host /seer, privileges: [ execute ], resource: !policy aws-1 }\n' +
      '- !permit { role: !host /seer, privileges: [ execute ], resource: !policy upd }\n'
    expect((await admin.loadPolicy('conjur/issuers', permit)).status).toBe(201)

    expect(await one(seer, 'aws-1')).toEqual([403, ''])
    expect(await one(stranger, 'aws-1')).toEqual(missing)
    expect(await one(admin, 'none')).toEqual(missing)
    expect(await one(admin, 'aws-1%2Fdelegation')).toEqual(missing)
    expect(await change(reader, 'aws-1', { max_ttl: 5000 })).toEqual([403, ''])
    expect(await change(stranger, 'aws-1', { max_ttl: 5000 })).toEqual(missing)
    expect(await drop(reader, 'aws-1')).toEqual([403, ''])
    expect(await drop(stranger, 'aws-1')).toEqual(missing)
    expect(await drop(admin, 'none')).toEqual(missing)
    expect(await create(reader, aws('x'))).toEqual([403, ''])
    expect((await records(admin, 'issuer', 2)).map(({ message }) => message)).toEqual([
      'acme:host:reader tried to add acme:issuer:x: Forbidden',
      'acme:user:admin tried to remove acme:issuer:none: Issuer not found',
    ])
  })
})

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const at = (as: Client) => as.at(world.machine[node].url)
  const get = (as: Client, path: string): Promise<Answered> => answered(at(as).request('GET', path))
  beforeAll(() => settled(world))

  test('issuers are listed, sorted by what is asked for', async () => {
    const ids = async (query: string) =>
      ((await get(admin, `/issuers/acme${query}`))[1] as { issuers: { id: string }[] }).issuers.map(
        (i) => i.id,
      )
    expect(await get(admin, '/issuers/acme')).toEqual([
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
    expect(await get(admin, '/issuers/acme?sort=data')).toMatchObject([
      400,
      { error: { code: 'bad_request' } },
    ])
    expect(await get(reader, '/issuers/acme')).toEqual([403, ''])
  })

  test('an issuer is shown without its key', async () => {
    expect(await get(admin, '/issuers/acme/aws-1')).toEqual([200, shown('aws-1')])
    expect(await get(reader, '/issuers/acme/aws-1')).toEqual([200, shown('aws-1')])
    expect(await get(reader, '/issuers/acme/aws-1?projection=minimal')).toEqual([200, { max_ttl: 3600 }])
    expect(await get(reader, '/issuers/acme/aws-1?projection=full')).toEqual(
      argument("Invalid value for parameter 'projection': full"),
    )
    expect(await get(seer, '/issuers/acme/aws-1?projection=minimal')).toEqual([403, ''])
    expect(await get(stranger, '/issuers/acme/aws-1')).toEqual(missing)
  })
})

test('a Follower writes none, whatever it is asked', async () => {
  const follower = (as: Client, method: string, path: string, body?: object) =>
    ask(as.at(world.machine.follower.url), method, path, body)
  const no = [405, { error: { code: 405, message: 'Write operations are not allowed' } }]
  expect(await follower(admin, 'POST', '/issuers/acme', aws('new'))).toEqual(no)
  expect(await follower(admin, 'PATCH', '/issuers/acme/aws-1', { max_ttl: 4000 })).toEqual(no)
  expect(await follower(admin, 'DELETE', '/issuers/acme/aws-1')).toEqual(no)
  expect(await follower(admin, 'POST', '/issuers/acme', aws('aws-1'))).toMatchObject([409, {}])
  expect(await follower(stranger, 'POST', '/issuers/acme', aws('new'))).toEqual([403, ''])
  expect(await follower(stranger, 'DELETE', '/issuers/acme/aws-1')).toEqual(missing)
})

test('who may create and update on the policy of all makes and lists them, and does not see what others made', async () => {
  const permits = (privilege: string) =>
    `- !permit { role: !host seer, privileges: [ ${privilege} ], resource: !policy conjur/issuers }\n`
  expect((await admin.loadPolicy('root', permits('read'))).status).toBe(201)
  expect(await create(seer, aws('mine'))).toEqual([403, ''])
  expect((await admin.loadPolicy('root', permits('create'))).status).toBe(201)
  expect(await create(seer, aws('mine'))).toEqual([201, shown('mine')])
  expect(await one(seer, 'mine')).toEqual(missing)
  expect(await ask(seer, 'GET', '/issuers/acme')).toEqual([403, ''])
  expect((await admin.loadPolicy('root', permits('update'))).status).toBe(201)
  expect(await ask(seer, 'GET', '/issuers/acme')).toMatchObject([200, { issuers: [{}, {}, {}, {}] }])
  expect(await drop(admin, 'mine')).toEqual([204, ''])
})

describe('one that goes', () => {
  test('does so for whoever may update it, and nothing around it', async () => {
    expect(await create(admin, aws('spare'))).toMatchObject([201, {}])
    const permit = '- !permit { role: !host /stranger, privileges: [ update ], resource: !policy spare }'
    expect((await admin.loadPolicy('conjur/issuers', permit)).status).toBe(201)
    expect(await drop(stranger, 'spare')).toEqual([204, ''])
    expect(await one(admin, 'spare')).toEqual(missing)
    expect(await exists(admin, 'policy', 'conjur/issuers/spare')).toBe(false)
  })

  test('may go with its policy', async () => {
    expect(
      (await admin.loadPolicy('conjur/issuers', '- !delete { record: !policy upd }', 'PATCH')).status,
    ).toBe(201)
    expect(await one(admin, 'upd')).toEqual(missing)
  })
})
