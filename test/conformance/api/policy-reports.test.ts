// Dry runs and the effective policy over HTTP (http-api 13, policy 9, 10): nothing is changed, and both nodes agree.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '#control-plane/ledger/connection.ts'
import { type Answered, answered, settled, startWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.machine.stop())

const text = '- !policy\n  id: next\n  body:\n  - !host h\n  - !variable v\n'

const load = (
  method: string,
  body: string,
  query = '',
  node: 'leader' | 'follower' = 'leader',
): Promise<Answered> =>
  answered(
    world.admin.at(world.machine[node].url).request(method, `/policies/acme/policy/root${query}`, { body }),
  )

/** Digests of every row that a load may touch. */
async function contentOf(): Promise<unknown> {
  const database = connect(world.machine.databaseUrl(), 1)
  try {
    const tables = [
      'roles',
      'resources',
      'memberships',
      'permissions',
      'annotations',
      'credentials',
      'secrets',
      'policy_versions',
    ]
    const all = tables.map((table) => `SELECT '${table}' AS t, encode(digest, 'hex') AS d FROM ${table}`)
    return (await database.query(`${all.join(' UNION ALL ')} ORDER BY t, d`)).rows
  } finally {
    await database.close()
  }
}

async function validations(): Promise<number> {
  const [status, rows] = await answered(
    world.admin.request(
      'GET',
      '/audit/resources/acme:policy:root?msgid=policy&action@43868/operation=validate',
    ),
  )
  return status === 404 ? 0 : (rows as unknown[]).length
}

test('a dry run says what a load would do and leaves every row as it was (policy note 24)', async () => {
  const before = await contentOf()
  const audited = await validations()
  for (const query of ['?dryRun=true', '?dryRun=TRUE']) {
    for (const method of ['POST', 'PATCH', 'PUT']) {
      const [status, report] = await load(method, text, query)
      expect([status, report]).toMatchObject([
        200,
        {
          status: 'Valid YAML',
          created: {
            items: [
              { identifier: 'acme:host:next/h' },
              { identifier: 'acme:policy:next' },
              { identifier: 'acme:variable:next/v' },
            ],
          },
        },
      ])
    }
  }
  expect(await contentOf()).toEqual(before)
  expect((await answered(world.admin.request('GET', '/resources/acme/host/next%2Fh')))[0]).toBe(404)
  expect(await validations()).toBe(audited + 6)
})

test('writes and dry runs at once: each is answered, and only writes are kept', async () => {
  const asked = Array.from({ length: 40 }, (_, i) =>
    i % 2 === 0
      ? load('POST', text, '?dryRun=true')
      : answered(world.admin.setSecret('app/db/pw', `value ${i}`)),
  )
  expect((await Promise.all(asked)).map(([status]) => status)).toEqual(
    asked.map((_, i) => (i % 2 === 0 ? 200 : 201)),
  )
})

test('what cannot be loaded is told where and why; who may not load is told nothing (policy note 25)', async () => {
  expect(await load('POST', '- !host x\n- !hots y\n', '?dryRun=true')).toMatchObject([
    422,
    {
      status: 'Invalid YAML',
      errors: [{ line: 2, column: 0, context: { policy_id: 'root', offending_lines: [2] } }],
    },
  ])
  const asWeb = world.web.request('POST', '/policies/acme/policy/root?dryRun=true', { body: text })
  expect((await asWeb).status).toBe(404)
  expect((await load('POST', text, '?dryRun=true', 'follower'))[0]).toBe(405)
})

test('the effective policy is the same at both nodes, as YAML and as JSON, and loads again (policy note 27)', async () => {
  await settled(world)
  const read = async (node: 'leader' | 'follower', type?: string) => {
    const headers = type === undefined ? {} : { 'Content-Type': type }
    const client = world.admin.at(world.machine[node].url)
    const answer = await client.request('GET', '/policies/acme/policy/app', { headers })
    return [answer.status, answer.headers.get('content-type'), await answer.text()] as const
  }
  const yaml = await read('leader')
  expect(yaml.slice(0, 2)).toEqual([200, 'application/x-yaml'])
  expect(yaml[2]).toMatch(/^- !policy\n {2}id: app\n/)
  expect(await read('follower')).toEqual(yaml)
  const json = await read('leader', 'application/json')
  expect((JSON.parse(json[2]) as unknown[])[0]).toMatchObject({ policy: { id: 'app' } })
  expect(await read('follower', 'application/json')).toEqual(json)
  expect((await load('PATCH', yaml[2]))[0]).toBe(201)
  expect(await read('leader')).toEqual(yaml)
  const asWeb = world.web.request('GET', '/policies/acme/policy/app')
  expect((await asWeb).status).toBe(404)
})
