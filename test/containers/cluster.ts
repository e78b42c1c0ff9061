// The cluster of compose.yaml, run for real: formed, asked, killed and cut off.
import { chmodSync, chownSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { toBase64 } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { Client, freePorts } from '../support/nodes.ts'
import { attempt, done, type Engine, type Said } from './engine.ts'
import { type Images, root } from './images.ts'

export const controlNodes = ['node-1', 'node-2', 'node-3'] as const
export const followers = ['edge-1', 'edge-2'] as const

export type Cluster = {
  /** Runs a command in the container of a service, as its own user. */
  inside(service: string, ...command: readonly string[]): Promise<string>
  /** The engine's own command, about a service's container. */
  engine(words: readonly string[], service: string, ...more: readonly string[]): Promise<Said>
  form(): Promise<string>
  /** Who leads and who is synchronous, as another node sees it; waits until somebody does, and it is not `former`. */
  leader(witness: string, former?: string): Promise<{ readonly leader: string; readonly sync: string | null }>
  readonly ports: { readonly balancer: number; readonly edges: readonly number[] }
  down(): Promise<void>
}

const deploy = join(root, 'control-plane/deploy')
const USER = 1000
const WITHIN_MS = 120_000

/** Asks until it is so; throws what was wrong last. */
export async function eventually<T>(what: () => Promise<T | undefined>, withinMs = WITHIN_MS): Promise<T> {
  const giveUpAt = Date.now() + withinMs
  let why: unknown = 'it did not happen'
  while (Date.now() < giveUpAt) {
    try {
      const found = await what()
      if (found !== undefined) return found
    } catch (error) {
      why = error
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`not within ${withinMs} ms: ${why instanceof Error ? why.message : String(why)}`)
}

export async function startCluster(engine: Engine, images: Images, folder: string): Promise<Cluster> {
  const key = join(folder, 'data.key')
  writeFileSync(key, `${toBase64(randomBytes(32))}\n`)
  if (process.getuid?.() === 0) chownSync(key, USER, USER)
  chmodSync(key, 0o400)
  const [balancer, ...edges] = engine.isOursAlone ? [8080, 8081, 8082] : await freePorts(3)
  const project = `holdfast-test-${process.pid}`
  const env = {
    ...engine.env,
    HOLDFAST_CONTROL_PLANE_IMAGE: images.controlPlane,
    HOLDFAST_FOLLOWER_IMAGE: images.follower,
    HOLDFAST_DATA_KEY: key,
    HOLDFAST_PORT: String(balancer),
    HOLDFAST_EDGE_1_PORT: String(edges[0]),
    HOLDFAST_EDGE_2_PORT: String(edges[1]),
  }
  const compose = [...engine.compose, '-p', project, '-f', join(deploy, 'compose.yaml')]
  const inside = (service: string, ...command: readonly string[]): Promise<string> =>
    done([...compose, 'exec', '-T', service, ...command], env)
  const containerOf = (service: string): Promise<string> => {
    const labels = [`project=${project}`, `service=${service}`]
    const filters = labels.flatMap((label) => ['--filter', `label=com.docker.compose.${label}`])
    return done([...engine.command, 'ps', '-a', '-q', ...filters], env)
  }
  const cluster: Cluster = {
    inside,
    engine: async (words, service, ...more) =>
      attempt([...engine.command, ...words, await containerOf(service), ...more], env),
    async form() {
      const words = [join(deploy, 'form.sh'), ...controlNodes, ...followers]
      const { code, err } = await attempt(words, {
        ...env,
        HOLDFAST_EXEC: [...compose, 'exec', '-T'].join(' '),
      })
      if (code !== 0) throw new Error(`form.sh ended with ${code}: ${err.slice(-3_000)}`)
      return err
    },
    leader: (witness, former) =>
      eventually(async () => {
        const said = await inside(witness, 'holdfast', 'cluster', 'status', '--json')
        const { leader, sync } = JSON.parse(said) as { leader: { node: string } | null; sync: string | null }
        return leader === null || leader.node === former ? undefined : { leader: leader.node, sync }
      }),
    ports: { balancer: balancer!, edges },
    async down() {
      await done([...compose, 'down', '-v', '-t', '20'], env)
    },
  }
  try {
    await done([...compose, 'up', '-d'], env)
  } catch (error) {
    await cluster.down()
    throw error
  }
  return cluster
}

export const account = 'acme'
const urlAt = (port: number): string => `http://127.0.0.1:${port}`

/** The administrator, at the cluster's address. The key is read once, while its node is there. */
export function administratorOf(cluster: Cluster): () => Promise<Client> {
  let key: Promise<string> | undefined
  return async () => {
    key ??= cluster.inside(controlNodes[0], 'cat', '/data/admin.key')
    return at(cluster.ports.balancer).login('admin', await key)
  }
}

/** A node at one of this machine's ports. */
export const at = (port: number): Client => new Client(urlAt(port), account)
