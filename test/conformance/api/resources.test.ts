// Resources: details, lists, checks, and who may do what with them (http-api 11).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  argument,
  notFound,
  type ReadCase,
  readCases,
  recordNotFound,
  recordsOf,
  settled,
  startDirectory,
  unprocessable,
  type World,
} from './world.ts'

/** Inside `dir`. */
const policy = `
  - !host
    id: fixed
    restricted_to: [ 10.0.0.1, 10.1.0.0/16 ]
  - !layer zone
  - !host-factory { id: hf, layers: [ !layer web, !layer zone ] }
  - !webservice { id: ping, annotations: { description: The jumping fox } }
  - !permit { role: !group all, privileges: [ read ], resources: [ !group all, !group nested, !host-factory hf, !policy inner ] }
  - !permit { role: !group nested, privileges: [ read, execute ], resources: [ !variable v1, !webservice ping ] }
  - !permit { role: !host other, privileges: [ execute ], resources: [ !host-factory hf, !group all ] }
  - !policy
    id: inner
    body:
    - !group team
    - &many
      - !variable m01
      - !variable m02
      - !variable m03
      - !variable m04
      - !variable m05
      - !variable m06
      - !variable m07
      - !variable m08
      - !variable m09
      - !variable m10
      - !variable m11
      - !variable m12
    - !permit { role: !host /dir/one, privileges: [ read ], resources: *many }
    - !permit { role: !host /dir/one, privileges: [ read ], resource: !group team }
    - !permit { role: !host /dir/one, privileges: [ create ], resource: !group team }
`

let world: World
let admin: Client
let one: Client
let other: Client
beforeAll(async () => {
  ;({ world, one, other } = await startDirectory(policy))
  admin = world.admin
  await admin.loadPolicy('dir', '- !group late')
  await settled(world)
})
afterAll(() => world?.machine.stop())

const cases: readonly ReadCase[] = [
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
    name: 'an unseen resource (http-api note 1)',
    as: 'web',
    path: '/resources/acme/variable/app%2Fhidden',
    status: 404,
    body: recordNotFound('variable', 'app/hidden'),
  },
  {
    name: 'HEAD of an unseen resource (http-api note 31)',
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
    name: 'check, allowed (http-api note 2)',
    as: 'web',
    path: '/resources/acme/variable/app%2Fdb%2Fpw?check&privilege=execute',
    status: 204,
    body: '',
  },
  {
    name: 'check, denied (http-api note 2)',
    as: 'onlooker',
    path: '/resources/acme/variable/app%2Fdb%2Fpw?check&privilege=execute',
    status: 404,
    body: '',
  },
  {
    name: 'check of an unseen resource (http-api note 2)',
    as: 'web',
    path: '/resources/acme/variable/app%2Fhidden?check&privilege=read',
    status: 404,
    body: recordNotFound('variable', 'app/hidden'),
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
    name: 'pages (http-api note 14)',
    as: 'onlooker',
    path: '/resources/acme/variable?limit=1&offset=1',
    status: 200,
    body: [{ id: 'acme:variable:app/empty' }],
  },
  {
    name: 'count (http-api note 15)',
    as: 'onlooker',
    path: '/resources/acme?count=true',
    status: 200,
    body: { count: 3 },
  },
  {
    name: 'an empty role is ignored (http-api note 15)',
    as: 'onlooker',
    path: '/resources/acme/variable?role=&limit=1',
    status: 200,
    body: [{ id: 'acme:variable:app/db/pw' }],
  },
  {
    name: 'an acting role that is not held (http-api note 15)',
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
    name: 'the one limit above the cap (http-api note 15)',
    as: 'onlooker',
    path: '/resources/acme/variable?limit=10000',
    status: 200,
  },
  {
    name: 'stemmed search (http-api note 16)',
    as: 'onlooker',
    path: '/resources/acme?search=run%20DATABASE',
    status: 200,
    body: [{ id: 'acme:variable:app/db/pw' }],
  },
  {
    name: 'no match (http-api note 16)',
    as: 'onlooker',
    path: '/resources/acme?search=nothing',
    status: 200,
    body: [],
  },
  { name: 'an unknown account', as: 'onlooker', path: '/resources/other', status: 200, body: [] },
]
readCases(() => world, cases)

const idsOf = ([status, body]: Answered): unknown =>
  status === 200 ? (body as { id: string }[]).map(({ id }) => id) : status
describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const get = (as: Client, path: string): Promise<Answered> =>
    answered(as.at(world.machine[node].url).request('GET', path))

  test('a host shows where it may come from, a policy its versions, a webservice its annotations', async () => {
    expect(await get(admin, '/resources/acme/host/dir%2Ffixed')).toEqual([
      200,
      {
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/),
        id: 'acme:host:dir/fixed',
        owner: 'acme:policy:dir',
        policy: 'acme:policy:root',
        permissions: [],
        annotations: [],
        restricted_to: ['10.0.0.1/32', '10.1.0.0/16'],
      },
    ])
    expect(await get(admin, '/resources/acme/policy/dir')).toMatchObject([
      200,
      {
        policy_versions: [
          {
            version: 1,
            id: 'acme:policy:dir',
            role: 'acme:user:admin',
            client_ip: '127.0.0.1',
            policy_text: '- !group late',
            policy_sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
          },
        ],
      },
    ])
    expect(await get(admin, '/resources/acme/webservice/dir%2Fping')).toMatchObject([
      200,
      {
        permissions: [
          { privilege: 'execute', role: 'acme:group:dir/nested', policy: 'acme:policy:root' },
          { privilege: 'read', role: 'acme:group:dir/nested', policy: 'acme:policy:root' },
        ],
        annotations: [{ name: 'description', value: 'The jumping fox', policy: 'acme:policy:root' }],
      },
    ])
  })

  test('lists: an offset alone means ten, pages do not overlap, the owner may be partial', async () => {
    const m = (from: number, to: number) =>
      Array.from(
        { length: to - from + 1 },
        (_, i) => `acme:variable:dir/inner/m${String(from + i).padStart(2, '0')}`,
      )
    expect(idsOf(await get(one, '/resources/acme/variable?offset=0'))).toEqual(m(1, 10))
    expect(idsOf(await get(one, '/resources/acme/variable?offset=10'))).toEqual([
      ...m(11, 12),
      'acme:variable:dir/v1',
    ])
    expect(idsOf(await get(one, '/resources?kind=variable&limit=2&offset=3'))).toEqual(m(4, 5))
    expect(await get(one, '/resources/acme?kind=variable&count=true&limit=2')).toEqual([200, { count: 13 }])
    expect(idsOf(await get(one, '/resources/acme?owner=policy:dir/inner&limit=20'))).toEqual([
      'acme:group:dir/inner/team',
      ...m(1, 12),
    ])
    expect(await get(one, '/resources/acme?owner=user:zed')).toEqual(
      notFound("User 'zed' not found in account 'acme'", 'user', 'acme:user:zed'),
    )
  })

  test('an owner counts with the roles that it holds', async () => {
    expect(idsOf(await get(one, '/resources/acme/webservice?owner=user:admin'))).toEqual([
      'acme:webservice:dir/ping',
    ])
    expect(idsOf(await get(one, '/resources/acme/webservice?owner=host:dir/one'))).toEqual([])
  })

  test('as a role that is held one sees what it sees; an unknown role is 403 (http-api note 15)', async () => {
    const path = '/resources/acme/variable?limit=20'
    expect(idsOf(await get(one, `${path}&acting_as=acme:group:dir/nested`))).toEqual(['acme:variable:dir/v1'])
    expect(idsOf(await get(one, `${path}&role=acme:group:dir/all`))).toEqual(['acme:variable:dir/v1'])
    expect(await get(one, `${path}&role=acme:group:none`)).toEqual([403, ''])
    expect(await get(one, '/resources/acme?offset=-1')).toEqual(
      unprocessable(
        "'offset' contains an invalid value. 'offset' must be an integer greater than or equal to 0.",
      ),
    )
  })

  test('a search splits at / . - and takes stems; words that say nothing find nothing (http-api note 16)', async () => {
    expect(idsOf(await get(one, '/resources/acme?search=JUMPED'))).toEqual(['acme:webservice:dir/ping'])
    expect(idsOf(await get(one, '/resources/acme?search=dir/ping+fox'))).toEqual(['acme:webservice:dir/ping'])
    expect(idsOf(await get(one, '/resources/acme?search=webservice'))).toEqual(['acme:webservice:dir/ping'])
    expect(idsOf(await get(one, '/resources/acme?search=the'))).toEqual([])
    expect(idsOf(await get(one, '/resources/acme?search=pi'))).toEqual([])
    const words = Array.from({ length: 2_000 }, (_, i) => `w${i}`).join('+')
    expect(await get(one, `/resources/acme?search=${words}`)).toEqual([200, []])
  })

  test('check as another role comes before the resource; the caller must see it', async () => {
    const check = (as: Client, id: string, query: string) =>
      get(as, `/resources/acme/${id}?check&privilege=${query}`)
    expect(await check(one, 'variable/dir%2Fv1', 'execute&role=acme:group:dir/nested')).toEqual([204, ''])
    expect(await check(one, 'variable/dir%2Fv1', 'update&role=acme:group:dir/nested')).toEqual([404, ''])
    expect(await check(one, 'variable/none', 'read&role=acme:host:dir/other')).toEqual([403, ''])
    expect(await check(one, 'variable/none', 'read')).toEqual(
      notFound("Variable 'none' not found in account 'acme'", 'variable', 'acme:variable:none'),
    )
    expect(await check(one, 'variable/none', '')).toEqual(argument('privilege'))
  })

  test('permitted roles by either name, of a resource that is seen', async () => {
    const permitted = (as: Client, query: string) =>
      get(as, `/resources/acme/variable/dir%2Fv1?permitted_roles${query}`)
    const roles = [
      'acme:group:dir/all',
      'acme:group:dir/nested',
      'acme:group:dir/x:user:y',
      'acme:host:dir/one',
      'acme:policy:dir',
      'acme:user:admin',
      'acme:user:carol@dir',
    ]
    expect(await permitted(one, '&permission=execute')).toEqual([200, roles])
    expect(await permitted(one, '&privilege=update')).toEqual([200, ['acme:policy:dir', 'acme:user:admin']])
    expect(await permitted(one, '')).toEqual(argument('privilege'))
    expect((await permitted(other, '&privilege=read'))[0]).toBe(404)
  })

  test('lists are refused where something in the query is wrong, or not the caller’s', async () => {
    for (const path of ['/resources', '/resources/acme', '/resources/acme/variable']) {
      expect(await get(one, `${path}?role=acme:host:dir/other`)).toEqual([403, ''])
      expect((await get(one, `${path}?owner=acme:user:zed`))[0]).toBe(404)
      for (const [name, value] of [
        ['limit', '0'],
        ['limit', '-1'],
        ['limit', 'x'],
        ['limit', '9999'],
        ['offset', '-1'],
        ['offset', 'x'],
      ])
        expect((await get(one, `${path}?${name}=${value}`))[0], `${path}?${name}=${value}`).toBe(422)
    }
  })

  test('a check that says no is an empty 404, and recorded as failed (http-api note 2)', async () => {
    const id = `check-${node}`
    const check = (name: string, privilege: string, step: string) =>
      answered(
        one
          .at(world.machine[node].url)
          .request(
            'GET',
            `/resources/acme/variable/${encodeURIComponent(name)}?check&privilege=${privilege}`,
            { headers: { 'X-Request-Id': `${id}-${step}` } },
          ),
      )
    expect(await check('dir/v1', 'execute', 'yes')).toEqual([204, ''])
    expect(await check('dir/v1', 'update', 'no')).toEqual([404, ''])
    expect(await check('none', 'read', 'missing')).toEqual(
      notFound("Variable 'none' not found in account 'acme'", 'variable', 'acme:variable:none'),
    )
    expect(await recordsOf(world, `${id}-yes`)).toMatchObject([{ severity: 6 }])
    expect(await recordsOf(world, `${id}-no`)).toMatchObject([
      { severity: 4, sdata: { 'action@43868': { result: 'failure', operation: 'check' } } },
    ])
    expect(await recordsOf(world, `${id}-missing`)).toMatchObject([{ severity: 4 }])
  })

  test('HEAD of what one has no permission on is 404 as GET is, and 200 where one has (http-api note 31)', async () => {
    const head = async (as: Client, path: string) => {
      const got = await as.at(world.machine[node].url).request('HEAD', path)
      return [got.status, await got.text()]
    }
    for (const path of [
      '/resources/acme/variable/dir%2Fv1',
      '/resources/acme/group/dir%2Fall',
      '/secrets/acme/variable/dir%2Fv1',
      '/resources/acme/variable/none',
    ]) {
      expect(await head(world.onlooker, path), path).toEqual([404, ''])
      expect((await get(world.onlooker, path))[0], path).toBe(404)
    }
    expect(await head(one, '/resources/acme/variable/dir%2Fv1')).toEqual([200, ''])
    expect(await head(other, '/resources/acme/group/dir%2Fall')).toEqual([200, ''])
  })
})

test('a list holds a thousand unless more is asked for, and the count all of them (http-api note 15)', async () => {
  const variables = Array.from({ length: 1_003 }, (_, i) => `!variable n${i}`).join(', ')
  const loaded = admin.loadPolicy('root', `- !policy { id: crowd, body: [ ${variables} ] }`)
  expect((await loaded).status).toBe(201)
  await settled(world)
  for (const node of ['leader', 'follower'] as const) {
    const list = async (query: string): Promise<unknown> => {
      const path = `/resources/acme/variable?owner=policy:crowd${query}`
      const [status, body] = await answered(admin.at(world.machine[node].url).request('GET', path))
      return Array.isArray(body) ? body.length : [status, body]
    }
    expect(await list('')).toBe(1_000)
    expect(await list('&role=')).toBe(1_000)
    expect(await list('&limit=1000')).toBe(1_000)
    expect(await list('&limit=10000')).toBe(1_003)
    expect(await list('&limit=1000&offset=1000')).toBe(3)
    expect(await list('&count=true')).toEqual([200, { count: 1_003 }])
    expect(await list('&count=true&limit=1')).toEqual([200, { count: 1_003 }])
    expect(await list('&limit=1001')).toEqual(unprocessable("'Limit' parameter must not exceed 1000"))
    expect(await list('&acting_as=acme:group:none')).toEqual([403, ''])
  }
})
