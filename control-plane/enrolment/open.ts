// Taking nodes in, as a Leader opens it: the authority, the office, and the port that other nodes come to.
import { API_VERSION } from '#shared/api/info.ts'
import type { EnrolmentDesk } from '#shared/api/node.ts'
import type { Caller } from '#shared/api/route.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import type { Clock } from '#shared/base/time.ts'
import { ADDRESS, NODE_NAME } from '#shared/enrolment/names.ts'
import { remove } from '#shared/ledger/change.ts'
import { clusterHostQuery } from '#shared/ledger/reads/cluster.ts'
import type { Ledger, ReadStore } from '#shared/ledger/store.ts'
import { writePrivateFile } from '#shared/node/files.ts'
import {
  type Identity,
  identityFiles,
  prepareRequest,
  readIdentity,
  storeIssued,
} from '#shared/node/identity.ts'
import { followIdentity, keepRenewed } from '#shared/node/join.ts'
import { type Listening, listen, type TlsFiles } from '#shared/node/listen.ts'
import { errorFields, type Log } from '#shared/node/log.ts'
import type { Keyring } from '#shared/secret/keyring.ts'
import type { AuditStore } from '../audit/store.ts'
import type { Database } from '../ledger/connection.ts'
import type { Writer } from '../ledger/writer.ts'
import { createEntrance, type Streams } from '../publish/entrance.ts'
import type { LeaderSettings } from '../settings.ts'
import { holdAuthority, initCluster } from './authority.ts'
import { createEdgeGate, type EdgeGate } from './edges.ts'
import { createGate } from './gate.ts'
import { createNodeDoor } from './node-door.ts'
import { type Asker, createOffice, type Office } from './office.ts'
import { createRecords, type Held, type NodeRow, type Records } from './records.ts'

export type EnrolmentOptions = {
  readonly settings: LeaderSettings
  readonly database: Database
  readonly writer: Writer
  readonly store: ReadStore
  readonly audit: AuditStore
  readonly keyring: Keyring
  readonly epoch: number
  /** False: another process has this node's certificate renewed. */
  readonly renewsIdentity: boolean
  readonly clock: Clock
  readonly log: Log
}

export type Enrolment = {
  readonly desk: EnrolmentDesk
  /** It was in the cluster, and is not any more: what it says of itself is not believed. */
  isOut(node: string): boolean
  /** Those that have a bearer of the cluster's. */
  readonly edges: EdgeGate
  /** Listens for nodes until `close`; the certificate of this node is renewed meanwhile. */
  serve(streams: Streams): Promise<{ close(): Promise<void> }>
}

/** Without `node_port` nobody is taken in. Throws `settings_invalid`. */
export async function openEnrolment(options: EnrolmentOptions): Promise<Enrolment> {
  const { settings, clock, log } = options
  if (settings.node_port === undefined) return closed
  const leaders = addressesOf(settings)
  const records = createRecords(options)
  const { held, identity } = await openIdentity(options, records, leaders)
  const office = createOffice({
    records,
    held,
    keyring: options.keyring,
    account: settings.account,
    self: settings.name,
    named: [...settings.followers, ...settings.edge_followers].map((entry) => entry.split('=')[0]!),
    leaders,
    epoch: options.epoch,
    certificateLifeMs: settings.node_certificate_life * 1000,
    random: randomBytes,
    now: () => clock.wall(),
    isExpected: async (node) => {
      const query = clusterHostQuery(settings.account, node)
      const { rows } = await options.store.read({ statements: [query], caller: undefined })
      return query.read(rows[0] ?? [])
    },
    record: async (event, requestId) =>
      options.audit.append([formatEvent(event, { timestamp: clock.wall(), procid: requestId })]),
  })
  const self: NodeRow = {
    node: settings.name,
    kind: 'standby',
    replicationSet: 'full',
    serviceRole: 'all',
    hosts: [],
    version: API_VERSION,
    labels: {},
    enrolledAt: clock.wall(),
  }
  const own = identity ?? (await renewOwn(office, self, settings.data_dir))
  // A ledger that is older than the folder does not know its certificate: others would not be believed either.
  const current =
    office.certificate(own.presented.serial) === undefined
      ? await renewOwn(office, self, settings.data_dir)
      : own
  log.info('taking nodes in', { cluster: office.clusterId, folder: identityFiles(settings.data_dir).folder })
  return {
    desk: deskOf(office, options.writer),
    isOut: office.isOut,
    edges: createEdgeGate({ office, heartbeatMs: settings.edge_heartbeat * 1000 }),
    serve: (streams) => serve(options, office, self, current, streams),
  }
}

const closed: Enrolment = {
  desk: {
    makeSeed: async () => ({ refusal: 'this Leader takes no nodes in: set node_port, and start it again' }),
    members: async () => ({ cluster_id: null, authorities: [], nodes: [], seeds: [] }),
    evict: async () => 'unknown',
  },
  isOut: () => false,
  edges: { identify: () => undefined, dialled: () => [], onChange: () => undefined },
  serve: async () => ({ close: async () => undefined }),
}

async function serve(
  { settings, renewsIdentity, clock, log }: EnrolmentOptions,
  office: Office,
  self: NodeRow,
  identity: Identity,
  streams: Streams,
): Promise<{ close(): Promise<void> }> {
  const gate = createGate(office)
  const stopWriting = await keepRevocations(office, settings.data_dir, log)
  const ending = new AbortController()
  const listening: Listening = await listen({
    host: settings.node_host ?? settings.host,
    port: settings.node_port!,
    handle: createNodeDoor({
      office,
      random: randomBytes,
      onFault: (error) => log.error('a node could not be answered', errorFields(error)),
    }),
    tls: tlsOf(identity),
    balancers: parseRanges(settings.balancers, 'balancers'),
    onUpgrade: createEntrance({
      ...streams,
      identify: (_request, socket, link) => gate.identify(socket, link),
      report: (message) => log.warn(message),
    }),
  })
  const dataDirectory = settings.data_dir
  const onRenewed = (renewed: Identity): void => listening.renew(tlsOf(renewed))
  const renewing = renewsIdentity
    ? keepRenewed(
        {
          dataDirectory,
          renew: async () => void (await renewOwn(office, self, dataDirectory)),
          onRenewed,
          clock,
          report: (message) => log.info(message),
          alarm: (message) => log.error(message),
        },
        ending.signal,
      )
    : followIdentity({ dataDirectory, clock, onRenewed }, ending.signal)
  const sweeping = (async () => {
    while (!ending.signal.aborted) {
      await clock.sleep(limits.expirySweepMs, ending.signal)
      gate.look(clock.wall())
    }
  })()
  return {
    async close() {
      ending.abort()
      stopWriting()
      await listening.close()
      await Promise.all([renewing, sweeping])
    },
  }
}

/** Keeps the list of revoked certificates in a file for this node's Postgres and etcd. Returns how to stop. */
async function keepRevocations(office: Office, dataDirectory: string, log: Log): Promise<() => void> {
  let written = ''
  const write = async (): Promise<void> => {
    const list = office.revocations()
    if (list === written) return
    written = list
    await writePrivateFile(identityFiles(dataDirectory).revocations, list)
  }
  await write()
  return office.onChange(() => {
    write().catch((error: unknown) => {
      written = ''
      log.error('the list of revoked certificates is not written', errorFields(error))
    })
  })
}

const tlsOf = ({ certificate, key, authorities }: Identity): TlsFiles => ({
  cert: certificate,
  key,
  clients: authorities,
})

/** The folder's identity, and the ledger with an authority in it; a first node makes both. */
async function openIdentity(
  { settings, keyring, clock }: EnrolmentOptions,
  records: Records,
  leaders: readonly string[],
): Promise<{ held: Held; identity: Identity | undefined }> {
  const dataDirectory = settings.data_dir
  const holding = { records, keyring, dataDirectory, version: API_VERSION }
  const held = await holdAuthority(holding)
  const identity = await readIdentity(dataDirectory)
  if (identity !== undefined && identity.membership.node !== settings.name) {
    throw invalid(
      'name',
      `${identityFiles(dataDirectory).folder} is the identity of ${identity.membership.node}, and the settings name this node ${settings.name}`,
    )
  }
  if (held !== undefined) return { held, identity }
  const first = await initCluster({
    dataDirectory,
    account: settings.account,
    node: settings.name,
    leaders,
    certificateLifeMs: settings.node_certificate_life * 1000,
    now: clock.wall(),
  })
  return { held: (await holdAuthority(holding))!, identity: first }
}

async function renewOwn(office: Office, self: NodeRow, dataDirectory: string): Promise<Identity> {
  const csr = await prepareRequest(dataDirectory, self.node)
  await storeIssued(dataDirectory, await office.issueOwn(self, csr))
  return (await readIdentity(dataDirectory))!
}

function addressesOf({ name, host, node_host, node_port, node_addresses }: LeaderSettings): string[] {
  if (!NODE_NAME.test(name))
    throw invalid('name', `${name} cannot stand in a certificate: letters, digits, "." and "-", at most 63`)
  const wrong = node_addresses.find((address) => !ADDRESS.test(address))
  if (wrong !== undefined) throw invalid('node_addresses', `${wrong} is not of the form host:port`)
  if (node_addresses.length > limits.leaderAddresses)
    throw invalid('node_addresses', `there are more than ${limits.leaderAddresses}`)
  if (node_addresses.length > 0) return [...node_addresses]
  const own = node_host ?? host
  if (own === '0.0.0.0' || own === '::')
    throw invalid('node_addresses', `it must be given, because nobody can be sent to ${own}`)
  return [`${own.includes(':') ? `[${own}]` : own}:${node_port}`]
}

const invalid = (target: string, what: string): DomainError =>
  new DomainError('settings_invalid', `${target}: ${what}`, { target })

function deskOf(office: Office, ledger: Ledger): EnrolmentDesk {
  return {
    makeSeed: (order, asker) => office.makeSeed(order, askerOf(asker)),
    members: async () => office.members(),
    async evict(node, asker) {
      const done = await office.evict(node, `by ${asker.role}`, askerOf(asker))
      if (done === 'done') await forgetKeys(ledger, node)
      return done
    },
  }
}

/** A node that is out could still sign access tokens: nobody believes them from here on. */
async function forgetKeys(ledger: Ledger, node: string): Promise<void> {
  const held = { sql: 'SELECT kid FROM signing_keys WHERE node = ?1', params: [node] }
  await ledger.submit({
    statements: [held],
    caller: undefined,
    decide: ({ rows }) => ({
      changes: rows[0]!.map(({ kid }) => remove('signing_keys', { kid: String(kid) })),
      records: [],
    }),
  })
}

const askerOf = ({ role, clientIp, requestId }: Caller): Asker => ({
  user: role ?? 'not-found',
  clientIp,
  requestId,
})
