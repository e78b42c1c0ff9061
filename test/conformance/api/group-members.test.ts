// Members of groups by V2: the branch's rights, and errors of its own form (http-api 15, note 1).
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  answeredV2,
  loadedBy,
  refusedV2,
  settled,
  startWorld,
  V2,
  type World,
} from './world.ts'

const policy = `
- !policy
  id: data
  body:
  - !group g
  - !group other
  - !host app
  - !user ann
  - !policy { id: sub, body: [ !group deep ] }
- !group top
- !host adder
- !host reader
- !permit { role: !host adder, privileges: [ create, update ], resource: !policy data }
- !permit { role: !host reader, privileges: [ read ], resource: !policy data }
`

let world: World
let adder: Client
let reader: Client
beforeAll(async () => {
  world = await startWorld()
  const as = await loadedBy(world.admin, policy)
  adder = await as('host/adder')
  reader = await as('host/reader')
})
afterAll(() => world?.machine.stop())

const add = (as: Client, group: string, body: unknown, accept = V2): Promise<Answered> =>
  answeredV2(
    as.request('POST', `/groups/acme/${group}/members`, {
      body: typeof body === 'string' ? body : JSON.stringify(body),
      headers: { Accept: accept, 'Content-Type': 'application/json' },
    }),
  )
const drop = (as: Client, group: string, kind: string, id: string): Promise<Answered> =>
  answeredV2(as.request('DELETE', `/groups/acme/${group}/members/${kind}/${id}`, { headers: { Accept: V2 } }))

const app = { kind: 'host', id: 'data/app' }

test('a member is added and removed with the rights on the branch', async () => {
  expect(await add(adder, 'data%2Fg', app)).toEqual([201, app])
  const members = async () =>
    (await answered(world.admin.request('GET', '/roles/acme/group/data%2Fg?members&kind=host')))[1]
  expect(await members()).toEqual([
    { role: 'acme:group:data/g', member: 'acme:host:data/app', ownership: false, admin_option: false },
  ])
  expect(await add(adder, 'data/g', app)).toEqual(
    refusedV2(409, "CONJ00180W 'data/app' (kind='host') is already a member of '/data/g'"),
  )
  expect(await drop(adder, 'data/g', 'host', 'data%2Fapp')).toEqual([204, ''])
  expect(await members()).toEqual([])
  expect(await drop(adder, 'data/g', 'host', 'data/app')).toEqual(
    refusedV2(422, "CONJ00181W 'data/app' (kind='host') isn't a member of '/data/g'"),
  )
  expect(await add(adder, 'data/g', { kind: 'user', id: '/ann@data' })).toEqual([
    201,
    { kind: 'user', id: 'ann@data' },
  ])
  expect(await add(adder, 'data/g', { kind: 'group', id: 'data/other' })).toMatchObject([201, {}])
  expect(await add(world.admin, 'top', app)).toMatchObject([201, {}])
})

test('what is not there, and what may not be: a branch without the right is 404 too (http-api note 1)', async () => {
  const branch = refusedV2(404, "Branch 'data' not found in account 'acme'")
  expect(await add(reader, 'data/g', app)).toEqual(branch)
  expect(await add(world.onlooker, 'data/g', app)).toEqual(branch)
  expect(await add(adder, 'top', app)).toEqual(refusedV2(404, "Branch 'root' not found in account 'acme'"))
  expect(await add(adder, 'data/sub/deep', app)).toEqual(
    refusedV2(404, "Branch 'data/sub' not found in account 'acme'"),
  )
  expect(await drop(reader, 'data/g', 'host', 'data/app')).toEqual(branch)
  expect(await drop(world.onlooker, 'data/g', 'host', 'data/app')).toEqual(branch)
  expect(await drop(adder, 'data/none', 'host', 'data/app')).toEqual(
    refusedV2(404, "Group 'data/none' not found in account 'acme'"),
  )
  expect(await add(adder, 'data/none', app)).toEqual(
    refusedV2(404, "Group 'data/none' not found in account 'acme'"),
  )
  expect(await add(adder, 'data/g', { kind: 'host', id: 'data/x' })).toEqual(
    refusedV2(422, "Host 'data/x' not found in account 'acme'"),
  )
  expect(await add(adder, 'data/g', { kind: 'group', id: 'data/g' })).toMatchObject([
    422,
    { message: expect.stringContaining('CONJ00191W') },
  ])
  expect(await add(adder, 'data/g', { kind: 'layer', id: 'x' })).toEqual(
    refusedV2(422, "Kind 'layer' is not a valid member kind"),
  )
  for (const kind of [['x'], { toString: 1 }, { kind: 'user' }]) {
    expect(await add(adder, 'data/g', { kind, id: 'x' })).toEqual(
      refusedV2(422, `Kind '${JSON.stringify(kind)}' is not a valid member kind`),
    )
  }
  expect(await add(adder, 'data/g', {})).toEqual(
    refusedV2(422, 'CONJ00190W Missing required parameter: kind, id'),
  )
  for (const id of [7, '', '/', ['x'], null, 'a\0b', '\ud800']) {
    expect((await add(adder, 'data/g', { kind: 'host', id }))[0]).toBe(422)
  }
})

test('the version must be asked for, and the body be an object', async () => {
  const [status, body] = await answered(
    adder.request('POST', '/groups/acme/data%2Fg/members', { body: '{}', headers: { Accept: '*/*' } }),
  )
  expect([status, body]).toMatchObject([400, { code: '400', message: expect.stringContaining('CONJ00194W') }])
  expect(await add(adder, 'data/g', ' ')).toEqual(refusedV2(400, 'Request body is empty'))
  const bare = adder.request('DELETE', '/groups/acme/data%2Fg/members/host/data%2Fapp')
  expect(await answered(bare)).toMatchObject([400, { message: expect.stringContaining('CONJ00194W') }])
  for (const text of ['[]', '"x"', '{', 'null']) {
    expect(await add(adder, 'data/g', text)).toEqual(refusedV2(400, 'Request JSON is malformed'))
  }
})

test('is recorded, done or refused; a Follower says that it writes nothing', async () => {
  await drop(adder, 'data/g', 'host', 'data/app')
  const [, rows] = await answered(
    world.admin.request('GET', '/audit?msgid=membership&action@43868/operation=remove&limit=1'),
  )
  expect(rows).toMatchObject([
    {
      severity: 5,
      message: expect.stringMatching(
        /^acme:host:adder failed to remove membership of host data\/app .*CONJ00181W/,
      ),
    },
  ])
  await settled(world)
  expect(
    (await add(adder.at(world.machine.follower.url), 'data/g', { kind: 'user', id: 'bob@app' }))[0],
  ).toBe(405)
})
