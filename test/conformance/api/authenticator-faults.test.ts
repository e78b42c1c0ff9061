// What is wrong with an authenticator that is to be made: each fault in the words of the reference (http-api 15).
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import { ask, data, make, startAuthenticators } from './authenticators.world.ts'
import { answered, refusedV2, type World } from './world.ts'

let world: World
let maker: Client
beforeAll(async () => {
  ;({ world, maker } = await startAuthenticators())
})
afterAll(() => world?.machine.stop())

const jwt = (changes: object) => ({ type: 'jwt', name: 'x', data, ...changes })
const jwtData = (changes: object) => jwt({ data: { ...data, ...changes } })
const oidc = { provider_uri: 'https://idp.example' }
test.each<[string, unknown, string]>([
  ['nothing', {}, 'CONJ00190W Missing required parameter: type, name'],
  ['no name', jwt({ name: undefined }), 'CONJ00190W Missing required parameter: name'],
  ['a name that is none', jwt({ name: 7 }), "CONJ00192W The 'name' parameter must be of 'type=string'"],
  ['a type that is none', jwt({ type: [] }), "CONJ00192W The 'type' parameter must be of 'type=string'"],
  ['an unknown type', jwt({ type: 'x' }), "'authn-x' authenticators are not supported."],
  ['API keys', jwt({ type: 'authn' }), "'authn-authn' authenticators are not supported."],
  [
    'enabled as a text',
    jwt({ enabled: 'true' }),
    "CONJ00192W The 'enabled' parameter must be of 'type=true, false'",
  ],
  ['unknown members', jwt({ a: 1, b: 2 }), 'The following parameters were not expected: a, b'],
  ['no data', jwt({ data: undefined }), 'CONJ00190W Missing required parameter: data'],
  ['data as a list', jwt({ data: [] }), "CONJ00192W The 'data' parameter must be of 'type=object'"],
  ['unknown data', jwtData({ x: 1 }), 'The following parameters were not expected: x'],
  ['unknown identity', jwtData({ identity: { x: 1 } }), 'The following parameters were not expected: x'],
  ['a dotted name', jwtData({ 'identity.x': '' }), 'The following parameters were not expected: identity.x'],
  [
    'an identity that is none',
    jwtData({ identity: 'x' }),
    "CONJ00192W The 'identity' parameter must be of 'type=object'",
  ],
  [
    'no keys',
    jwtData({ jwks_uri: undefined }),
    'CONJ00190W Missing required parameter: jwks_uri or public_keys',
  ],
  [
    'blank keys',
    jwtData({ jwks_uri: ' ' }),
    'CONJ00190W Missing required parameter: jwks_uri or public_keys',
  ],
  [
    'two sources',
    jwtData({ public_keys: 'x' }),
    'These parameters cannot be used together: jwks_uri, public_keys',
  ],
  [
    'no issuer',
    jwtData({ jwks_uri: null, public_keys: 'x', issuer: undefined }),
    'CONJ00190W Missing required parameter: issuer',
  ],
  [
    'a path alone',
    jwtData({ identity: { identity_path: 'x' } }),
    'CONJ00190W Missing required parameter: token_app_property',
  ],
  [
    'an issuer that is none',
    jwtData({ issuer: 7 }),
    "CONJ00192W The 'issuer' parameter must be of 'type=string'",
  ],
  [
    'data where there is none',
    { type: 'aws', name: 'x', data: {} },
    'The following parameters were not expected: data',
  ],
  [
    'data of gcp',
    { type: 'gcp', name: 'default', data: {} },
    'The following parameters were not expected: data',
  ],
  [
    'no provider',
    { type: 'azure', name: 'x', data: {} },
    'CONJ00190W Missing required parameter: provider_uri',
  ],
  [
    'no flow',
    { type: 'oidc', name: 'x', data: oidc },
    'CONJ00190W Missing required parameter: client_id, client_secret, redirect_uri, claim_mapping',
  ],
  [
    'half a flow',
    { type: 'oidc', name: 'x', data: { ...oidc, client_id: 'a', client_secret: 'b' } },
    'CONJ00190W Missing required parameter: redirect_uri, claim_mapping',
  ],
  [
    'two flows',
    { type: 'oidc', name: 'x', data: { ...oidc, id_token_user_property: 'a', client_id: 'b' } },
    'These parameters cannot be used together: id_token_user_property, client_id',
  ],
  [
    'annotations as a text',
    jwt({ annotations: 'x' }),
    "CONJ00192W The 'annotations' parameter must be of 'type=object'",
  ],
  [
    'an annotation that is none',
    jwt({ annotations: { k: 6 } }),
    "CONJ00192W The 'k' parameter must be of 'type=string'",
  ],
])('is refused: %s', async (_what, body, message) => {
  expect(await make(maker, body)).toEqual(refusedV2(422, message))
})

test.each<[string, unknown]>([
  ['an empty name', jwt({ name: '' })],
  ['a long name', jwt({ name: 'x'.repeat(61) })],
  ['a path as a name', jwt({ name: 'a/b' })],
  ['the name of a status', jwt({ name: 'status' })],
  ['claims as a text', jwtData({ identity: { enforced_claims: 'a,b' } })],
  ['claims with a comma', jwtData({ identity: { enforced_claims: ['a,b'] } })],
  ['aliases as a list', jwtData({ identity: { claim_aliases: ['a'] } })],
  ['a value that no store holds', jwtData({ issuer: 'a\0b' })],
  ['half a character', jwtData({ issuer: '\ud800' })],
  ['the name of an annotation', jwt({ annotations: { 'a b': 'x' } })],
  ['a long name of an annotation', jwt({ annotations: { ['x'.repeat(501)]: 'x' } })],
  ['an empty annotation', jwt({ annotations: { a: '' } })],
  ['a long annotation', jwt({ annotations: { a: 'x'.repeat(121) } })],
  ['markup in an annotation', jwt({ annotations: { a: '<b>' } })],
  ['an annotation that no store holds', jwt({ annotations: { a: '\0' } })],
])('is refused as well: %s', async (_what, body) => {
  expect((await make(maker, body))[0]).toBe(422)
})

test('nothing of a refused one is left, and half a branch is not taken over', async () => {
  expect((await ask(world.admin, 'GET', '/jwt/x'))[0]).toBe(404)
  await world.admin.loadPolicy('root', '- !variable conjur/authn-jwt/half/issuer')
  await world.admin.setSecret('conjur/authn-jwt/half/issuer', 'before')
  expect(await make(world.admin, { type: 'jwt', name: 'half', data })).toEqual(
    refusedV2(409, 'The authenticator already exists.'),
  )
  expect(await (await world.admin.getSecret('conjur/authn-jwt/half/issuer')).text()).toBe('before')
})

test('the version must be asked for, and the body be an object', async () => {
  for (const [method, path] of [
    ['GET', ''],
    ['POST', ''],
    ['GET', '/jwt/loaded'],
    ['PATCH', '/jwt/loaded'],
    ['DELETE', '/jwt/loaded'],
  ] as const) {
    const got = answered(
      world.admin.request(method, `/authenticators/acme${path}`, { headers: { Accept: 'application/json' } }),
    )
    expect(await got).toMatchObject([400, { code: '400', message: expect.stringContaining('CONJ00194W') }])
  }
  for (const [method, path] of [
    ['POST', ''],
    ['PATCH', '/jwt/loaded'],
  ] as const) {
    expect(await ask(maker, method, path, ' ')).toEqual(refusedV2(400, 'Request body is empty'))
    for (const text of ['[]', '"x"', '{', 'null'])
      expect(await ask(maker, method, path, text)).toEqual(refusedV2(400, 'Request JSON is malformed'))
  }
})
