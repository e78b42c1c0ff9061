// A whole cluster of real processes on this machine: control nodes with their Postgres, etcd of three, a balancer, two
// Followers. Every way between them is a link that can be cut (network.ts).
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { type TestAuthority, testAuthority } from '../support/certificates.ts'
import { edgeNode, edgeOptions } from '../support/edge.ts'
import { type Etcd, findEtcd, startMembers } from '../support/etcd.ts'
import { type Env, freePorts, NodeProcess } from '../support/nodes.ts'
import { type Link, openLink } from './network.ts'

export const TTL_SECONDS = 5

export type Part = 'supervisor' | 'api' | 'watchdog' | 'postgres'

export type ControlNode = {
  readonly name: string
  readonly process: NodeProcess
  readonly directory: string
  /** Ways from this node, by the name of the other; to the members of the store, in their order. */
  readonly toNodes: ReadonlyMap<string, Link>
  readonly toStore: readonly Link[]
  /** Of those that are alive. */
  pidOf(part: Part): number | undefined
  /** It and all that it has started, Postgres's own processes too. */
  pids(): number[]
  signal(name: NodeJS.Signals): void
  kill(): Promise<void>
}

export type Cluster = {
  readonly account: string
  readonly nodes: readonly ControlNode[]
  readonly etcd: readonly Etcd[]
  readonly followers: readonly NodeProcess[]
  /** Leads to whoever leads. */
  readonly url: string
  node(name: string): ControlNode
  /** Resolves with who leads and answers, when somebody does; not one of `but`. */
  leader(but?: readonly string[], withinMs?: number): Promise<ControlNode>
  healthOf(node: ControlNode): Promise<Health | undefined>
  adminKey(): string
  /** As an operator lets a node in again. */
  readmit(node: ControlNode): Promise<void>
  /** What the nodes have logged, for the message of a failed test. */
  logs(): string
  close(): Promise<void>
}

export type Health = {
  readonly ok: boolean
  readonly degraded: boolean
  readonly role: string
  readonly cluster: {
    readonly ok: boolean
    readonly status: string
    readonly epoch: number
    readonly leader?: string | null
    readonly sync_standby?: string | null
  }
  readonly followers?: readonly unknown[]
  readonly replication?: { readonly epoch: number; readonly seq: number; readonly content_hash: string }
}

export type ClusterOptions = {
  readonly names?: readonly string[]
  readonly dr?: readonly string[]
  readonly followers?: number
  /** Of a deploy. Followers are Workers with it: the first is dialled by whoever leads, the others dial. */
  readonly edgeBundle?: string
  readonly env?: Env
  /** Called with the data folder of each node before it is used. */
  readonly furnish?: (node: string, folder: string) => void
}

/** Undefined, with the reason, where a program that it needs is not there. */
export const missing = (): string | undefined =>
  findEtcd() === undefined
    ? 'there is no etcd on this machine'
    : ['/usr/sbin/haproxy', '/usr/bin/haproxy'].some((file) => existsSync(file))
      ? undefined
      : 'there is no haproxy on this machine'

export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const names = options.names ?? ['a', 'b', 'c']
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-cluster-'))
  const account = 'acme'
  const authority = await testAuthority()
  const etcd = await startMembers(findEtcd()!, 3, {
    ca: authority.ca,
    ...(await authority.issue('CN=etcd', 'localhost', '127.0.0.1')),
  })
  const file = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const followerNames = Array.from({ length: options.followers ?? 2 }, (_, i) => `edge-${i + 1}`)
  const followers = (await freePorts(followerNames.length)).map((port, i) => {
    const name = followerNames[i]!
    const bearerFile = file(`${name}.bearer`, `${toHex(randomBytes(32))}\n`)
    return { name, port, bearerFile, isDialled: options.edgeBundle !== undefined && i === 0 }
  })
  const common: Env = {
    HOLDFAST_ACCOUNT: account,
    HOLDFAST_DATA_KEY_FILE: file('data.key', `${toBase64(randomBytes(32))}\n`),
    HOLDFAST_HOST: '127.0.0.1',
    HOLDFAST_CLUSTER: 'test',
    HOLDFAST_TTL: String(TTL_SECONDS),
    HOLDFAST_FIRST_LEADER: names[0]!,
    HOLDFAST_DR_NODES: (options.dr ?? []).join(),
    HOLDFAST_NODE_CA_FILE: file('ca.pem', authority.ca),
    ...knownToLeader(followers),
    ...options.env,
  }
  const postgresPorts = await freePorts(names.length)
  const nodes: ControlNode[] = []
  for (const [i, name] of names.entries())
    nodes.push(
      await controlNode({
        ...{ name, i, names, postgresPorts, etcd, directory, authority, common, file },
        furnish: options.furnish ?? (() => undefined),
      }),
    )
  const balancer = await startBalancer(directory, nodes)
  const followerProcesses = followers.map((place) => {
    const env = followerEnv(place, balancer.url, directory, common)
    return options.edgeBundle === undefined
      ? new NodeProcess(['follower'], env, place.port)
      : edgeNode({
          ...edgeOptions({ ...env, HOLDFAST_LINK: place.isDialled ? 'leader' : 'object' }, place.port),
          bundle: options.edgeBundle,
        })
  })
  const healthOf = (node: ControlNode): Promise<Health | undefined> => healthAt(node.process.url)
  return {
    account,
    nodes,
    etcd,
    followers: followerProcesses,
    url: balancer.url,
    healthOf,
    node: (name) => nodes.find((node) => node.name === name)!,
    async leader(but = [], withinMs = 60_000) {
      const giveUpAt = Date.now() + withinMs
      while (Date.now() < giveUpAt) {
        for (const node of nodes) {
          if (!but.includes(node.name) && (await healthOf(node))?.ok === true) return node
        }
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      throw new Error(`nobody leads:\n${logsOf(nodes)}`)
    },
    adminKey() {
      const holder = nodes.find((node) => existsSync(join(node.directory, 'admin.key')))!
      return readFileSync(join(holder.directory, 'admin.key'), 'utf8').trim()
    },
    async readmit(node) {
      const door = nodes.find((other) => other !== node)!
      await holdfast('cluster', 'rejoin', node.name, '--data-dir', door.directory)
    },
    logs: () => logsOf(nodes),
    async close() {
      await Promise.all(followerProcesses.map((process) => process.kill()))
      await Promise.all(nodes.map((node) => node.kill()))
      await balancer.close()
      await Promise.all(etcd.map((member) => member.close()))
      const links = nodes.flatMap(({ toNodes, toStore }) => [...toNodes.values(), ...toStore])
      await Promise.all(links.map((link) => link.close()))
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

const program = new URL('../../control-plane/cli/holdfast.js', import.meta.url).pathname

/** A command, as an operator gives it. Answers what it wrote; rejects when it ends with anything but 0. */
export async function holdfast(...words: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...words])
  return stdout
}

/** Short enough that those of three nodes are seen where only the end of an output is shown. */
const lastOf = (log: string): string => log.slice(-1_500)

const logsOf = (nodes: readonly ControlNode[]): string =>
  nodes
    .map(({ name, process, directory }) => {
      const file = join(directory, 'postgres.log')
      const postgres = existsSync(file) ? readFileSync(file, 'utf8') : ''
      return `--- ${name}\n${lastOf(process.log)}\n--- Postgres of ${name}\n${lastOf(postgres)}`
    })
    .join('\n')

type NodeParts = {
  readonly name: string
  readonly i: number
  readonly names: readonly string[]
  readonly postgresPorts: readonly number[]
  readonly etcd: readonly Etcd[]
  readonly directory: string
  readonly authority: TestAuthority
  readonly common: Env
  readonly file: (name: string, text: string) => string
  readonly furnish: (node: string, folder: string) => void
}

async function controlNode(parts: NodeParts): Promise<ControlNode> {
  const { name, i, names, postgresPorts, file } = parts
  const own = join(parts.directory, name)
  mkdirSync(own, { mode: 0o700 })
  parts.furnish(name, own)
  const toNodes = new Map<string, Link>()
  for (const [j, other] of names.entries())
    if (other !== name) toNodes.set(other, await openLink(postgresPorts[j]!))
  const toStore = await Promise.all(parts.etcd.map(({ port }) => openLink(port)))
  const [port, healthPort] = await freePorts(2)
  const { cert, key } = await parts.authority.issue(`CN=${name},O=control`, name, 'localhost', '127.0.0.1')
  const addresses = names.map(
    (other) => `${other}=127.0.0.1:${other === name ? postgresPorts[i] : toNodes.get(other)!.port}`,
  )
  const process = new NodeProcess(
    ['node'],
    {
      ...parts.common,
      HOLDFAST_NAME: name,
      HOLDFAST_PORT: String(port),
      HOLDFAST_HEALTH_PORT: String(healthPort),
      HOLDFAST_DATA_DIR: own,
      HOLDFAST_NODES: addresses.join(),
      HOLDFAST_ETCD: toStore.map((link) => `https://localhost:${link.port}`).join(),
      HOLDFAST_NODE_CERT_FILE: file(`${name}.pem`, cert),
      HOLDFAST_NODE_KEY_FILE: file(`${name}.key`, key),
    },
    port!,
  )
  const pids = (): number[] => (process.pid === undefined ? [] : descendants(process.pid))
  const signal = (what: NodeJS.Signals): void => {
    for (const pid of pids()) send(pid, what)
  }
  return {
    name,
    process,
    directory: own,
    toNodes,
    toStore,
    pids,
    signal,
    pidOf: (part) => partOf(process.pid, part),
    async kill() {
      signal('SIGKILL')
      await process.kill()
    },
  }
}

const words: Readonly<Record<Exclude<Part, 'supervisor'>, string>> = {
  api: 'control-plane/api.ts',
  watchdog: 'control-plane/watchdog.ts',
  postgres: 'bin/postgres',
}

function partOf(supervisor: number | undefined, part: Part): number | undefined {
  if (supervisor === undefined || part === 'supervisor') return supervisor
  return childrenOf(supervisor).find((pid) => commandOf(pid).includes(words[part]))
}

const commandOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      if (!(pid > 0)) return false
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent
      } catch {
        return false
      }
    })
}

const descendants = (pid: number): number[] => [pid, ...childrenOf(pid).flatMap(descendants)]

export function send(pid: number, what: NodeJS.Signals): void {
  try {
    process.kill(pid, what)
  } catch (error) {
    // It ended by itself in between.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function healthAt(url: string): Promise<Health | undefined> {
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(1_000) })
    return (await response.json()) as Health
  } catch {
    return undefined
  }
}

type FollowerPlace = {
  readonly name: string
  readonly port: number
  readonly bearerFile: string
  readonly isDialled: boolean
}

function knownToLeader(followers: readonly FollowerPlace[]): Env {
  const [dialled, dialling] = [true, false].map((is) => followers.filter((one) => one.isDialled === is))
  return {
    HOLDFAST_EDGE_FOLLOWERS: dialled!
      .map(({ name, port, bearerFile }) => `${name}=http://127.0.0.1:${port}#${bearerFile}`)
      .join(),
    HOLDFAST_FOLLOWERS: dialling!.map(({ name, bearerFile }) => `${name}=${bearerFile}`).join(),
  }
}

function followerEnv(place: FollowerPlace, leaderUrl: string, directory: string, common: Env): Env {
  const own = join(directory, place.name)
  mkdirSync(own, { mode: 0o700 })
  const { HOLDFAST_ACCOUNT, HOLDFAST_DATA_KEY_FILE, HOLDFAST_HOST } = common
  return {
    HOLDFAST_ACCOUNT: HOLDFAST_ACCOUNT!,
    HOLDFAST_DATA_KEY_FILE: HOLDFAST_DATA_KEY_FILE!,
    HOLDFAST_HOST: HOLDFAST_HOST!,
    HOLDFAST_NAME: place.name,
    HOLDFAST_DATA_DIR: own,
    HOLDFAST_PORT: String(place.port),
    HOLDFAST_BEARER_FILE: place.bearerFile,
    HOLDFAST_SERVER_THREADS: '1',
    HOLDFAST_LEADER_URL: leaderUrl,
  }
}

async function startBalancer(
  directory: string,
  nodes: readonly ControlNode[],
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const [port] = await freePorts(1)
  const servers = nodes.map(({ name, process }) => {
    const api = new URL(process.url).port
    return `  server ${name} 127.0.0.1:${api} check port ${process.env.HOLDFAST_HEALTH_PORT} inter 500ms downinter 100ms fall 1 rise 1`
  })
  const configuration = [
    'defaults',
    '  mode tcp',
    '  timeout connect 2s',
    '  timeout client 1h',
    '  timeout server 1h',
    '  timeout check 500ms',
    '  default-server on-marked-down shutdown-sessions',
    `listen api`,
    `  bind 127.0.0.1:${port}`,
    '  option httpchk GET /health',
    '  http-check expect status 200',
    ...servers,
    '',
  ].join('\n')
  const path = join(directory, 'haproxy.cfg')
  writeFileSync(path, configuration)
  const binary = existsSync('/usr/sbin/haproxy') ? '/usr/sbin/haproxy' : '/usr/bin/haproxy'
  const child: ChildProcess = spawn(binary, ['-db', '-f', path], { stdio: 'ignore' })
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}
