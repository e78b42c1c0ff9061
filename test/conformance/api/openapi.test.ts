// What holds for every row of the table: the document names it, and without a valid token nobody gets anywhere.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { allRoutes } from '#shared/api/routes/index.ts'
import { answered, forbidden, loadedBy, settled, startWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  // With everything that can be switched on: what is off is not there.
  world = await startWorld({ env: { CONJUR_FEATURE_DYNAMIC_SECRETS_ENABLED: 'true' } })
})
afterAll(() => world?.machine.stop())

/** With what is refused before anybody is looked at. */
const queries: Readonly<Record<string, string>> = { batchSecrets: '?variable_ids=x' }

const pathOf = (path: string, selector?: string): string =>
  path
    .replace(/:account/, 'acme')
    .replace(/:authn/, 'authn-x')
    .replace(/:(\w+)\*?/g, 'x') + (selector === undefined ? '' : `?${selector}`)

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  test('the document is public and has every route with its parameters (http-api note 24)', async () => {
    const [status, document] = await answered(fetch(`${world.machine[node].url}/openapi.json`))
    expect(status).toBe(200)
    const { openapi, paths } = document as {
      openapi: string
      paths: Record<
        string,
        Record<string, { operationId: string; parameters: { name: string; in: string }[] }>
      >
    }
    expect(openapi).toBe('3.1.0')
    const operations = Object.values(paths).flatMap((path) => Object.values(path))
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length)
    for (const { method, path, selector } of allRoutes) {
      const templated = path.replace(/:(\w+)\*?/g, '{$1}')
      const operation = paths[templated]?.[method.toLowerCase()]
      const names = operation?.parameters.map((parameter) => `${parameter.in} ${parameter.name}`)
      expect(names, `${method} ${path}`).toEqual(
        expect.arrayContaining([
          ...[...path.matchAll(/:(\w+)/g)].map(([, name]) => `path ${name}`),
          ...(selector === undefined ? [] : [`query ${selector}`]),
        ]),
      )
    }
  })

  test('no route that wants a token does anything without one (http-api note 4)', async () => {
    for (const { method, path, selector, access } of allRoutes) {
      if (access !== 'token') continue
      const url = world.machine[node].url + pathOf(path, selector)
      expect(await answered(fetch(url, { method })), `${method} ${url}`).toEqual([
        401,
        'Authorization missing',
      ])
      const headers = { Authorization: 'Token token="bm90IGEgdG9rZW4="' }
      expect((await answered(fetch(url, { method, headers })))[0], `${method} ${url}`).toBe(401)
    }
    expect(await answered(fetch(`${world.machine[node].url}/no/such/route`))).toEqual([
      401,
      'Authorization missing',
    ])
  })
})

test('who is removed while his token lives gets nowhere, and nowhere 401 (http-api note 29)', async () => {
  const gone = await (await loadedBy(world.admin, '- !host gone'))('host/gone')
  expect((await gone.request('GET', '/whoami')).status).toBe(200)
  const removed = world.admin.loadPolicy('root', '- !delete { record: !host gone }', 'PATCH')
  expect((await removed).status).toBe(201)
  await settled(world)
  for (const node of ['leader', 'follower'] as const)
    for (const { id, method, path, selector, access } of allRoutes) {
      if (access === 'open') continue
      const asked = pathOf(path, selector) + (queries[id] ?? '')
      const response = gone.at(world.machine[node].url).request(method, asked)
      expect(await answered(response), `${node} ${method} ${asked}`).toEqual(forbidden)
    }
})
