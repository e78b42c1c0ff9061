// Branches by V2: given other owners and annotations, and removed with all that is in them (http-api 15).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import { change, drop, item, may, missing, newest, resource, show, startBranches } from './branches.world.ts'
import { answered, loadedBy, refusedV2, settled, type World } from './world.ts'

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

describe('changing one', () => {
  test('the ownership moves with the owner, whichever policy defined the branch (policy note 15)', async () => {
    await admin.loadPolicy('root', '- !policy { id: moved, owner: !user uma, body: [ !variable pw ] }')
    const owns = (role: string): Promise<boolean> => may(admin, role, 'update', 'variable:moved/pw')
    expect([await owns('user:uma'), await owns('group:ops')]).toEqual([true, false])
    const ops = { kind: 'group', id: '/ops' }
    expect(await change(await as('uma'), 'moved', { owner: ops })).toEqual([200, item('moved', 'group:ops')])
    expect([await owns('user:uma'), await owns('group:ops')]).toEqual([false, true])
    const [, members] = await answered(admin.request('GET', '/roles/acme/policy/moved?members'))
    expect(members).toEqual([
      {
        role: 'acme:policy:moved',
        member: 'acme:group:ops',
        ownership: true,
        admin_option: true,
        policy: 'acme:policy:root',
      },
    ])
    // Another grant between the same two stays; so does the owner when nothing is said of it.
    await admin.request('POST', '/roles/acme/policy/moved?members&member=acme:group:ops')
    await change(admin, 'moved', { owner: { kind: 'user', id: 'admin' } })
    expect(await change(admin, 'moved', { annotations: { a: '1' } })).toEqual([
      200,
      item('moved', 'user:admin', { a: '1' }),
    ])
    const [, left] = await answered(admin.request('GET', '/roles/acme/policy/moved?members'))
    expect(left).toMatchObject([
      { member: 'acme:group:ops', ownership: false },
      { member: 'acme:user:admin', ownership: true },
    ])
    await settled(world)
    expect(await show(admin.at(world.machine.follower.url), 'moved')).toMatchObject([
      200,
      { annotations: { a: '1' } },
    ])
  })

  test('annotations are added to those that are there, whoever defined them, and are found', async () => {
    await admin.loadPolicy('root', '- !policy { id: noted, annotations: { a: "1", b: "2" } }')
    expect(await change(admin, '/noted', { annotations: { b: 'turquoise', c: '3' } })).toEqual([
      200,
      item('noted', 'user:admin', { a: '1', b: 'turquoise', c: '3' }),
    ])
    expect(await show(admin, 'noted')).toMatchObject([
      200,
      { annotations: { a: '1', b: 'turquoise', c: '3' } },
    ])
    const found = await answered(admin.request('GET', '/resources/acme/policy?search=turquoise'))
    expect(found).toMatchObject([200, [{ id: 'acme:policy:noted' }]])
    expect(await change(admin, 'noted', { annotations: {} })).toMatchObject([200, { name: 'noted' }])
  })

  test('needs read and update; the root stays as it is', async () => {
    const body = { annotations: { x: 'y' } }
    expect(await change(maker, 'data/app', body)).toMatchObject([200, { annotations: { x: 'y' } }])
    expect(await change(reader, 'data', body)).toEqual(missing('data'))
    expect(await change(reader, 'data/apple', body)).toEqual(missing('data/apple'))
    expect(await change(stranger, 'data', body)).toEqual(missing('data'))
    expect(await change(admin, 'none', body)).toEqual(missing('none'))
    expect(await change(admin, 'none/x', body)).toEqual(missing('none'))
    expect(await change(admin, 'lone/some', body)).toEqual(missing('lone'))
    expect(await change(admin, 'root', body)).toEqual(missing('root'))
    expect(await change(admin, 'data', { owner: { kind: 'host', id: 'none' } })).toEqual(
      refusedV2(404, "Host 'none' not found in account 'acme'"),
    )
    expect(await change(admin, 'data', {})).toEqual(refusedV2(400, 'Empty request body'))
    expect(await change(admin, 'data', '[')).toMatchObject([400, {}])
    expect(await change(admin, 'data', { name: 'x', branch: '/' })).toEqual(
      refusedV2(422, 'Unexpected parameters: name, branch'),
    )
    expect(await change(admin, 'data?x', body)).toEqual(refusedV2(422, 'Unexpected parameters: x'))
    expect(await change(admin, 'data', { annotations: { k: 6 } })).toEqual(
      refusedV2(422, 'k should have string value but got 6'),
    )
    expect(await change(admin, 'data', { owner: { kind: 'layer', id: 'x' } })).toEqual(
      refusedV2(422, "Kind 'layer' is not a valid owner kind"),
    )
    await change(maker, 'data/app', body)
    expect(await newest(admin, 'update')).toMatchObject({
      message: `acme:host:maker successfully updated branch data/app with URI path: '/branches/acme/data/app' and JSON object: {"annotations":{"x":"y"}}`,
    })
  })
})

describe('removing one', () => {
  const branch = `
- !group keepers
- !policy
  id: bin
  owner: !group keepers
  body:
  - !variable pw
  - !group
  - !user ann
  - !host h
  - !policy { id: sub, body: [ !variable deep ] }
  - !grant { role: !group , members: [ !host h, !group /ops ] }
- !policy { id: binary, body: [ !variable pw ] }
- !variable bin/foreign
- !group bin/elsewhere
- !variable { id: owned, owner: !group bin/elsewhere }
- !permit { role: !group bin/elsewhere, privileges: [ read ], resource: !variable binary/pw }
`
  const refill = async (): Promise<void> => {
    expect((await admin.loadPolicy('root', branch)).status).toBe(201)
    expect((await admin.loadPolicy('bin/sub', '- !variable more')).status).toBe(201)
    for (const id of ['bin/pw', 'bin/sub/deep', 'bin/sub/more', 'bin/foreign', 'binary/pw']) {
      expect((await admin.setSecret(id, `value of ${id}`)).status).toBe(201)
    }
  }
  const gone = [
    ...['policy:bin', 'policy:bin/sub', 'group:bin', 'group:bin/elsewhere', 'host:bin/h', 'user:ann@bin'],
    ...[
      'variable:bin/pw',
      'variable:bin/sub/deep',
      'variable:bin/sub/more',
      'variable:bin/foreign',
      'variable:owned',
    ],
  ]

  test('everything in it goes, whoever owns or defined it, and what it owns; its namesakes stay', async () => {
    await refill()
    await admin.setSecret('bin/pw', 'second')
    const text = await (await admin.request('GET', '/policies/acme/policy/root')).text()
    expect(await drop(admin, 'bin')).toEqual([204, ''])
    for (const id of gone) expect([id, (await resource(admin, id))[0]]).toEqual([id, 404])
    expect(await (await admin.getSecret('binary/pw')).text()).toBe('value of binary/pw')
    expect(await resource(admin, 'variable:binary/pw')).toMatchObject([200, { permissions: [] }])
    expect((await resource(admin, 'group:keepers'))[0]).toBe(200)
    expect(text).toContain('id: bin\n')
    expect(await (await admin.request('GET', '/policies/acme/policy/root')).text()).not.toContain('id: bin\n')
    expect(await newest(admin, 'delete')).toMatchObject({
      message: "acme:user:admin successfully deleted branch bin with URI path: '/branches/acme/bin'",
    })
    expect(await drop(admin, 'bin')).toEqual(missing('bin'))
    await settled(world)
    const follower = admin.at(world.machine.follower.url)
    expect((await follower.getSecret('bin/foreign')).status).toBe(404)
    // Made again, it begins anew (policy note 8).
    await admin.loadPolicy('root', branch)
    expect((await admin.getSecret('bin/pw')).status).toBe(404)
    await admin.setSecret('bin/pw', 'new')
    expect(await resource(admin, 'variable:bin/pw')).toMatchObject([200, { secrets: [{ version: 1 }] }])
    expect(await resource(admin, 'policy:bin')).toMatchObject([200, { policy_versions: [] }])
  })

  test('needs update on it and on every record inside: else nothing goes', async () => {
    await refill()
    const keeper = await (
      await loadedBy(admin, '- !user kim\n- !grant { role: !group keepers, member: !user kim }')
    )('kim')
    expect(await drop(keeper, 'bin')).toEqual(missing('bin'))
    expect(await newest(admin, 'delete')).toMatchObject({
      message: expect.stringMatching(
        /^acme:user:kim failed to delete branch bin .*: Branch 'bin' not found in account 'acme'$/,
      ),
    })
    for (const id of gone) expect([id, (await resource(admin, id))[0]]).toEqual([id, 200])
    await admin.loadPolicy(
      'root',
      '- !permit { role: !user kim, privileges: [ update ], resources: [ !variable bin/foreign ] }',
    )
    expect((await drop(keeper, 'bin'))[0]).toBe(404)
    await admin.loadPolicy(
      'root',
      '- !permit { role: !user kim, privileges: [ update ], resources: [ !group bin/elsewhere ] }',
    )
    expect(await drop(keeper, 'bin')).toEqual([204, ''])
    expect(await drop(reader, 'data')).toEqual(missing('data'))
    expect(await drop(stranger, 'data')).toEqual(missing('data'))
    expect(await drop(maker, 'data')).toEqual(missing('data'))
    expect(await show(admin, 'data/deep/er')).toMatchObject([200, {}])
  })

  test('the root stays, and what has no parent is not there', async () => {
    expect(await drop(admin, 'root')).toEqual(missing('root'))
    expect(await drop(admin, '%2F')).toEqual(missing('root'))
    expect(await drop(admin, 'none')).toEqual(missing('none'))
    expect(await drop(admin, 'none/x')).toEqual(missing('none'))
    expect(await drop(admin, 'lone/some')).toEqual(missing('lone'))
    expect(await drop(admin, 'data?force')).toEqual(refusedV2(422, 'Unexpected parameters: force'))
    expect((await resource(admin, 'policy:root'))[0]).toBe(200)
  })
})

test('a Follower changes and removes none, and says so after the same checks', async () => {
  await settled(world)
  const at = (client: Client): Client => client.at(world.machine.follower.url)
  const readOnly = [405, expect.stringContaining('Write operations are not allowed')]
  expect(await change(at(maker), 'data/app', { annotations: { x: 'z' } })).toEqual(readOnly)
  expect(await change(at(stranger), 'data/app', { annotations: { x: 'z' } })).toEqual(missing('data'))
  expect(await drop(at(maker), 'data')).toEqual(missing('data'))
  expect(await drop(at(admin), 'data/app')).toEqual(readOnly)
  expect(await drop(at(stranger), 'data/app')).toEqual(missing('data'))
  expect(await show(admin, 'data/app')).toMatchObject([200, { annotations: { x: 'y' } }])
})
