// Who may load which policy, two loads at once, and whose records a policy may change (http-api 13; policy 4, 5, 11).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect } from '#control-plane/ledger/connection.ts'
import { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  forbidden,
  loadedBy,
  notFound,
  recordsOf,
  settled,
  startWorld,
  type World,
} from './world.ts'

const policy = `
- !host creator
- !host updater
- !host reader
- !policy
  id: plan
  body:
  - !variable v
- !permit { role: !host creator, privileges: [ read, create ], resource: !policy plan }
- !permit { role: !host updater, privileges: [ read, update ], resource: !policy plan }
- !permit { role: !host reader, privileges: [ read ], resource: !policy plan }
`

let world: World
const clients: Record<string, Client> = {}
beforeAll(async () => {
  world = await startWorld()
  const as = await loadedBy(world.admin, policy)
  for (const name of ['creator', 'updater', 'reader']) clients[name] = await as(`host/${name}`)
  clients.admin = world.admin
  clients.stranger = world.web
})
afterAll(() => world?.machine.stop())

type Method = 'POST' | 'PATCH' | 'PUT'
const METHODS: readonly Method[] = ['POST', 'PATCH', 'PUT']
const load = (as: string, method: Method, text: string, path = 'plan', id = ''): Promise<Answered> =>
  answered(
    clients[as]!.request(method, `/policies/acme/policy/${path}`, {
      body: text,
      ...(id === '' ? {} : { headers: { 'X-Request-Id': id } }),
    }),
  )
const missing = (name: string) =>
  notFound(`Policy '${name}' not found in account 'acme'`, 'policy', `acme:policy:${name}`)

describe('privileges (http-api note 25)', () => {
  test('POST wants create, PATCH and PUT want update; who sees the policy is 403, who does not is 404', async () => {
    const text = '- !variable v\n'
    for (const method of METHODS) {
      const loads = method === 'POST' ? 'creator' : 'updater'
      for (const as of ['creator', 'updater', 'reader'])
        if (as !== loads) expect(await load(as, method, text), `${as} ${method}`).toEqual(forbidden)
      expect(await load('stranger', method, text)).toEqual(missing('plan'))
      expect(await load('admin', method, text, 'none')).toEqual(missing('none'))
      expect(
        await answered(world.admin.request(method, '/policies/acme/group/plan', { body: text })),
      ).toEqual([404, ''])
    }
    expect((await load('creator', 'POST', text))[0]).toBe(201)
    expect((await load('updater', 'PATCH', text))[0]).toBe(201)
    // PUT may take away what is below, so it is asked for too.
    expect(await load('updater', 'PUT', text)).toEqual(forbidden)
    const permit = '- !permit { role: !host updater, privileges: [ update ], resource: !variable plan/v }\n'
    expect((await load('admin', 'POST', permit, 'root'))[0]).toBe(201)
    expect((await load('updater', 'PUT', text))[0]).toBe(201)
  })

  test('the privilege comes before the text; its errors say where', async () => {
    const text = '- !group x\n- !nothing y\n'
    const message = "Error at line 2, column 0 in policy : Unrecognized data type '!nothing'"
    for (const method of METHODS) {
      expect(await load('reader', method, text)).toEqual(forbidden)
      expect(await load('admin', method, text)).toEqual([
        422,
        {
          error: {
            code: 'policy_invalid',
            message,
            innererror: { code: 'policy_invalid', filename: 'policy', line: 2, column: 0 },
          },
        },
      ])
      expect(await load('admin', method, '- !grant { role: !group none, member: !user admin }')).toEqual([
        422,
        { error: { code: 'policy_invalid', message: "Group 'plan/none' not found in account 'acme'" } },
      ])
    }
  })
})

/** Resolves with the first `count` answers that come. */
const firstOf = (count: number, asked: readonly Promise<Response>[]): Promise<Response[]> =>
  new Promise((resolve, reject) => {
    const got: Response[] = []
    for (const answer of asked)
      answer.then((response) => {
        if (got.push(response) === count) resolve([...got])
      }, reject)
  })

test('of loads at once one wins; the others are told to come again, and it is recorded (http-api note 25)', async () => {
  const database = connect(world.machine.databaseUrl(), 1)
  const held = await database.session()
  // Who loads writes a version: behind this lock the one that is first stays where it is.
  await held.query('BEGIN; LOCK TABLE policy_versions IN EXCLUSIVE MODE')
  const paths = METHODS.flatMap((method) => [
    { method, path: '/policies/acme/policy/plan', id: `busy-${method}` },
    { method, path: '/policies/acme/policy/app', id: `busy-too-${method}` },
  ])
  const asked = paths.map(({ method, path, id }) =>
    world.admin.request(method, path, { body: '- !group more\n', headers: { 'X-Request-Id': id } }),
  )
  const refused = await firstOf(5, asked)
  await held.query('ROLLBACK')
  held.release()
  await database.close()
  expect((await Promise.all(asked)).map(({ status }) => status).sort()).toEqual([
    201, 409, 409, 409, 409, 409,
  ])
  for (const answer of refused) {
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect(Number(answer.headers.get('retry-after'))).toBeLessThanOrEqual(8)
    const message = 'Concurrent policy load in progress, please retry'
    expect(await answer.json()).toEqual({ error: { code: 'policy_conflict', message } })
    const id = answer.headers.get('x-request-id')!
    expect(await recordsOf(world, id)).toMatchObject([
      {
        facility: 10,
        severity: 5,
        msgid: 'policy',
        sdata: {
          'action@43868': { result: 'failure', operation: id.endsWith('POST') ? 'create' : 'update' },
        },
        message: `Failed to load policy: ${message}`,
      },
    ])
  }
  expect((await load('admin', 'PATCH', '- !group more\n'))[0]).toBe(201)
})

describe('another account', () => {
  let beta: Client
  beforeAll(async () => {
    const { leader, accountsKey } = world.machine
    const root = await new Client(leader.url, '!').login('!/root', accountsKey())
    const [, made] = await answered(root.request('POST', '/accounts?id=beta'))
    beta = await new Client(leader.url, 'beta').login('admin', (made as { api_key: string }).api_key)
    expect((await beta.loadPolicy('root', '- !variable v\n- !group g\n- !layer l\n')).status).toBe(201)
    expect((await beta.setSecret('v', 'of beta')).status).toBe(201)
  })

  test.each<[what: string, text: string, account?: string, method?: Method]>([
    [
      'a permission',
      '- !permit { role: !user admin, privilege: execute, resource: !variable { id: v, account: beta } }',
    ],
    [
      'the accounts',
      '- !permit { role: !user admin, privilege: execute, resource: !webservice { id: accounts, account: "!" } }',
      '!',
    ],
    ['a grant', '- !grant { role: !user { id: admin, account: beta }, member: !user admin }'],
    ['a record', '- !user { id: evil, account: beta }'],
    ['a record of another policy', '- !variable { id: v, account: beta, annotations: { a: b } }'],
    ['a layer', '- !host-factory { id: f, layers: [ !layer { id: l, account: beta } ] }'],
    [
      'a role that was named before',
      '- !permit { role: &it !user { id: admin, account: beta }, privilege: read, resource: !user admin }\n- !grant { role: *it, member: !user admin }',
    ],
    ['a deletion', '- !delete { record: !variable { id: v, account: beta } }', 'beta', 'PATCH'],
    [
      'a revocation',
      '- !revoke { role: !group { id: g, account: beta }, member: !user admin }',
      'beta',
      'PATCH',
    ],
    [
      'a denial',
      '- !deny { role: !user admin, privilege: read, resource: !variable { id: v, account: beta } }',
      'beta',
      'PATCH',
    ],
  ])('is changed by no policy: %s', async (_what, text, account = 'beta', method = 'POST') => {
    for (const query of ['', '?dryRun=true']) {
      const [status, body] = await load('admin', method, text, `root${query}`)
      expect([status, JSON.stringify(body)]).toEqual([
        422,
        expect.stringContaining(`A policy of account 'acme' cannot change account '${account}'`),
      ])
    }
    expect((await world.admin.request('GET', '/secrets/beta/variable/v')).status).toBe(404)
  })

  test('gets what a policy gives it', async () => {
    const text =
      '- !variable mine\n' +
      '- !permit { role: !user { id: admin, account: beta }, privileges: [ read, execute ], resource: !variable mine }\n' +
      '- !group { id: theirs, owner: !group { id: g, account: beta } }\n' +
      '- !grant { role: !group theirs, member: !group { id: g, account: beta } }\n'
    expect((await load('admin', 'POST', text, 'root'))[0]).toBe(201)
    expect((await world.admin.setSecret('mine', 'ours')).status).toBe(201)
    await settled(world)
    for (const node of ['leader', 'follower'] as const) {
      const read = beta.at(world.machine[node].url).request('GET', '/secrets/acme/variable/mine')
      expect(await answered(read)).toEqual([200, 'ours'])
    }
  })
})
