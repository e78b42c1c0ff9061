// The Follower at the edge, in local workerd: beside a Durable Object that answers a constant and a bare one, in the same run.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { toBase64, toHex, utf8 } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { createTokens, newSigningKey } from '#shared/token/access-token.ts'
import { edgeNode } from '../support/edge.ts'
import { bundleEdge } from '../support/edge-bundle.ts'
import { Client, freePorts, type NodeProcess } from '../support/nodes.ts'
import { installInto } from './install.ts'
import type { LoadPlan } from './load.ts'
import { type Figure, figure, load } from './measure.ts'
import { subjectPin } from './offline-follower.ts'
import { propagationOf, running } from './write.ts'

const rounds = 3
const secrets = 50_000

type OfflineEdge = {
  readonly node: NodeProcess
  readonly port: number
  /** Starts it; the client has a token of a host of the dataset, as the Leader would give it. */
  start(): Promise<Client>
  remove(): Promise<void>
}

/** A Worker with a dataset in its storage, and nobody dials. */
async function offlineEdge(): Promise<OfflineEdge> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
  const dataKey = randomBytes(32)
  const [port] = await freePorts(1)
  const node = edgeNode({
    directory,
    port: port!,
    vars: { HOLDFAST_ACCOUNT: 'acme', HOLDFAST_NAME: 'edge-1', HOLDFAST_LINK: 'leader' },
    secrets: { HOLDFAST_DATA_KEY: toBase64(dataKey), HOLDFAST_BEARER: toHex(randomBytes(32)) },
    wrap: subjectPin(),
  })
  const apiKey = toHex(randomBytes(32))
  // The object makes its storage, and the key that it signs with.
  node.start()
  await node.answered()
  await node.kill('SIGTERM')
  const folder = join(directory, 'storage', 'holdfast')
  const file = (await readdir(folder)).find((name) => /^[0-9a-f]{64}\.sqlite$/.test(name))!
  const sqlite = openSqlite(join(folder, file), 'writer')
  const key = await newSigningKey()
  const row = { kid: key.kid, node: 'leader-1', jwk: JSON.stringify(key.publicJwk), created_at: 1 }
  installInto(sqlite, dataKey, { account: 'acme', hosts: 100, secrets, apiKey }, [
    { table: 'signing_keys', rows: [row] },
  ])
  sqlite.close()
  const token = await (await createTokens(key, 'leader-1')).issue('acme:host:app/host-1', 3_600, Date.now())
  return {
    node,
    port: port!,
    async start() {
      node.start()
      await node.ready()
      return new Client(node.url, 'acme', toBase64(utf8(token)))
    },
    async remove() {
      await node.kill()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** A Durable Object that is not ours. */
async function startObject(file: string): Promise<{ port: number; stop: () => Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
  const [port] = await freePorts(1)
  const bundle = new URL(file, import.meta.url).pathname
  const node = edgeNode({ directory, port: port!, vars: {}, secrets: {}, wrap: subjectPin(), bundle })
  node.start()
  await node.answered()
  return {
    port: port!,
    async stop() {
      await node.kill()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

const plan = (port: number, authorization: string): LoadPlan => ({
  host: '127.0.0.1',
  port,
  connections: 64,
  seconds: 3,
  warmupSeconds: 3,
  heads: [
    `GET /secrets/acme/variable/app%2Fsecret-{n} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}`,
  ],
  spread: secrets,
  expectStatus: 200,
})

async function reading(edge: OfflineEdge): Promise<Figure[]> {
  const rps: Record<'ours' | 'hello' | 'bare', number[]> = { ours: [], hello: [], bare: [] }
  for (let round = 0; round < rounds; round++) {
    const client = await edge.start()
    rps.ours.push(await loaded(edge.port, client))
    await edge.node.kill()
    for (const name of ['hello', 'bare'] as const) {
      const object = await startObject(`./${name}-object.js`)
      rps[name].push(await loaded(object.port, client))
      await object.stop()
    }
  }
  const ratios = (upper: number[], lower: number[]): number[] => upper.map((one, i) => one / lower[i]!)
  return [
    figure('secret read at the edge, 50 000 secrets', 'requests/s', rps.ours),
    figure('a Durable Object that says hello', 'requests/s', rps.hello),
    figure('a bare one that looks up, opens and records as a read does', 'requests/s', rps.bare),
    figure('secret read ÷ hello (bar ≥ 0.5)', 'ratio', ratios(rps.ours, rps.hello)),
    figure('bare ÷ hello', 'ratio', ratios(rps.bare, rps.hello)),
    figure('secret read ÷ bare', 'ratio', ratios(rps.ours, rps.bare)),
  ]
}

async function loaded(port: number, client: Client): Promise<number> {
  const { requestsPerSecond, wrongStatus } = await load(plan(port, client.authorization))
  if (wrongStatus > 0) throw new Error(`${wrongStatus} answers were not 200`)
  return requestsPerSecond
}

/** From the first request that its process can take: the runtime itself is there before. */
async function starting(edge: OfflineEdge): Promise<Figure[]> {
  const client = await edge.start()
  const whole: number[] = []
  const first: number[] = []
  for (let round = 0; round < 5; round++) {
    await edge.node.kill()
    const from = performance.now()
    edge.node.start()
    for (;;) {
      const askedAt = performance.now()
      // Nobody listens yet.
      const answer = await client.getSecret(`app/secret-${round}`).catch(() => undefined)
      await answer?.arrayBuffer()
      if (answer?.status === 200) {
        first.push(performance.now() - askedAt)
        whole.push(performance.now() - from)
        break
      }
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
  await edge.node.kill()
  return [
    figure('cold start to first read, 50 000 secrets (bar ≤ 300)', 'ms', first),
    figure('the same from the start of the runtime’s process', 'ms', whole),
  ]
}

export async function edge(): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-edge-'))
  bundleEdge(folder)
  const bundle = join(folder, 'index.js')
  process.env.HOLDFAST_EDGE_BUNDLE = bundle
  process.env.HOLDFAST_TEST_FOLLOWER = 'worker'
  try {
    const size = gzipSync(readFileSync(bundle)).length / 1024
    const offline = await offlineEdge()
    const figures = [figure('bundle, compressed (bar ≤ 1024)', 'KiB', [size])]
    try {
      figures.push(...(await reading(offline)), ...(await starting(offline)))
    } finally {
      await offline.remove()
    }
    for (const edgeLink of ['object', 'leader'] as const) {
      figures.push(...(await running(propagationOf(`, edge, the ${edgeLink} dials`, 150), { edgeLink })))
    }
    return figures
  } finally {
    delete process.env.HOLDFAST_TEST_FOLLOWER
    rmSync(folder, { recursive: true, force: true })
  }
}
