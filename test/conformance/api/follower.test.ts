// What a Follower answers to writes: 405 where the Leader would have written, and what the Leader answers where it would
// have refused (http-api 2.1, 17).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  basic,
  FORM,
  forbidden,
  readOnly,
  settled,
  startWorld,
  unauthorized,
  V2,
  type World,
} from './world.ts'

const policy = `
- !policy { id: conjur/authn-gcp, body: [ !webservice ] }
- !policy { id: conjur/authn-jwt/ci, body: [ !webservice ] }
- !policy { id: data, body: [ !group g, !host in, !host out ] }
- !grant { role: !group data/g, member: !host data/in }
- !permit { role: !host app/onlooker, privileges: [ read ], resources: [ !webservice conjur/authn-gcp, !webservice conjur/authn-jwt/ci ] }
`

let world: World
let root: Client
let hostToken: string
beforeAll(async () => {
  world = await startWorld()
  const { leader, accountsKey } = world.machine
  root = await new Client(leader.url, '!').login('!/root', accountsKey())
  const set = await world.admin.loadPolicy('root', policy)
  expect(set.status).toBe(201)
  const [, tokens] = await answered(
    world.admin.request('POST', '/host_factory_tokens', {
      body: `host_factory=acme:host_factory:app/factory&expiration=2099-01-01T00:00:00Z`,
      headers: FORM,
    }),
  )
  hostToken = (tokens as { token: string }[])[0]!.token
  await settled(world)
})
afterAll(() => world?.machine.stop())

type Ask = { readonly body?: string; readonly headers?: Record<string, string> }
const ask = (as: Client | undefined, method: string, path: string, init: Ask = {}): Promise<Answered> => {
  const client = as ?? new Client('', 'acme')
  const anonymous = as === undefined ? { Authorization: '' } : {}
  return answered(
    client
      .at(world.machine.follower.url)
      .request(method, path, { ...init, headers: { ...anonymous, ...init.headers } }),
  )
}
const ofAlice = () => basic('alice@app', world.keys.get('acme:user:alice@app')!)
const ofFactory = (token: string) => ({ Authorization: `Token token="${token}"`, ...FORM })
const MEMBERS = '/roles/acme/group/app%2Freaders?members&member=acme:host:app'
const v2 = { headers: { Accept: V2 } }
const memberBody = JSON.stringify({ kind: 'host', id: 'data/out' })

describe('a Follower writes nothing (http-api note 28)', () => {
  test.each<[string, () => Promise<Answered>]>([
    ['POST of a value', () => ask(world.web, 'POST', '/secrets/acme/variable/app%2Fempty', { body: 'x' })],
    ['expiry', () => ask(world.web, 'POST', '/secrets/acme/variable/app%2Fempty?expirations')],
    [
      'POST of a policy',
      () => ask(world.admin, 'POST', '/policies/acme/policy/root', { body: '- !group x' }),
    ],
    // A text is not read where no one commits: large ones take long, and anybody may send them.
    [
      'POST of a bad policy',
      () => ask(world.admin, 'POST', '/policies/acme/policy/root', { body: '- !x y' }),
    ],
    [
      'PATCH of a policy',
      () => ask(world.admin, 'PATCH', '/policies/acme/policy/app', { body: '- !group x' }),
    ],
    ['PUT of a policy', () => ask(world.admin, 'PUT', '/policies/acme/policy/app', { body: '- !group x' })],
    [
      'a dry run',
      () => ask(world.admin, 'POST', '/policies/acme/policy/root?dryRun=true', { body: '- !group x' }),
    ],
    ['a new member', () => ask(world.admin, 'POST', `${MEMBERS}/far`)],
    ['a member less', () => ask(world.admin, 'DELETE', `${MEMBERS}/web`)],
    [
      'a member by V2',
      () => ask(world.admin, 'POST', '/groups/acme/data%2Fg/members', { body: memberBody, ...v2 }),
    ],
    [
      'a member less by V2',
      () => ask(world.admin, 'DELETE', '/groups/acme/data%2Fg/members/host/data%2Fin', v2),
    ],
    ['one’s own key', () => ask(undefined, 'PUT', '/authn/acme/api_key', { headers: ofAlice() })],
    ['another’s key', () => ask(world.admin, 'PUT', '/authn/acme/api_key?role=host:app/far')],
    [
      'a password',
      () => ask(undefined, 'PUT', '/authn/acme/password', { headers: ofAlice(), body: 'Correct-Horse-9' }),
    ],
    ['an account', () => ask(root, 'POST', '/accounts?id=beta')],
    ['an account less', () => ask(root, 'DELETE', '/accounts/acme')],
    [
      'tokens of a host factory',
      () =>
        ask(world.admin, 'POST', '/host_factory_tokens', {
          body: 'host_factory=acme:host_factory:app/factory&expiration=2099-01-01',
          headers: FORM,
        }),
    ],
    ['a token less', () => ask(world.admin, 'DELETE', `/host_factory_tokens/${hostToken}`)],
    [
      'a host',
      () =>
        ask(undefined, 'POST', '/host_factories/hosts', { headers: ofFactory(hostToken), body: 'id=new' }),
    ],
    ['a switch', () => ask(world.admin, 'PATCH', '/authn-gcp/acme', { body: 'enabled=true', headers: FORM })],
    [
      'a switch of a service',
      () => ask(world.admin, 'PATCH', '/authn-jwt/ci/acme', { body: 'enabled=true', headers: FORM }),
    ],
  ])('%s', async (_what, asked) => {
    expect(await asked()).toEqual(readOnly)
  })

  test('and says where the Leader is', async () => {
    const refused = await world.web.at(world.machine.follower.url).setSecret('app/empty', 'x')
    expect([refused.status, refused.headers.get('x-leader-url')]).toEqual([405, world.machine.leader.url])
  })

  test.each<[string, number, () => Promise<Answered>]>([
    [
      'POST of a value, unseen',
      404,
      () => ask(world.web, 'POST', '/secrets/acme/variable/app%2Fhidden', { body: 'x' }),
    ],
    [
      'POST of a value',
      403,
      () => ask(world.onlooker, 'POST', '/secrets/acme/variable/app%2Fempty', { body: 'x' }),
    ],
    [
      'POST of nothing',
      422,
      () => ask(world.web, 'POST', '/secrets/acme/variable/app%2Fempty', { body: '' }),
    ],
    [
      'a policy, unseen',
      404,
      () => ask(world.web, 'POST', '/policies/acme/policy/root', { body: '- !group x' }),
    ],
    ['a member that is none', 404, () => ask(world.admin, 'POST', `${MEMBERS}/none`)],
    [
      'a member by V2 that is one',
      409,
      () =>
        ask(world.admin, 'POST', '/groups/acme/data%2Fg/members', {
          body: memberBody.replace('out', 'in'),
          ...v2,
        }),
    ],
    ['one’s own key by a token', 401, () => ask(world.admin, 'PUT', '/authn/acme/api_key')],
    [
      'a weak password',
      422,
      () => ask(undefined, 'PUT', '/authn/acme/password', { headers: ofAlice(), body: 'weak' }),
    ],
    ['an account that is there', 409, () => ask(root, 'POST', '/accounts?id=acme')],
    ['an account that is none', 404, () => ask(root, 'DELETE', '/accounts/none')],
    ['an account, by who may not', 404, () => ask(world.admin, 'POST', '/accounts?id=beta')],
    [
      'a token of the past',
      422,
      () =>
        ask(world.admin, 'POST', '/host_factory_tokens', {
          body: 'host_factory=acme:host_factory:app/factory&expiration=2020-01-01',
          headers: FORM,
        }),
    ],
    ['a token that is none', 404, () => ask(world.admin, 'DELETE', '/host_factory_tokens/none')],
  ])('what the Leader refuses is refused: %s is %i', async (_what, status, asked) => {
    expect((await asked())[0]).toBe(status)
  })

  test('what the Leader refuses without a word is refused so', async () => {
    const hosts = '/host_factories/hosts'
    expect(await ask(undefined, 'POST', hosts, { headers: ofFactory('none'), body: 'id=x' })).toEqual(
      unauthorized,
    )
    expect(
      await ask(undefined, 'POST', hosts, { headers: ofFactory(hostToken), body: 'id=app/web' }),
    ).toEqual(forbidden)
    for (const path of ['/authn-gcp/acme', '/authn-jwt/ci/acme'])
      expect(await ask(world.onlooker, 'PATCH', path, { body: 'enabled=true', headers: FORM })).toEqual(
        forbidden,
      )
  })
})

test('the audit is read where it is collected', async () => {
  const no = [405, { error: { code: 405, message: 'Read operations are not allowed' } }]
  for (const path of [
    '/audit',
    '/audit/resources/acme:variable:app/db/pw',
    '/audit/roles/acme:user:admin',
    '/audit/entities/acme:user:admin',
  ])
    expect(await ask(world.admin, 'GET', path), path).toEqual(no)
})
