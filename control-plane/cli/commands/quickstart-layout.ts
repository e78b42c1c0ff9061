// Where everything of a cluster on one machine is: folders, ports, and the settings of its programs as files.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { balancerConfig } from '#control-plane/deploy/balancer.ts'
import { toBase64 } from '#shared/base/bytes.ts'
import { parseJson } from '#shared/base/json.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { storeUserOf } from '#shared/enrolment/names.ts'
import { writePrivateFile } from '#shared/node/files.ts'
import { identityFiles, readIdentity } from '#shared/node/identity.ts'
import { CommandError } from '../output.ts'
import { account, isFree, keepFile, type Site, type Wanted } from './quickstart-steps.ts'

export type NodePlace = {
  readonly name: string
  /** Its `data_dir`; that of its etcd is beside it. */
  readonly folder: string
  readonly settingsFile: string
  readonly log: string
  readonly etcdFolder: string
  readonly etcdLog: string
  readonly port: number
  readonly healthPort: number
  readonly nodePort: number
  readonly postgresPort: number
  readonly etcdPort: number
  readonly etcdPeerPort: number
}

export type Layout = Site & {
  readonly directory: string
  readonly nodes: readonly [NodePlace, NodePlace, NodePlace]
  readonly follower: Pick<NodePlace, 'name' | 'folder' | 'settingsFile' | 'log'>
  readonly balancerFile: string
  /** Where the balancer takes nodes in. */
  readonly balancerNodePort: number
  readonly balancerLog: string
  /** Every port that somebody will listen at. */
  readonly ports: readonly number[]
}

const NAMES = ['node-1', 'node-2', 'node-3'] as const
const PORTS_EACH = 6
/** The names by which nodes reach each other on one machine. */
export const ALTNAMES = 'localhost,127.0.0.1'

/** The folders are there and the settings are written when it resolves; ports are the same as at the last start. */
export async function layOut({ directory, leaderPort, followerPort }: Wanted): Promise<Layout> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const ports = await keptPorts(join(directory, 'ports.json'))
  const placed = (name: string) => ({
    name,
    folder: join(directory, name),
    settingsFile: join(directory, `${name}.yml`),
    log: join(directory, `${name}.log`),
  })
  const nodeAt = (i: 0 | 1 | 2): NodePlace => {
    const name = NAMES[i]
    const own = ports.slice(i * PORTS_EACH)
    return {
      ...placed(name),
      etcdFolder: join(directory, `etcd-${i + 1}`),
      etcdLog: join(directory, `etcd-${i + 1}.log`),
      port: own[0]!,
      healthPort: own[1]!,
      nodePort: own[2]!,
      postgresPort: own[3]!,
      etcdPort: own[4]!,
      etcdPeerPort: own[5]!,
    }
  }
  const layout: Layout = {
    directory,
    leaderUrl: `http://127.0.0.1:${leaderPort}`,
    followerUrl: `http://127.0.0.1:${followerPort}`,
    adminKeyFile: join(directory, NAMES[0], 'admin.key'),
    hostKeyFile: join(directory, 'web-1.key'),
    nodes: [nodeAt(0), nodeAt(1), nodeAt(2)],
    follower: placed('edge-1'),
    balancerFile: join(directory, 'haproxy.cfg'),
    balancerNodePort: ports.at(-1)!,
    balancerLog: join(directory, 'haproxy.log'),
    ports: [Number(leaderPort), Number(followerPort), ...ports],
  }
  await writeSettings(layout, followerPort)
  return layout
}

/** Certificates, seeds and etcd remember where nodes are. Throws when there is no room for them. */
async function keptPorts(file: string): Promise<readonly number[]> {
  const kept = parseJson(await readFile(file, 'utf8').catch(() => ''))
  if (Array.isArray(kept)) return kept.map(Number)
  // And one of the balancer's.
  const count = PORTS_EACH * NAMES.length + 1
  const found: number[] = []
  // Below those that a system gives to whoever asks for any.
  const first = 20_000 + (randomBytes(2).reduce((all, byte) => all * 256 + byte, 0) % 10_000)
  for (let port = first; found.length < count && port < 32_000; port++)
    if (await isFree(port)) found.push(port)
  if (found.length < count) throw new CommandError('port_in_use', 'there are not enough free ports')
  await writeFile(file, JSON.stringify(found))
  return found
}

export const nodeAddresses = ({ nodes }: Layout): string =>
  nodes.map(({ nodePort }) => `127.0.0.1:${nodePort}`).join()

async function writeSettings(layout: Layout, followerPort: string): Promise<void> {
  const { directory, nodes, follower } = layout
  const dataKeyFile = join(directory, 'data.key')
  await keepFile(dataKeyFile, () => toBase64(randomBytes(32)))
  const common = { account, host: '127.0.0.1', data_key_file: dataKeyFile }
  const each = (of: (node: NodePlace) => string): string => nodes.map(of).join()
  for (const node of nodes) {
    await mkdir(node.folder, { recursive: true, mode: 0o700 })
    const settings = {
      name: node.name,
      cluster: 'main',
      ...common,
      url: layout.leaderUrl,
      nodes: each(({ name, postgresPort }) => `${name}=127.0.0.1:${postgresPort}`),
      etcd: each(({ etcdPort }) => `https://localhost:${etcdPort}`),
      port: node.port,
      health_port: node.healthPort,
      node_port: node.nodePort,
      node_addresses: nodeAddresses(layout),
      remote_health: each(({ name, healthPort }) => `${name}=http://127.0.0.1:${healthPort}`),
      data_dir: node.folder,
      // Short, because somebody looks on; not as short as it can be, because all of this shares one machine.
      ttl: 10,
    }
    await writePrivateFile(node.settingsFile, stringify(settings))
  }
  const settings = { name: follower.name, ...common, port: Number(followerPort), data_dir: follower.folder }
  await writePrivateFile(follower.settingsFile, stringify(settings))
  // Everybody comes from one address here: nobody has to be told whose connection it is.
  const bind = new URL(layout.leaderUrl).host
  await writePrivateFile(
    layout.balancerFile,
    balancerConfig({ bind, nodeBind: `127.0.0.1:${layout.balancerNodePort}`, backends: nodes }),
  )
}

/**
 * Flags of a node's etcd, under the node's own identity; only control nodes are let in. `members`: those that there are, and
 * this one. Throws when the node has not joined.
 */
export async function etcdFlags(node: NodePlace, members: readonly NodePlace[]): Promise<string[]> {
  const files = identityFiles(node.folder)
  const identity = await readIdentity(node.folder)
  if (identity === undefined) throw new CommandError('not_joined', `${node.name} has no identity yet`)
  const controlNodes = storeUserOf(identity.membership.clusterId)
  const flags = {
    name: node.name,
    'data-dir': node.etcdFolder,
    'initial-cluster': members.map(({ name, etcdPeerPort }) => `${name}=${peerUrl(etcdPeerPort)}`).join(),
    'initial-cluster-state': members.length === 1 ? 'new' : 'existing',
    'listen-client-urls': `https://127.0.0.1:${node.etcdPort}`,
    'advertise-client-urls': `https://localhost:${node.etcdPort}`,
    'listen-peer-urls': peerUrl(node.etcdPeerPort),
    'initial-advertise-peer-urls': peerUrl(node.etcdPeerPort),
    'cert-file': files.certificate,
    'key-file': files.key,
    'trusted-ca-file': files.authorities,
    'client-cert-auth': 'true',
    'client-cert-allowed-hostname': controlNodes,
    'peer-cert-file': files.certificate,
    'peer-key-file': files.key,
    'peer-trusted-ca-file': files.authorities,
    'peer-client-cert-auth': 'true',
    'peer-cert-allowed-hostname': controlNodes,
    logger: 'zap',
  }
  return Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)
}

export const peerUrl = (port: number): string => `https://127.0.0.1:${port}`

/** How a person asks the store, and we. */
export function etcdctlFlags({ etcdPort, folder }: NodePlace): string[] {
  const { certificate, key, authorities } = identityFiles(folder)
  const flags = {
    endpoints: `https://localhost:${etcdPort}`,
    cacert: authorities,
    cert: certificate,
    key,
  }
  return Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)
}
