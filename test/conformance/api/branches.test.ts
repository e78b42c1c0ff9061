// Branches: policies one by one, as V2 has them, shown at both nodes and made at the Leader (http-api 15).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import { ask, item, make, may, missing, newest, resource, show, startBranches } from './branches.world.ts'
import { type Answered, answered, refusedV2, settled, V2, type World } from './world.ts'

let world: World
let as: (login: string) => Promise<Client>
let admin: Client
let maker: Client
let reader: Client
let stranger: Client
beforeAll(async () => {
  ;({ world, as, maker, reader, stranger } = await startBranches())
  admin = world.admin
})
afterAll(() => world?.machine.stop())

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const at = (client: Client): Client => client.at(world.machine[node].url)
  const list = (client: Client, query = ''): Promise<Answered> => ask(at(client), 'GET', query)
  const names = async (client: Client, query = ''): Promise<unknown> => {
    const [status, body] = await list(client, query)
    expect(status).toBe(200)
    const { branches, count } = body as { branches: { name: string; branch: string }[]; count: number }
    return [branches.map(({ name, branch }) => (branch === '/' ? name : `${branch}/${name}`)), count]
  }

  test('one is shown to whoever may read it; the root is one of them', async () => {
    expect(await show(at(admin), 'data')).toEqual([
      200,
      item('data', 'user:admin', { purpose: 'everything' }),
    ])
    const er = item('data/deep/er', 'policy:data/deep', { a: '1', b: '2' })
    expect(await show(at(await as('uma')), 'data/deep/er')).toEqual(missing('data/deep'))
    expect(await show(at(admin), 'data%2Fapple')).toEqual([200, item('data/apple', 'policy:data')])
    expect(await show(at(admin), '%2Fdata')).toMatchObject([200, { name: 'data', branch: '/' }])
    expect(await show(at(admin), 'root')).toEqual([200, item('root', 'user:admin')])
    expect(await show(at(admin), '%2F')).toMatchObject([200, { name: 'root', branch: '/' }])
    // Its owner is a group that admin belongs to by owning it.
    expect(await show(at(admin), 'data/deep/er')).toEqual([200, er])
    expect(await show(at(reader), 'hidden/seen')).toMatchObject([200, { name: 'seen', branch: 'hidden' }])
    const head = await at(admin).request('HEAD', '/branches/acme/data', { headers: { Accept: V2 } })
    expect([head.status, await head.text()]).toEqual([200, ''])
  })

  test('what is unseen, not permitted or without a parent is not there (http-api note 1)', async () => {
    expect(await show(at(admin), 'none')).toEqual(missing('none'))
    expect(await show(at(stranger), 'data')).toEqual(missing('data'))
    expect(await show(at(stranger), 'root')).toEqual(missing('root'))
    expect(await show(at(reader), 'data/apple')).toEqual(missing('data/apple'))
    expect(await show(at(admin), 'data/none')).toEqual(missing('data/none'))
    expect(await show(at(admin), 'none/at/all')).toEqual(missing('none/at'))
    expect(await show(at(admin), 'lone/some')).toEqual(missing('lone'))
    expect(await show(at(reader), 'lone/some')).toEqual(missing('lone'))
    // Nobody learns that `hidden` is there.
    expect(await show(at(stranger), 'hidden/none')).toEqual(missing('hidden'))
    expect(await show(at(stranger), 'nothing/none')).toEqual(missing('nothing'))
    const [, group] = await answered(
      admin.request('GET', '/branches/other/data', { headers: { Accept: V2 } }),
    )
    expect(group).toContain("Branch 'data' not found in account 'other'")
    for (const odd of ['%00', 'a%00b', '%ff']) expect((await show(at(admin), odd))[0]).toBe(404)
    expect((await show(at(admin), '%F0%9F%8C%B1'))[0]).toBe(404)
  })

  test('a list holds what the caller may read, but not the root and nothing without a parent', async () => {
    expect(await names(reader)).toEqual([['data', 'hidden/seen'], 2])
    expect(await names(stranger)).toEqual([[], 0])
    const [all, count] = (await names(admin)) as [string[], number]
    expect(all).toEqual(expect.arrayContaining(['data', 'data/app', 'data/deep/er', 'hidden', 'app']))
    expect(all).not.toContain('root')
    expect(all).not.toContain('lone/some')
    expect(all).toEqual(all.toSorted())
    expect(count).toBe(all.length)
    expect(await names(admin, '?limit=2')).toEqual([all.slice(0, 2), count])
    expect(await names(admin, '?limit=2&offset=1')).toEqual([all.slice(1, 3), count])
    expect(await names(admin, '?offset=2')).toEqual([all.slice(2, 12), count])
    expect(await names(admin, '?limit=0')).toEqual([[], count])
    expect(await names(admin, '?limit=&offset')).toEqual([all, count])
    expect(await names(admin, '?limit=1000&offset=999999')).toEqual([[], count])
    expect(await list(reader)).toEqual([
      200,
      {
        branches: [item('data', 'user:admin', { purpose: 'everything' }), item('hidden/seen', 'user:admin')],
        count: 2,
      },
    ])
  })

  test('bad numbers and unknown parameters of a list are refused', async () => {
    const faults = {
      'limit=-1': 'Limit must be greater than or equal to 0',
      'offset=-1': 'Offset must be greater than or equal to 0',
      'limit=1001': 'Limit must be less than or equal to 1000',
      'limit=x': 'Limit must be an integer',
      'limit=1.5': 'Limit must be an integer',
      'limit[]=1': 'Limit must be an integer',
      'offset=9999999999999999': 'Offset must be an integer',
      'kind=policy&limit=1&z': 'Unexpected parameters: kind, z',
    }
    for (const [query, fault] of Object.entries(faults)) {
      expect(await list(admin, `?${query}`)).toEqual(refusedV2(422, fault))
    }
    expect(await show(at(admin), 'data?x=1')).toEqual(refusedV2(422, 'Unexpected parameters: x'))
  })

  test('the version must be asked for, and a token be there', async () => {
    const wanted = {
      code: '400',
      message: expect.stringMatching(/^CONJ00194W .*"application\/x\.secretsmgr/),
    }
    for (const accept of ['*/*', 'application/json', `${V2}, */*`]) {
      for (const [method, path] of [
        ['GET', ''],
        ['GET', '/data'],
        ['POST', ''],
        ['PATCH', '/data'],
        ['DELETE', '/data'],
      ] as const) {
        const asked = at(stranger).request(method, `/branches/acme${path}`, { headers: { Accept: accept } })
        expect(await answered(asked)).toEqual([400, wanted])
      }
    }
    const without = await fetch(`${world.machine[node].url}/branches/acme`, { headers: { Accept: V2 } })
    expect([without.status, await without.text()]).toEqual([401, ''])
  })

  test('reads are recorded', async () => {
    await show(at(reader), 'data')
    await show(at(reader), 'none')
    await list(reader)
    const query = (operation: string, result: string) =>
      answered(
        admin.request(
          'GET',
          `/audit?msgid=branch&action@43868/operation=${operation}&action@43868/result=${result}&auth@43868/user=acme:host:reader`,
        ),
      )
    const holds = async (operation: string, result: string, message: string): Promise<void> => {
      await expect
        .poll(async () => JSON.stringify((await query(operation, result))[1]), { timeout: 10_000 })
        .toContain(message)
    }
    await holds(
      'get',
      'success',
      "acme:host:reader successfully retrieved branch data with URI path: '/branches/acme/data'",
    )
    await holds(
      'get',
      'failure',
      "acme:host:reader failed to retrieve branch none with URI path: '/branches/acme/none': Branch 'none' not found",
    )
    await holds(
      'list',
      'success',
      "acme:host:reader successfully listed branch with URI path: '/branches/acme'",
    )
  })
})

describe('making one', () => {
  test('it stands in its parent, owned by it or by admin, unless an owner is named', async () => {
    expect(await make(admin, { name: 'top', branch: '/' })).toEqual([201, item('top', 'user:admin')])
    expect(await make(maker, { name: 'b-1_X', branch: '/data', owner: null, annotations: null })).toEqual([
      201,
      item('data/b-1_X', 'policy:data'),
    ])
    const annotations = { zone: 'north', __proto__x: '', ключ: 'значение', "it's <odd>": '../x' }
    const owned = { name: 'owned', branch: 'data/app', owner: { kind: 'group', id: '/ops' }, annotations }
    expect(await make(admin, owned)).toEqual([201, item('data/app/owned', 'group:ops', annotations)])
    expect(await show(admin, 'data/app/owned')).toEqual([
      200,
      item('data/app/owned', 'group:ops', annotations),
    ])
    expect(await resource(admin, 'policy:data/app/owned')).toMatchObject([
      200,
      { owner: 'acme:group:ops', policy: 'acme:policy:data/app' },
    ])
    expect(await may(admin, 'group:ops', 'update', 'policy:data/app/owned')).toBe(true)
    const found = await answered(admin.request('GET', '/resources/acme/policy?search=north'))
    expect(found).toMatchObject([200, [{ id: 'acme:policy:data/app/owned' }]])
    for (const [kind, id] of [
      ['user', 'uma'],
      ['host', 'maker'],
      ['policy', 'root'],
      ['policy', 'data'],
    ]) {
      const name = `of-${kind}-${id}`
      expect(await make(admin, { name, branch: '/', owner: { kind, id } })).toEqual([
        201,
        item(name, `${kind}:${id}`),
      ])
    }
    // A branch like any other: a policy text can be loaded into it.
    expect((await admin.loadPolicy('data/b-1_X', '- !variable v')).status).toBe(201)
    await settled(world)
    expect(await show(admin.at(world.machine.follower.url), 'top')).toEqual([200, item('top', 'user:admin')])
  })

  test('names that mean something to a program are names like others', async () => {
    const annotations = '{"__proto__":"p","constructor":"c"}'
    const [status, body] = await make(
      admin,
      `{"name":"constructor","branch":"data","annotations":${annotations}}`,
    )
    expect([status, JSON.stringify((body as { annotations: object }).annotations)]).toEqual([
      201,
      annotations,
    ])
    const [, held] = await show(admin, 'data/constructor')
    expect(JSON.stringify((held as { annotations: object }).annotations)).toBe(annotations)
    expect(await make(admin, '{"name":"x","branch":"data","__proto__":{}}')).toEqual(
      refusedV2(422, 'Unexpected parameters: __proto__'),
    )
  })

  test('not without create on the parent, not for an owner that is not there, not twice', async () => {
    expect(await make(admin, { name: 'x', branch: 'none' })).toEqual(missing('none'))
    expect(await make(admin, { name: 'x', branch: 'none/at/all' })).toEqual(missing('none/at/all'))
    expect(await make(stranger, { name: 'x', branch: 'data' })).toEqual(missing('data'))
    expect(await make(reader, { name: 'x', branch: 'data' })).toEqual(missing('data'))
    expect(await make(maker, { name: 'x', branch: '/' })).toEqual(missing('root'))
    const none = { kind: 'group', id: 'nobody' }
    expect(await make(admin, { name: 'x', branch: 'none', owner: none })).toEqual(missing('none'))
    expect(await make(admin, { name: 'app', branch: 'data', owner: none })).toEqual(
      refusedV2(404, "Group 'nobody' not found in account 'acme'"),
    )
    expect(await make(admin, { name: 'x', branch: 'data', owner: { kind: 'policy', id: 'data/x' } })).toEqual(
      refusedV2(404, "Policy 'data/x' not found in account 'acme'"),
    )
    const exists = refusedV2(409, 'Branch "acme:branch:data/deep" already exists')
    expect(await make(admin, { name: 'deep', branch: 'data' })).toEqual(exists)
    // The maker does not see it.
    expect((await resource(maker, 'policy:data/deep'))[0]).toBe(404)
    expect(await make(maker, { name: 'deep', branch: 'data' })).toEqual(exists)
    expect(await make(admin, { name: 'root', branch: '/' })).toEqual(
      refusedV2(409, 'Branch "acme:branch:root" already exists'),
    )
  })

  const long = 'n'.repeat(60)
  test.each<[fault: string, body: unknown]>([
    ['CONJ00190W Missing required parameter: name, branch', { owner: null }],
    ['CONJ00190W Missing required parameter: branch', { name: 'x', branch: null, odd: 1 }],
    ['Unexpected parameters: a, b', { name: 'x<', branch: 'data', a: 1, b: { c: 2 } }],
    ["CONJ00192W The 'name' parameter must be of 'type=string'", { name: 7, branch: 'data' }],
    ["CONJ00192W The 'branch' parameter must be of 'type=string'", { name: 'x', branch: ['data'] }],
    ["Name Wrong name 'x<'", { name: 'x<', branch: 'data<' }],
    ["Name Wrong name ''", { name: '', branch: 'data' }],
    ["Name Wrong name 'a/b'", { name: 'a/b', branch: 'data' }],
    ["Name Wrong name 'a\0b'", { name: 'a\0b', branch: 'data' }],
    ["Name Wrong name 'é'", { name: 'é', branch: 'data' }],
    [`Name Wrong name '${long}n'`, { name: `${long}n`, branch: 'data' }],
    [`Name Wrong name '${'é'.repeat(200)}…'`, { name: 'é'.repeat(60_000 / 2), branch: 'data' }],
    ["Branch Wrong path 'x<'", { name: 'x', branch: 'x<' }],
    ["Branch Wrong path ''", { name: 'x', branch: '' }],
    ["Branch Wrong path 'data/'", { name: 'x', branch: 'data/' }],
    ["Branch Wrong path '//data'", { name: 'x', branch: '//data' }],
    ["Branch Wrong path 'data/../app'", { name: 'x', branch: 'data/../app' }],
    ["Branch Wrong path '\ud800'", '{"name":"x","branch":"\\ud800"}'],
    [
      'The number of identifier nesting exceeds maximum depth of 15',
      { name: 'x', branch: Array(15).fill('d').join('/') },
    ],
    ['The identifier exceeds maximum length of 950', { name: long, branch: 'd'.repeat(900) }],
    [
      "CONJ00192W The 'annotations' parameter must be of 'type=object'",
      { name: 'x', branch: 'data', annotations: [] },
    ],
    ['k should have string value but got 6', { name: 'x', branch: 'data', annotations: { j: '', k: 6 } }],
    ['k should have string value but got null', { name: 'x', branch: 'data', annotations: { k: null } }],
    [
      'k should have string value but got {"a":["b"]}',
      { name: 'x', branch: 'data', annotations: { k: { a: ['b'] } } },
    ],
    [
      "Annotation 'k' holds a character that none may have",
      { name: 'x', branch: 'data', annotations: { k: '\0' } },
    ],
    [
      `The annotation name '${'k'.repeat(200)}…' is longer than 500 bytes`,
      { name: 'x', branch: 'data', annotations: { ['k'.repeat(501)]: 'v' } },
    ],
    [
      "CONJ00192W The 'owner' parameter must be of 'type=object'",
      { name: 'x', branch: 'data', owner: 'ops' },
    ],
    ['CONJ00190W Missing required parameter: kind, id', { name: 'x', branch: 'data', owner: {} }],
    ['Unexpected parameters: c', { name: 'x', branch: 'data', owner: { kind: 'group', id: 'ops', c: 1 } }],
    [
      "Kind 'layer' is not a valid owner kind",
      { name: 'x', branch: 'data', owner: { kind: 'layer', id: 'ops' } },
    ],
    ["Kind '[1]' is not a valid owner kind", { name: 'x', branch: 'data', owner: { kind: [1], id: 'ops' } }],
    [
      "CONJ00192W The 'id' parameter must be of 'type=string'",
      { name: 'x', branch: 'data', owner: { kind: 'user', id: 7 } },
    ],
    [
      "CONJ00192W The 'id' parameter must be of 'type=string'",
      { name: 'x', branch: 'data', owner: { kind: 'user', id: '/' } },
    ],
    [
      'The id holds a character that no name may have',
      { name: 'x', branch: 'data', owner: { kind: 'user', id: 'a\0' } },
    ],
  ])('422: %s', async (fault, body) => {
    const [status, said] = await make(admin, body)
    expect([status, (said as { message: string }).message]).toEqual([422, fault])
    // The same for whoever may not.
    expect((await make(stranger, body))[0]).toBe(422)
  })

  test('the longest name, the deepest path; the query is no part of it; bodies must be objects', async () => {
    expect((await make(admin, { name: long, branch: 'data' }))[0]).toBe(201)
    let branch = 'data'
    for (let depth = 2; depth <= 15; depth++) {
      expect((await make(admin, { name: 'd', branch }))[0]).toBe(201)
      branch += '/d'
    }
    expect(await make(admin, { name: 'd', branch })).toMatchObject([422, {}])
    expect(await make(admin, { name: 'x', branch: 'data' }, '?q=1&name=x')).toEqual(
      refusedV2(422, 'Unexpected parameters: name, q'),
    )
    for (const body of ['', ' \n', '{}', ' { } '])
      expect(await make(admin, body)).toEqual(refusedV2(400, 'Empty request body'))
    for (const body of ['{', 'null', '[]', '"x"', '7', 'name=x']) {
      expect(await make(admin, body)).toMatchObject([
        400,
        { message: expect.stringMatching(/^Invalid JSON body: /) },
      ])
    }
    const raw = await admin.request('POST', '/branches/acme', {
      body: new Uint8Array([0x22, 0xff]),
      headers: { Accept: V2 },
    })
    expect(raw.status).toBe(400)
    expect(
      (await make(admin, { name: 'x', branch: 'data', annotations: { k: 'v'.repeat(70_000) } }))[0],
    ).toBe(413)
  })

  test('is recorded, done or refused, with no more than a branch has', async () => {
    await make(admin, { name: 'told', branch: 'data', annotations: { k: 'v' } })
    expect(await newest(admin, 'create')).toMatchObject({
      severity: 5,
      message: `acme:user:admin successfully created branch told with URI path: '/branches/acme' and JSON object: {"name":"told","branch":"data","annotations":{"k":"v"}}`,
    })
    await make(stranger, { name: 'told', branch: 'data', token: 'hush' })
    const record = await newest(admin, 'create')
    expect(record).toMatchObject({
      message: expect.stringMatching(
        /^acme:host:stranger failed to create branch with URI path.*: Unexpected parameters: token$/,
      ),
    })
    expect(JSON.stringify(record)).not.toContain('hush')
  })
})

test('a Follower makes none, and says so after the same checks', async () => {
  await settled(world)
  const at = (client: Client): Client => client.at(world.machine.follower.url)
  const body = { name: 'elsewhere', branch: 'data' }
  expect(await make(at(maker), body)).toEqual([
    405,
    expect.stringContaining('Write operations are not allowed'),
  ])
  expect(await make(at(stranger), body)).toEqual(missing('data'))
  expect(await make(at(maker), { name: 'app', branch: 'data' })).toMatchObject([409, {}])
})
