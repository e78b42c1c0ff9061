// The processes of control nodes that answer clients, as a supervisor starts them, told by the test what they are. They share
// one Postgres, as if each had its own and all were level: who leads is what the tests are about.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { prepareDatabases } from '#control-plane/databases.ts'
import { connect, type Database } from '#control-plane/ledger/connection.ts'
import { raiseEpoch } from '#control-plane/ledger/epoch-guard.ts'
import {
  type FromApi,
  type LinkedProcess,
  type NodeStatus,
  startLinked,
  type ToApi,
} from '#control-plane/node-link.ts'
import { type NodeSettings, nodeTable } from '#control-plane/settings.ts'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { monotonic } from '#shared/base/time.ts'
import { bootClock } from '#shared/node/clock.ts'
import { readSettings } from '#shared/node/settings.ts'
import { type Certificates, certificatesFor } from './certificates.ts'
import { freePorts } from './nodes.ts'
import { testServer } from './postgres.ts'

const API = new URL('../../control-plane/api.ts', import.meta.url)
const HOUR_MS = 3_600_000

export type ControlNode = {
  readonly name: string
  readonly port: number
  readonly nodePort: number
  readonly healthPort: number
  /** Its `admin.key` is there once it has led. */
  readonly folder: string
  readonly settings: NodeSettings
  tell(status: Partial<NodeStatus>): void
  /** Resolves when it serves. */
  lead(epoch: number): Promise<void>
  /** Its deadline passes; the process goes on. */
  fence(): void
  kill(): Promise<void>
}

export type ControlNodes = {
  readonly nodes: readonly ControlNode[]
  readonly tls: Certificates
  readonly caFile: string
  readonly dataKeyFile: string
  readonly bearerFile: string
  /** The Leader's main database. */
  readonly main: Database
  url(database: string): string
  close(): Promise<void>
}

/** `url`, `nodeAddress`: the cluster's own; without the latter nodes join at whoever leads. `balancer`: where one comes from. */
export async function startControlNodes(
  count: number,
  options: { readonly url: string; readonly nodeAddress?: string; readonly balancer: string },
): Promise<ControlNodes> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-nodes-'))
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const tls = await certificatesFor('localhost', '127.0.0.1')
  const caFile = file('ca.pem', tls.ca)
  const certFile = file('node.pem', tls.cert)
  const keyFile = file('node.key', tls.key)
  const dataKeyFile = file('data.key', toBase64(randomBytes(32)))
  const bearerFile = file('edge-1.bearer', toHex(randomBytes(32)))
  const postgres = await testServer()
  await prepareDatabases(postgres.url)
  const main = connect(postgres.url('main'), 1)

  const ports = await freePorts(3 * count)
  const places = Array.from({ length: count }, (_, i) => ({
    name: `node-${i + 1}`,
    port: ports[3 * i]!,
    healthPort: ports[3 * i + 1]!,
    nodePort: ports[3 * i + 2]!,
  }))
  const common = {
    cluster: 'production',
    account: 'acme',
    nodes: places.map(({ name }) => `${name}=127.0.0.1:5433`).join(),
    etcd: 'https://localhost:2379',
    remote_health: places.map(({ name, healthPort }) => `${name}=http://127.0.0.1:${healthPort}`).join(),
    node_addresses: options.nodeAddress ?? places.map(({ nodePort }) => `127.0.0.1:${nodePort}`).join(),
    node_ca_file: caFile,
    node_cert_file: certFile,
    node_key_file: keyFile,
    tls_cert_file: certFile,
    tls_key_file: keyFile,
    data_key_file: dataKeyFile,
    followers: `edge-1=${bearerFile}`,
    balancers: options.balancer,
    url: options.url,
    host: '127.0.0.1',
    log_level: 'error',
  }
  const databaseUrl = postgres.url('DATABASE')
  const nodes = await Promise.all(
    places.map(({ name, port, healthPort, nodePort }) => {
      const own = join(folder, name)
      mkdirSync(own, { mode: 0o700 })
      const ownPorts = { port: String(port), health_port: String(healthPort), node_port: String(nodePort) }
      const flags = { ...common, ...ownPorts, name, data_dir: own }
      const given = readSettings(nodeTable, { flags, env: {}, file: undefined })
      const settings = { ...given, node_ca_file: caFile, node_cert_file: certFile, node_key_file: keyFile }
      const others = places.map((place) => place.name).filter((other) => other !== name)
      return startNode({ kind: 'start', settings, databaseUrl }, others, main)
    }),
  )
  return {
    nodes,
    tls,
    caFile,
    dataKeyFile,
    bearerFile,
    main,
    url: postgres.url,
    async close() {
      await Promise.all(nodes.map((node) => node.kill()))
      await main.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

type Start = Extract<ToApi, { kind: 'start' }> & { readonly settings: NodeSettings }

/** Resolves when it listens. */
async function startNode(start: Start, others: readonly string[], main: Database): Promise<ControlNode> {
  const { name, port, node_port, health_port: healthPort, data_dir: folder } = start.settings
  const heard = new Map<FromApi['kind'], () => void>()
  const process: LinkedProcess<ToApi> = startLinked<ToApi, FromApi>(API, ({ kind }) => heard.get(kind)?.())
  const said = (kind: FromApi['kind']): Promise<void> =>
    Promise.race([
      new Promise<void>((resolve) => heard.set(kind, resolve)),
      process.ended.then(() => Promise.reject(new Error(`${name} has ended before it was ${kind}`))),
    ])
  let status: NodeStatus = {
    phase: 'standby',
    epoch: 0,
    leader: null,
    sync: null,
    next: null,
    members: others.length + 1,
    standbys: others,
    dr: false,
    paused: false,
    blocked: null,
    why: null,
    // The store is taken to answer as long as the test runs.
    storeHeardAt: monotonic(bootClock.monotonic() + HOUR_MS),
  }
  const tell = (change: Partial<NodeStatus>): void => {
    status = { ...status, ...change }
    process.send({ kind: 'status', status })
  }
  const listening = said('listening')
  process.send(start)
  tell({})
  await listening
  return {
    name,
    port,
    nodePort: node_port!,
    healthPort,
    folder,
    settings: start.settings,
    tell,
    async lead(epoch) {
      await main.transaction((session) => raiseEpoch(session, epoch, name, Date.now()))
      tell({ phase: 'open', epoch, leader: name, sync: others[0]! })
      const opened = said('opened')
      process.send({ kind: 'lead', epoch, deadline: monotonic(bootClock.monotonic() + HOUR_MS) })
      await opened
    },
    fence: () => process.send({ kind: 'deadline', deadline: bootClock.monotonic() }),
    kill: () => process.kill(),
  }
}
