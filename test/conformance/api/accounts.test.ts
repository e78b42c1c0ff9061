// Accounts (http-api 7, note 27): made and removed whole, by whoever may do so on their webservice.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Client } from '../../support/nodes.ts'
import { type Answered, answered, argument, settled, startWorld, type World } from './world.ts'

let world: World
let root: Client
beforeAll(async () => {
  world = await startWorld()
  const { leader, accountsKey } = world.machine
  root = await new Client(leader.url, '!').login('!/root', accountsKey())
})
afterAll(() => world?.machine.stop())

const create = (as: Client, id: string): Promise<Answered> =>
  answered(
    as.request('POST', '/accounts', {
      body: `id=${encodeURIComponent(id)}`,
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    }),
  )
const list = (as: Client): Promise<Answered> => answered(as.request('GET', '/accounts'))
const remove = (id: string): Promise<Answered> =>
  answered(root.request('DELETE', `/accounts/${encodeURIComponent(id)}`))

test('a new account has an admin, who logs in with the key of the answer and loads policy; ! is not listed (http-api note 27)', async () => {
  const [status, body] = await create(root, 'beta')
  expect([status, body]).toEqual([201, { id: 'beta', api_key: expect.stringMatching(/^[0-9a-z]{50,56}$/) }])
  // The installation’s own account is in no list.
  expect(await list(root)).toEqual([200, ['acme', 'beta']])
  const admin = await new Client(root.url, 'beta').login('admin', (body as { api_key: string }).api_key)
  expect((await admin.loadPolicy('root', '- !variable v\n- !host h\n')).status).toBe(201)
  expect((await admin.setSecret('v', 'one')).status).toBe(201)
  await settled({ machine: world.machine, admin: world.admin })
  const there = admin.at(world.machine.follower.url)
  expect(await (await there.getSecret('v')).text()).toBe('one')

  expect(await remove('beta')).toEqual([204, ''])
  expect(await list(root)).toEqual([200, ['acme']])
  // Its token is still good, and its role is gone.
  expect((await admin.getSecret('v')).status).toBe(403)
  await settled({ machine: world.machine, admin: world.admin })
  expect((await there.getSecret('v')).status).toBe(403)
  expect((await remove('beta'))[0]).toBe(404)
  expect((await create(root, 'beta'))[0]).toBe(201)
  expect((await remove('beta'))[0]).toBe(204)
})

test('names that cannot be, those that are taken, and those that nobody has (http-api note 27)', async () => {
  expect(await create(root, 'a/b')).toEqual(argument('Invalid account: a/b'))
  expect(await create(root, 'a:b')).toEqual(argument('account name "a:b" contains invalid characters (:)'))
  expect(await create(root, 'a b')).toEqual(argument('account name "a b" contains invalid characters ( )'))
  expect((await create(root, '!'))[0]).toBe(422)
  expect((await create(root, ''))[1]).toMatchObject({ error: { code: 'parameter_missing' } })
  expect(await create(root, 'acme')).toEqual([
    409,
    {
      error: {
        code: 'conflict',
        message: 'account "acme" already exists',
        target: 'account',
        details: { code: 'conflict', target: 'id', message: 'acme' },
      },
    },
  ])
  const missing = (name: string) => [
    404,
    {
      error: {
        code: 'not_found',
        message: `account "${name}" not found`,
        target: 'account',
        details: { code: 'not_found', target: 'id', message: name },
      },
    },
  ]
  for (const name of ['!', 'nobody', 'a b']) expect(await remove(name)).toEqual(missing(name))
})

test('an admin of an account is nobody here', async () => {
  const removing = answered(world.admin.request('DELETE', '/accounts/acme'))
  for (const ask of [create(world.admin, 'mine'), list(world.admin), removing]) {
    expect(await ask).toMatchObject([404, { error: { target: 'webservice' } }])
  }
  expect(await list(root)).toEqual([200, ['acme']])
})
