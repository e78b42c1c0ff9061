// Random and mutated requests: whatever comes in, no node answers with a fault of its own (5xx), and both go on
// serving. Repeat a run with HOLDFAST_SEED.
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createMatcher } from '#shared/api/match.ts'
import { parseQuery } from '#shared/api/request.ts'
import { allRoutes } from '#shared/api/routes/index.ts'
import { startWorld, type World } from '../conformance/api/world.ts'
import { type Random, runSeed, seeded } from '../support/random.ts'

const requests = Number(process.env.HOLDFAST_REQUESTS ?? 1_500)

let world: World
beforeAll(async () => {
  world = await startWorld({ env: { HOLDFAST_DYNAMIC_SECRETS_ENABLED: 'true' } })
})
afterAll(() => world?.machine.stop())

/** Parts of paths that lead somewhere, by the names that the routes give them. */
const known: Readonly<Record<string, readonly string[]>> = {
  account: ['acme'],
  kind: ['variable', 'host', 'group', 'policy', 'user'],
  id: ['app', 'app%2Fdb%2Fpw', 'app%2Fweb', 'app%2Freaders', 'data%2Fdynamic%2Fx', 'bob%40app'],
  login: ['admin', 'host%2Fapp%2Fweb'],
  authn: ['authn', 'authn-jwt'],
  type: ['jwt', 'aws'],
  member: ['app%2Fweb'],
}
const queries = [
  '',
  '',
  'version=1',
  'variable_ids=acme:variable:app/db/pw',
  'limit=2&offset=1&search=db',
  'privilege=read&role=acme:host:app/web',
  'member=acme:host:app/web',
  'filter[]=group:app/readers',
  'role=user:alice@app',
  'sort=id&projection=minimal&keep_secrets=true',
  'dryRun=true&depth=1',
]

/** Every route that there is, asked for something that may be there. */
function pathOf(random: Random): string {
  const { path, selector } = random.pick(allRoutes)
  const filled = path.replace(/:(\w+)\*?/g, (_, name: string) => random.pick(known[name] ?? ['x', 'ci']))
  const query = [selector, random.pick(queries)].filter((part) => part).join('&')
  return query === '' ? filled : `${filled}?${query}`
}

const odd = [
  '%',
  '%00',
  '%2',
  '%ff',
  '%2F',
  '..',
  '//',
  '+',
  ' ',
  ':',
  ';',
  '&',
  '=',
  '[',
  ']',
  '[]',
  '\u00e9',
  '%C3%A9',
  '%F0%9F',
  '!',
  '@',
  '"',
  "'",
  '\\',
  '*',
  '?',
  '#',
  'acme',
  '~',
  '\u0001'.repeat(1),
  'x'.repeat(2_000),
]
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'BREW']
const bodies = [
  '',
  ' ',
  '- !user x',
  '- !policy\n  id: a\n  body: [',
  '{"a":',
  '{"type":"jwt","name":"ci","data":{"identity":{"__proto__":1}}}',
  '{"name":"b","branch":"app","owner":{"kind":"group","id":["x"]},"annotations":{"a":1}}',
  '{"kind":"host","id":"app/web"}',
  '{"enabled":"true"}',
  '{"id":"i","type":"aws","max_ttl":1e400,"data":{"access_key_id":[]}}',
  '[[[[[[[[[[{}]]]]]]]]]]',
  '{"host_factory":["x"],"expiration":{"a":1}}',
  'host_factory=acme:host_factory:app/factory&expiration=2099-01-01T00:00:00Z&count=-1',
  'id[]=a&id=b&annotations=x',
  '\u0000\u00ff',
  '%%%',
  'x'.repeat(70_000),
]
const headerSets = [
  {},
  { 'Content-Type': 'text\\plain' },
  { 'Content-Type': 'application/json' },
  { 'Content-Type': 'multipart/form-data; boundary=x' },
  { Accept: 'application/x.secretsmgr.v2beta+json' },
  { 'Accept-Encoding': 'base64' },
  { 'X-Forwarded-For': '1.2.3.4, , ::zz, 10.0.0.1' },
  { 'Holdfast-Min-Position': '1.1', 'Holdfast-Max-Age-Ms': 'soon' },
  { 'Holdfast-Inconsistent': 'redirect', 'Holdfast-Min-Position': '1.1' },
  { 'X-Request-Id': 'a"]\\[b'.repeat(40) },
  { Authorization: 'Basic !!!' },
  { Authorization: 'Basic YWRtaW46' },
  { Authorization: 'Token token="' },
  { Authorization: 'Token token="e30="' },
]

function mutated(random: Random, path: string): string {
  let text = path
  for (let n = random.int(0, 3); n > 0; n--) {
    const at = random.int(1, text.length + 1)
    const cut = random.int(0, 4)
    text = text.slice(0, at) + random.pick(odd) + text.slice(at + cut)
  }
  // A request line holds no blank and no control character; everything else is the server's business.
  return text.replace(/[\s\p{Cc}]|[^\p{ASCII}]/gu, (c) => encodeURIComponent(c))
}

/** Written to a socket as it is: a client library would mend half of it. */
function raw(
  url: string,
  method: string,
  path: string,
  headers: object,
  body: string,
): Promise<number | 'closed'> {
  const { hostname, port } = new URL(url)
  const lines = Object.entries({
    Host: hostname,
    Connection: 'close',
    ...headers,
    'Content-Length': Buffer.byteLength(body),
  })
  const head = `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}`).join('\r\n')}\r\n\r\n`
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect(Number(port), hostname, () => socket.write(head + body))
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1', 0, 64)
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(answer === '' ? 'closed' : Number(answer.slice(9, 12))))
  })
}

const match = createMatcher(allRoutes)

/** Some routes answer 500 or 501 about what they are asked. */
function namedBy(method: string, path: string, status: number): boolean {
  const [target = '', query = ''] = path.split('?')
  return match(method, target, parseQuery(query))?.route.docs.answers.includes(status) ?? false
}

test(`${requests} odd requests to each node never meet a fault`, { timeout: 10 * 60_000 }, async () => {
  const random = seeded(runSeed('requests'))
  const authorizations = [
    world.admin.authorization,
    world.web.authorization,
    world.onlooker.authorization,
    '',
  ]
  const faults: string[] = []
  for (let n = 0; n < requests; n++) {
    const method = random.pick(methods)
    const path = mutated(random, pathOf(random))
    const headers = { Authorization: random.pick(authorizations), ...random.pick(headerSets) }
    const body = random.pick(bodies)
    for (const node of [world.machine.leader, world.machine.follower]) {
      const status = await raw(node.url, method, path, headers, body)
      if (status === 'closed' || (status >= 500 && !namedBy(method, path, status)))
        faults.push(`${status} ${node.url} ${method} ${path} ${JSON.stringify(headers).slice(0, 200)}`)
    }
  }
  expect(faults).toEqual([])
  for (const node of [world.machine.leader, world.machine.follower]) {
    expect((await fetch(`${node.url}/health`)).status).toBe(200)
  }
})
