// A copy of 50 000 secrets at the edge: taken, gone on with after the object was lost in the middle, and followed without
// anybody asking the object for anything.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { toBase64, toHex, utf8 } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { put } from '#shared/ledger/change.ts'
import { systemClock } from '#shared/node/clock.ts'
import { createKeyring } from '#shared/secret/keyring.ts'
import { createTokens, newSigningKey, signingKeyChange } from '#shared/token/access-token.ts'
import { datasetRows } from '../bench/dataset.ts'
import { temporaryFolder } from '../support/copy.ts'
import { edgeNode } from '../support/edge.ts'
import { Client, freePorts, type NodeProcess } from '../support/nodes.ts'
import { type PublishingLeader, publishingLeader } from '../support/publishing-leader.ts'

const secrets = 50_000
const folder = temporaryFolder()
const dataKey = randomBytes(32)
const bearer = toHex(randomBytes(32))
let leader: PublishingLeader
let edge: NodeProcess
let client: Client

beforeAll(async () => {
  leader = await publishingLeader({ 'edge-1': bearer })
  const keyring = createKeyring({ versions: new Map([[1, dataKey]]), current: 1 }, randomBytes)
  const dataset = { account: 'acme', hosts: 10, secrets, apiKey: toHex(randomBytes(32)) }
  for (const { table, rows } of datasetRows(dataset, keyring, 10_000))
    await leader.write(...rows.map((row) => put(table, row)))
  const key = await newSigningKey()
  await leader.write(signingKeyChange(key, 'leader-1', 1))
  const [port] = await freePorts(1)
  edge = edgeNode({
    directory: folder.path,
    port: port!,
    vars: {
      HOLDFAST_NAME: 'edge-1',
      HOLDFAST_ACCOUNT: 'acme',
      HOLDFAST_LINK: 'object',
      HOLDFAST_LEADER_URL: `http://127.0.0.1:${leader.port}`,
    },
    secrets: { HOLDFAST_DATA_KEY: toBase64(dataKey), HOLDFAST_BEARER: bearer },
  })
  const token = await (await createTokens(key, 'leader-1')).issue('acme:host:app/host-1', 3_600, Date.now())
  client = new Client(edge.url, 'acme', toBase64(utf8(token)))
}, 300_000)
afterAll(async () => {
  await edge?.kill()
  await leader?.close()
  folder.remove()
})

type Replication = { readonly state: string; readonly content_hash: string | null }

/** `none` while it is away. */
async function replication(): Promise<Replication> {
  const answer = await fetch(`${edge.url}/health`).catch(() => undefined)
  const none = { replication: { state: 'none', content_hash: null } }
  return (((await answer?.json()) as { replication: Replication } | undefined) ?? none).replication
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await systemClock.sleep(20)
}

test('it is the Leader’s content, also when the object is lost in the middle of it', async () => {
  edge.start()
  await until(async () => (await replication()).state === 'snapshot')
  await edge.kill()
  edge.start()
  await until(async () => (await replication()).state === 'live')
  expect((await replication()).content_hash).toBe(leader.log.head().contentHash)
  for (const n of [0, secrets / 2, secrets - 1]) {
    const got = await client.getSecret(`app/secret-${n}`)
    expect([got.status, (await got.text()).length]).toEqual([200, 64])
  }
}, 120_000)

test('an object that is lost, and that nobody asks for anything, is started by its alarm and follows', async () => {
  await edge.kill()
  const met = leader.keys.length
  edge.start()
  await until(() => leader.keys.length > met)
}, 120_000)
