// Keys of identity providers at a node (http-api 8.8): how often a provider is asked for them, and for how long they prove
// tokens when it is away, and the Leader, and the node was started again.
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toBase64Url, utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { IdentityProvider, KEYS } from '../../support/identity-provider.ts'
import { Client, oneMachine } from '../../support/nodes.ts'
import { answered, atTheEdge, configured, FORM, recordsOf, settled, startWorld, type World } from './world.ts'

const service = (id: string) => `
- !policy
  id: conjur/authn-jwt/${id}
  body:
  - !webservice
  - !variable jwks-uri
  - !variable issuer
  - !variable token-app-property
  - !permit { role: !host /app/robot, privilege: [ authenticate ], resource: !webservice }`
const policyOf = (services: readonly string[]) => `
- !host
  id: app/robot
  annotations: { ${services.map((id) => `authn-jwt/${id}/project: seven`).join(', ')} }
${services.map(service).join('')}`

/** A provider for each of these services. */
async function providersOf(admin: Client, ids: readonly string[]) {
  const loaded = await admin.loadPolicy('root', policyOf(ids))
  if (loaded.status !== 201) throw new Error(`the policy: ${loaded.status} ${await loaded.text()}`)
  const started = ids.map(async (id) => [id, await IdentityProvider.start()] as const)
  const providers = new Map(await Promise.all(started))
  for (const [id, { jwksUri, url }] of providers) {
    const values = { 'jwks-uri': jwksUri, issuer: url, 'token-app-property': 'host' }
    await configured(admin, 'authn-jwt', id, values)
  }
  return providers
}

const env = { HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1' }
let world: World
let providers: ReadonlyMap<string, IdentityProvider>
beforeAll(async () => {
  world = await startWorld({ env, followerEnv: { HOLDFAST_SERVER_THREADS: '3' } })
  providers = await providersOf(world.admin, ['flood-leader', 'flood-follower', 'kept'])
  await settled(world)
})
afterAll(async () => {
  await world?.machine.stop()
  for (const provider of providers?.values() ?? []) await provider.goAway()
})

async function authenticate(url: string, id: string, token: string, requestId?: string): Promise<number> {
  const [status] = await answered(
    fetch(`${url}/authn-jwt/${id}/acme/authenticate`, {
      method: 'POST',
      body: `jwt=${token}`,
      headers: { ...FORM, ...(requestId === undefined ? {} : { 'X-Request-Id': requestId }) },
    }),
  )
  return status
}

const claims = { host: 'app/robot', project: 'seven' }
const encoded = (value: unknown): string => toBase64Url(utf8(JSON.stringify(value)))
/** Nothing of the rest matters when nobody has the key. */
const unknownKey = (token: string, kid: string): string =>
  [encoded({ alg: 'RS256', kid }), ...token.split('.').slice(1)].join('.')

const TOKENS = 1_000
const AT_ONCE = 50

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  test('a provider is asked no more often than the limiter allows, whoever sends what names of keys', async () => {
    const id = `flood-${node}`
    const { url } = world.machine[node]
    const provider = providers.get(id)!
    const token = await provider.sign(claims)
    const good = await Promise.all(Array.from({ length: AT_ONCE }, () => authenticate(url, id, token)))
    expect(new Set(good)).toEqual(new Set([200]))
    expect(provider.asked(KEYS)).toHaveLength(1)
    let sent = 0
    const sender = async (): Promise<void> => {
      while (sent < TOKENS) expect(await authenticate(url, id, unknownKey(token, `x${sent++}`))).toBe(401)
    }
    await Promise.all(Array.from({ length: AT_ONCE }, sender))
    expect(provider.asked(KEYS)).toHaveLength(limits.keyFetches)
    expect(await authenticate(url, id, token)).toBe(200)
  })
})

test('keys whose provider is away prove tokens for as long as the setting says', async () => {
  const machine = await oneMachine({ leaderEnv: { ...env, HOLDFAST_AUTHN_KEYS_MAX_AGE: '2' } })
  const { leader } = machine
  leader.start()
  await leader.ready()
  const admin = await new Client(leader.url, 'acme').login('admin', machine.adminKey())
  const provider = (await providersOf(admin, ['aged'])).get('aged')!
  try {
    const token = await provider.sign(claims)
    let requests = 0
    const status = () => authenticate(leader.url, 'aged', token, `aged-${++requests}`)
    expect(await status()).toBe(200)
    await provider.goAway()
    await expect.poll(status, { timeout: 20_000 }).toBe(401)
    const [record] = await recordsOf({ admin }, `aged-${requests}`)
    expect(record!.message).toContain(': CONJ00087E ')
    for (let n = 1; n < limits.keyFetches - 1; n++) expect(await status()).toBe(401)
    // One was made when the provider was there.
    expect(await status()).toBe(503)
    const [limited] = await recordsOf({ admin }, `aged-${requests}`)
    expect(limited!.message).toContain(': CONJ00044E ')
  } finally {
    await machine.stop()
    await provider.goAway()
  }
})

// The last one: it leaves the Leader away.
test('a Follower that is started again with the provider and the Leader away proves tokens', async () => {
  const provider = providers.get('kept')!
  const { leader, follower, directory } = world.machine
  const token = await provider.sign(claims)
  expect(await authenticate(follower.url, 'kept', token)).toBe(200)
  await provider.goAway()
  await Promise.all([leader.kill(), follower.kill()])
  follower.start()
  await follower.answered()
  await expect.poll(() => authenticate(follower.url, 'kept', token)).toBe(200)
  expect(await authenticate(follower.url, 'kept', unknownKey(token, 'x'))).toBe(401)
  expect(await authenticate(follower.url, 'kept', `${token.slice(0, -4)}AAAA`)).toBe(401)
  if (atTheEdge) return
  const folder = join(directory, 'edge-1', 'provider-keys')
  expect(existsSync(join(directory, 'leader', 'provider-keys'))).toBe(true)
  const files = readdirSync(folder)
  expect(files.length).toBeGreaterThan(0)
  for (const file of files) expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600)
})
