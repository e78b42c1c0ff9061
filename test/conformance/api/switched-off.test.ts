// What the settings switch off is not there: issuers and dynamic secrets by default, host factories on demand.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import { ask, aws, create } from './issuers.world.ts'
import { answered, startWorld, type World } from './world.ts'

let world: World
let admin: Client
beforeAll(async () => {
  world = await startWorld({ env: { CONJUR_HOST_FACTORIES_ENABLED: 'false' } })
  admin = world.admin
})
afterAll(() => world?.machine.stop())

const nothing = [404, '']

test('there are no issuers (http-api note 32)', async () => {
  expect(await create(admin, aws('aws-1'))).toEqual(nothing)
  expect(await create(admin, '{')).toEqual(nothing)
  expect(await ask(admin, 'GET', '/issuers/acme')).toEqual(nothing)
  for (const method of ['GET', 'PATCH', 'DELETE'])
    expect(await ask(admin, method, '/issuers/acme/aws-1', method === 'PATCH' ? {} : undefined)).toEqual(
      nothing,
    )
  const follower = admin.at(world.machine.follower.url)
  expect(await ask(follower, 'GET', '/issuers/acme/aws-1')).toEqual(nothing)
})

test('variables of dynamic secrets are ordinary ones', async () => {
  const text = '- !policy { id: data/dynamic, body: [ !variable key ] }\n'
  expect((await admin.loadPolicy('root', text)).status).toBe(201)
  expect(await answered(admin.getSecret('data/dynamic/key'))).toMatchObject([404, {}])
  expect((await admin.setSecret('data/dynamic/key', 'mine')).status).toBe(201)
  expect(await answered(admin.getSecret('data/dynamic/key'))).toEqual([200, 'mine'])
  expect(await ask(admin, 'GET', '/secrets?variable_ids=acme:variable:data/dynamic/key')).toEqual([
    200,
    { 'acme:variable:data/dynamic/key': 'mine' },
  ])
})

test('host factories make neither tokens nor hosts', async () => {
  const factory = { host_factory: 'acme:host_factory:app/factory', expiration: '2999-01-01T00:00:00Z' }
  for (const client of [admin, admin.at(world.machine.follower.url)]) {
    expect(await ask(client, 'POST', '/host_factory_tokens', factory)).toEqual(nothing)
    expect(await ask(client, 'DELETE', '/host_factory_tokens/x')).toEqual(nothing)
    expect(await ask(client, 'POST', '/host_factories/hosts', { id: 'h' })).toEqual(nothing)
  }
})
