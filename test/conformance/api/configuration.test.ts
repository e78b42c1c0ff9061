// Nodes are taken in and put out by those of the installation's own account who administer it, and seeds of Followers by
// those who were permitted to (cluster 3).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openBundle } from '#shared/enrolment/bundle.ts'

import { Client, freePorts } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  argument,
  FORM,
  forbidden,
  loadedBy,
  notFound,
  readOnly,
  recordsOf,
  settled,
  startWorld,
  unprocessable,
  type World,
} from './world.ts'

const policy = `
- !policy
  id: conjur/seed-generation
  body:
  - !webservice
  - !group consumers
  - !permit { role: !group consumers, privileges: [ execute ], resource: !webservice }
- !policy
  id: edge
  body:
  - !host maker
  - !host stranger
- !host edge/reader
- !grant { role: !group conjur/seed-generation/consumers, member: !host edge/maker }
- !permit { role: !host edge/reader, privileges: [ read ], resource: !webservice conjur/seed-generation }
`

let world: World
let maker: Client
let reader: Client
let stranger: Client
let nodePort: number
beforeAll(async () => {
  const [port] = await freePorts(1)
  nodePort = port!
  world = await startWorld({ leaderEnv: { HOLDFAST_NODE_PORT: String(nodePort) } })
  const as = await loadedBy(world.admin, policy)
  maker = await as('host/edge/maker')
  reader = await as('host/edge/reader')
  stranger = await as('host/edge/stranger')
  await settled(world)
})
afterAll(() => world?.machine.stop())

const missing = notFound(
  "Webservice 'conjur/seed-generation' not found in account 'acme'",
  'webservice',
  'acme:webservice:conjur/seed-generation',
)

function seed(client: Client, kind: string, form: Record<string, string>, account = 'acme') {
  return client.request('POST', `/configuration/${account}/seed/${kind}`, {
    body: new URLSearchParams(form).toString(),
    headers: { ...FORM, 'X-Request-Id': 'seed-request' },
  })
}

const refusedSeed = async (...asked: Parameters<typeof seed>): Promise<Answered> => answered(seed(...asked))

describe('seeds', () => {
  test('of Followers are made for who may, with what was asked for', async () => {
    const response = await seed(maker, 'follower', {
      follower_hostname: 'edge-9.example',
      altnames: 'edge-9, 10.0.0.9',
      leader: 'balancer.example:5432',
      ttl: '60',
    })
    expect(response.status).toBe(200)
    const text = await response.text()
    const { manifest } = await openBundle(text)
    expect(manifest).toMatchObject({
      ...{ account: 'acme', node: 'edge-9.example', kind: 'follower', replicationSet: 'full' },
      leaders: ['balancer.example:5432', `127.0.0.1:${nodePort}`],
    })
    expect(manifest.expiresAt - manifest.issuedAt).toBeLessThanOrEqual(60_000)
    expect(text + JSON.stringify(manifest)).not.toContain('PRIVATE KEY')
  })

  test('and of all kinds for who administers the account', async () => {
    expect((await seed(world.admin, 'follower', { follower_hostname: 'edge-8' })).status).toBe(200)
    expect(await refusedSeed(maker, 'standby', { follower_hostname: 'node-2' })).toEqual(forbidden)
    expect(await refusedSeed(world.admin, 'standby', { follower_hostname: 'node-2' })).toEqual([
      422,
      { error: expect.objectContaining({ message: expect.stringContaining('conjur/cluster/<name>') }) },
    ])
  })

  test('are refused to the others, and that is on record', async () => {
    expect(await refusedSeed(reader, 'follower', { follower_hostname: 'edge-7' })).toEqual(forbidden)
    const records = await recordsOf(world, 'seed-request')
    expect(records.map(({ msgid, message }) => `${msgid} ${message}`)).toContain(
      'seed acme:host:edge/reader failed to make a seed for follower edge-7: forbidden',
    )
    expect(await refusedSeed(stranger, 'follower', { follower_hostname: 'edge-7' })).toMatchObject(missing)
    expect(await refusedSeed(world.admin, 'leader', { follower_hostname: 'edge-7' })).toMatchObject([404, ''])
  })

  test('have an end to what may be asked for', async () => {
    const wrong = (form: Record<string, string>) =>
      refusedSeed(world.admin, 'follower', { follower_hostname: 'edge-7', ...form })
    const name = 'follower_hostname must be the name of the node: letters, digits, "." and "-", at most 63'
    expect(await wrong({ follower_hostname: '' })).toEqual(argument(name))
    expect(await wrong({ follower_hostname: 'a/b' })).toEqual(argument(name))
    expect(await wrong({ ttl: '0' })).toMatchObject([422, {}])
    expect(await wrong({ ttl: 'soon' })).toMatchObject([422, {}])
    expect(await wrong({ leader: 'https://x' })).toEqual(argument('leader must be of the form host:port'))
    expect(await wrong({ altnames: 'a b' })).toMatchObject([422, {}])
    expect(await wrong({ altnames: 'a,'.repeat(21) })).toMatchObject([422, {}])
    expect(await wrong({ service_role: 'a b' })).toEqual(argument('service_role a b is no name'))
    expect(await wrong({ replication_set: 'pci' })).toEqual(
      unprocessable('there is no replication set pci: give "full"'),
    )
    expect(await wrong({ follower_hostname: 'leader-1' })).toMatchObject([422, {}])
  })

  test('are not made by a Follower, nor for another account', async () => {
    const at = world.admin.at(world.machine.follower.url)
    expect(await refusedSeed(at, 'follower', { follower_hostname: 'edge-7' })).toEqual(readOnly)
    const root = await new Client(world.machine.leader.url, '!').login('!/root', world.machine.accountsKey())
    const made = await root.request('POST', '/accounts', { body: 'id=other', headers: FORM })
    const { api_key } = (await made.json()) as { api_key: string }
    const other = await new Client(world.machine.leader.url, 'other').login('admin', api_key)
    expect((await refusedSeed(other, 'follower', { follower_hostname: 'x' }, 'other'))[0]).toBe(404)
    expect((await refusedSeed(other, 'follower', { follower_hostname: 'x' }, 'acme'))[0]).toBe(404)
  })
})

describe('nodes', () => {
  const list = (client: Client): Promise<Answered> =>
    answered(client.request('GET', '/configuration/acme/nodes'))
  const evict = (client: Client, node: string): Promise<Answered> =>
    answered(client.request('DELETE', `/configuration/acme/nodes/${node}`))

  test('are listed for who administers the account', async () => {
    expect(await list(world.admin)).toMatchObject([
      200,
      {
        cluster_id: expect.stringMatching(/^[0-9a-f]{32}$/),
        nodes: [{ name: 'leader-1', kind: 'standby', certificates: [{ state: 'valid' }] }],
        seeds: expect.arrayContaining([expect.objectContaining({ node: 'edge-8', kind: 'follower' })]),
      },
    ])
    expect(await list(maker)).toEqual(forbidden)
    expect(await list(stranger)).toMatchObject(missing)
    expect((await list(world.admin.at(world.machine.follower.url)))[0]).toBe(405)
  })

  test('are put out by the same', async () => {
    expect(await evict(maker, 'edge-8')).toEqual(forbidden)
    expect((await evict(stranger, 'edge-8'))[0]).toBe(404)
    expect(await evict(world.admin.at(world.machine.follower.url), 'edge-8')).toEqual(readOnly)
    expect(await evict(world.admin, 'edge-8')).toEqual([204, ''])
    expect((await evict(world.admin, 'edge-8'))[0]).toBe(404)
    expect((await evict(world.admin, 'leader-1'))[0]).toBe(422)
  })
})
