// Host factories: tokens with which machines enrol themselves (http-api 14).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  argument,
  notFound,
  settled,
  startDirectory,
  unprocessable,
  type World,
} from './world.ts'

/** Inside `dir`. */
const policy = `
  - !layer zone
  - !host-factory { id: hf, layers: [ !layer web, !layer zone ] }
  - !permit { role: !group all, privileges: [ read ], resource: !host-factory hf }
  - !permit { role: !host other, privileges: [ execute ], resources: [ !host-factory hf, !group all ] }
`

let world: World
let admin: Client
let one: Client
let other: Client
beforeAll(async () => {
  ;({ world, one, other } = await startDirectory(policy))
  admin = world.admin
})
afterAll(() => world?.machine.stop())

const namesOf = ([status, body]: Answered, name: 'id' | 'member'): unknown =>
  status === 200 ? (body as Record<string, string>[]).map((row) => row[name]) : status

describe('host factories', () => {
  const FACTORY = 'acme:host_factory:dir/hf'
  const later = (): string => new Date(Date.now() + 3_600_000).toISOString()
  const create = (as: Client, body: object): Promise<Answered> =>
    answered(
      as.request('POST', '/host_factory_tokens', {
        body: JSON.stringify(body),
        headers: { 'Content-Type': 'application/json' },
      }),
    )
  const tokenOf = ([, body]: Answered): string => (body as { token: string }[])[0]!.token
  const host = (token: string, body: string, headers: Record<string, string> = {}): Promise<Answered> =>
    answered(
      admin.request('POST', '/host_factories/hosts', {
        body,
        headers: {
          Authorization: `Token token="${token}"`,
          'Content-Type': 'application/x-www-form-urlencoded',
          ...headers,
        },
      }),
    )

  test('what is wrong is told in one order (http-api note 20)', async () => {
    expect(await create(other, {})).toEqual(argument('host_factory'))
    expect((await create(other, { host_factory: 'acme:host_factory:none' }))[0]).toBe(404)
    expect(await create(other, { host_factory: 'acme:group:dir/all' })).toEqual(
      argument('Invalid resource kind: group'),
    )
    expect(await create(one, { host_factory: FACTORY })).toEqual([403, ''])
    expect(await create(other, { host_factory: FACTORY, count: 'x', cidr: ['x'] })).toEqual(
      argument('expiration'),
    )
    const wrong = { host_factory: FACTORY, expiration: 'soon', cidr: ['x'] }
    expect(await create(other, { ...wrong, count: 'x' })).toEqual(
      argument("Invalid value for parameter 'count': x"),
    )
    expect(await create(other, wrong)).toEqual(argument('Input is invalid ISO8601 datetime string: soon'))
    expect(await create(other, { ...wrong, expiration: '2020-01-01T00:00:00Z' })).toEqual(
      argument('Value for parameter expiration must be in the future: 2020-01-01T00:00:00Z'),
    )
    expect(await create(other, { ...wrong, expiration: later() })).toEqual(
      unprocessable("Invalid IP address or CIDR range 'x'"),
    )
  })

  test('tokens are made of JSON, of a form and of the query; cidr may be repeated (http-api note 20)', async () => {
    const expiration = '2099-01-01T00:00:00Z'
    const many = { host_factory: FACTORY, expiration, count: 2, cidr: ['10.0.0.0/24', '127.0.0.1/32'] }
    const token = { expiration, cidr: many.cidr, token: expect.stringMatching(/^[0-9a-hjkmnp-tv-z]{50,56}$/) }
    const query = `host_factory=${FACTORY}&expiration=${expiration}&count=2&cidr[]=10.0.0.0/24&cidr[]=127.0.0.1`
    const post = (path: string, body: string, type: string) =>
      answered(other.request('POST', path, { body, headers: { 'Content-Type': type } }))
    for (const made of [
      await post('/host_factory_tokens', JSON.stringify(many), 'application/json'),
      await post('/host_factory_tokens', query, 'application/x-www-form-urlencoded'),
      await post(`/host_factory_tokens?${query}`, '', ''),
    ])
      expect(made).toEqual([200, [token, token]])
    const one = { host_factory: FACTORY, expiration }
    expect(await create(other, { ...one, cidr: '10.0.0.7' })).toMatchObject([
      200,
      [{ cidr: ['10.0.0.7/32'] }],
    ])
    expect(await create(other, one)).toMatchObject([200, [{ cidr: [] }]])
    const past = await create(other, { ...one, expiration: '2020-01-01T00:00:00Z' })
    expect(past).toEqual(
      argument('Value for parameter expiration must be in the future: 2020-01-01T00:00:00Z'),
    )
    for (const token of (await create(other, { ...one, count: 3 }))[1] as { token: string }[])
      expect((await host(token.token, 'id=made/many'))[0]).toBe(201)
    for (const { token } of (
      (await answered(admin.request('GET', '/resources/acme/host_factory/dir%2Fhf')))[1] as {
        tokens: { token: string }[]
      }
    ).tokens)
      expect((await admin.request('DELETE', `/host_factory_tokens/${token}`)).status).toBe(204)
    const gone = '- !delete { record: !host made/many }'
    expect((await admin.loadPolicy('root', gone, 'PATCH')).status).toBe(201)
  })

  test('tokens stand in the factory’s details at both nodes, until they are revoked', async () => {
    const expiration = later()
    const made = await create(other, {
      host_factory: FACTORY,
      expiration,
      cidr: ['10.0.0.0/24', '127.0.0.1'],
    })
    const token = {
      expiration: expiration.replace(/\.\d+Z/, 'Z'),
      cidr: ['10.0.0.0/24', '127.0.0.1/32'],
      token: expect.stringMatching(/^[0-9a-z]{40,}$/),
    }
    expect(made).toEqual([200, [token]])
    await settled(world)
    for (const node of ['leader', 'follower'] as const) {
      const details = admin
        .at(world.machine[node].url)
        .request('GET', '/resources/acme/host_factory/dir%2Fhf')
      expect(await answered(details)).toMatchObject([
        200,
        {
          tokens: [{ ...token, token: tokenOf(made) }],
          layers: ['acme:layer:dir/web', 'acme:layer:dir/zone'],
        },
      ])
    }
    const revoke = (as: Client) => answered(as.request('DELETE', `/host_factory_tokens/${tokenOf(made)}`))
    expect(await revoke(other)).toEqual([403, ''])
    const missing = notFound(
      `Host_factory_token '${tokenOf(made)}' not found in account '*'`,
      'host_factory_token',
      `*:host_factory_token:${tokenOf(made)}`,
    )
    expect(await revoke(world.onlooker)).toEqual(missing)
    expect(await revoke(admin)).toEqual([204, ''])
    expect(await revoke(admin)).toEqual(missing)
  })

  test('a host is owned by its factory, is in its layers, and belongs to no policy', async () => {
    const token = tokenOf(await create(other, { host_factory: FACTORY, expiration: later() }))
    const form = 'id=made/a%2Bb&annotations[note]=5&annotations[other]='
    const [status, body] = await host(token, form)
    expect([status, body]).toEqual([
      201,
      {
        created_at: expect.any(String),
        id: 'acme:host:made/a+b',
        owner: FACTORY,
        permissions: [],
        annotations: [
          { name: 'note', value: '5' },
          { name: 'other', value: '' },
        ],
        restricted_to: [],
        api_key: expect.any(String),
      },
    ])
    const shown = await answered(admin.request('GET', '/resources/acme/host/made%2Fa+b'))
    expect(shown).toEqual([200, { ...(body as object), api_key: undefined }])
    for (const layer of ['web', 'zone']) {
      const members = await answered(
        admin.request('GET', `/roles/acme/layer/dir%2F${layer}?members&kind=host`),
      )
      expect(namesOf(members, 'member')).toEqual(['acme:host:made/a+b'])
    }
    expect(
      namesOf(await answered(admin.request('GET', `/resources/acme/host?owner=host_factory:dir/hf`)), 'id'),
    ).toEqual(['acme:host:made/a+b'])
  })

  test('from elsewhere, without an id, or below conjur/ there is no host (http-api note 19)', async () => {
    const far = tokenOf(
      await create(other, { host_factory: FACTORY, expiration: later(), cidr: ['10.0.0.0/8'] }),
    )
    expect(await host(far, 'id=x')).toEqual([401, ''])
    expect((await host(far, 'id=near', { 'X-Forwarded-For': '10.1.2.3' }))[0]).toBe(201)
    const token = tokenOf(await create(other, { host_factory: FACTORY, expiration: later() }))
    expect(await host(token, '')).toEqual([
      422,
      { error: { code: 'parameter_missing', message: 'param is missing or the value is empty: id' } },
    ])
    for (const id of ['conjur/x', '/conjur/x']) {
      expect(await host(token, `id=${id}`)).toEqual(argument(`Invalid id: ${id}`))
    }
    expect(await host('', 'id=x')).toEqual([401, ''])
    expect(await host(token, 'id=dir/one')).toEqual([403, ''])
  })

  test('made twice, a host has a fresh key; an expired or revoked token makes none (http-api note 19)', async () => {
    const expiration = new Date(Date.now() + 1_500).toISOString()
    const token = tokenOf(await create(other, { host_factory: FACTORY, expiration }))
    const keys = new Set<unknown>()
    let last: Answered
    do {
      last = await host(token, 'id=made/twice')
      if (last[0] === 201) keys.add((last[1] as { api_key: string }).api_key)
    } while (last[0] === 201)
    expect(last).toEqual([401, ''])
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiration) - 1_000)
    expect(keys.size).toBeGreaterThan(1)
    const revoked = tokenOf(await create(other, { host_factory: FACTORY, expiration: later() }))
    expect(await answered(admin.request('DELETE', `/host_factory_tokens/${revoked}`))).toEqual([204, ''])
    expect(await host(revoked, 'id=made/twice')).toEqual([401, ''])
  })
})
