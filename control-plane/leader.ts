// The Leader on one page, on the Postgres that it is given: the ledger, the audit, the streams to Followers, the API.
import { join } from 'node:path'
import { type Api, createApi } from '#shared/api/app.ts'
import { signCertificate } from '#shared/api/certificate-authority.ts'
import type { ApiNode, Health } from '#shared/api/node.ts'
import { secretEngineAt } from '#shared/api/secret-engine.ts'
import { createDiscovery } from '#shared/authn/discovery.ts'
import { createKeySets } from '#shared/authn/key-sets.ts'
import { clientAddressThrough, parseRanges, proxiesOf } from '#shared/authz/address.ts'
import { fromUtf8, utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { makeId } from '#shared/id/resource-id.ts'
import { type Change, put } from '#shared/ledger/change.ts'
import { credentialsQuery } from '#shared/ledger/reads/caller.ts'
import type { Ledger, ReadStore } from '#shared/ledger/store.ts'
import { systemClock } from '#shared/node/clock.ts'
import { directoriesOf } from '#shared/node/directory.ts'
import { writePrivateFile } from '#shared/node/files.ts'
import { keptKeySetsIn } from '#shared/node/kept-keys.ts'
import { loadKeyring, loadSigningKey, loadTls } from '#shared/node/keys.ts'
import { clusterThrough } from '#shared/node/kubernetes.ts'
import type { ListenOptions } from '#shared/node/listen.ts'
import { errorFields, type Log } from '#shared/node/log.ts'
import { outgoingThrough } from '#shared/node/outgoing.ts'
import { apiSettingsOf } from '#shared/node/settings.ts'
import { tokenSocketOf } from '#shared/node/token-socket.ts'
import { accountChanges, SYSTEM_ROOT, systemChanges } from '#shared/policy/bootstrap.ts'
import { readLoad } from '#shared/policy/load.ts'
import { type Keyring, recordId } from '#shared/secret/keyring.ts'
import { passwordsOf } from '#shared/secret/password.ts'
import { createTokens, type SigningKeyRow, type Tokens } from '#shared/token/access-token.ts'
import { drawApiKey } from '#shared/token/api-key.ts'
import type { About } from './about.ts'
import { type Account, createAccounts } from './accounts.ts'
import { auditRows } from './audit/query.ts'
import { createAuditReceiver } from './audit/receiver.ts'
import { openSinks } from './audit/sinks.ts'
import { createAuditStore } from './audit/store.ts'
import type { ClusterFacts } from './cluster-health.ts'
import { openEnrolment } from './enrolment/open.ts'
import { startHealth } from './health.ts'
import { connect, type Database } from './ledger/connection.ts'
import { currentEpoch } from './ledger/epoch-guard.ts'
import { certainly, createChangeLog, createOutbox } from './ledger/log.ts'
import { createReader } from './ledger/reader.ts'
import { createReceipts } from './ledger/receipt.ts'
import { createWriter, type Writer } from './ledger/writer.ts'
import { createLoader } from './loader.ts'
import type { ManagedFacts } from './managed/health.ts'
import { createDialler } from './publish/dialler.ts'
import { byBearer, createEntrance, firstOf, type Streams } from './publish/entrance.ts'
import { edgesOf, followersOf } from './publish/named.ts'
import { createPublisher } from './publish/publisher.ts'
import { createSnapshots } from './publish/snapshots.ts'
import type { LeaderSettings } from './settings.ts'

export type LeaderOptions = {
  readonly settings: LeaderSettings
  readonly keys: LeaderKeys
  /** Connection URL of a database of its Postgres; they are there, with this program's schema. */
  readonly databaseUrl: (database: string) => string
  /** Whether the main one's may stand in a file of the folder, for who looks into it. */
  readonly writesUrl: boolean
  /** Of its leadership. Undefined: it stands alone, and the database says. */
  readonly epoch: number | undefined
  readonly about: About
  /** False: the supervisor has the certificate of this node renewed. */
  readonly renewsIdentity: boolean
  /** Undefined: it stands alone. */
  readonly cluster: (() => ClusterFacts | ManagedFacts) | undefined
  readonly log: Log
}

/** A Leader that serves; who holds its sockets asks it. */
export type Leader = {
  readonly epoch: number
  readonly handle: Api['handle']
  readonly onUpgrade: NonNullable<ListenOptions['onUpgrade']>
  readonly health: () => Health
  /** Of what happened to its cluster. */
  readonly account: Account
  /** New writes are refused, and those that are waiting are done; reads go on. */
  drain(): Promise<void>
  /** Followers go elsewhere, and what was asked is still answered. */
  endStreams(): Promise<void>
  /** When nothing is asked any more: all that was written is recorded. */
  close(): Promise<void>
}

/** What it reads from files. Errors: `settings_invalid` that says which. */
export async function loadLeaderKeys(settings: LeaderSettings, log: Log) {
  return {
    apiSettings: { ...apiSettingsOf(settings), passwords: await passwordsOf(process.env) },
    keyring: await loadKeyring(settings.data_key_file),
    followers: await followersOf(settings),
    signingKey: await loadSigningKey(join(settings.data_dir, 'signing-key.json')),
    tls: await loadTls(settings),
    directories: await directoriesOf(settings, process.env),
    providerKeys: await keptKeySetsIn(settings.data_dir, (message) => log.warn(message)),
  }
}

export type LeaderKeys = Awaited<ReturnType<typeof loadLeaderKeys>>

export const openLeader = async (options: LeaderOptions): Promise<Leader> => (await prepareLeader(options))()

/** All of a Leader that nobody else sees. What it answers opens it, once: to nodes, Followers and clients. */
export async function prepareLeader(options: LeaderOptions): Promise<() => Promise<Leader>> {
  const { settings, databaseUrl, about, cluster, log } = options
  const { apiSettings, keyring, followers, signingKey, directories, providerKeys } = options.keys
  const clock = systemClock
  const tokens = await createTokens(signingKey, settings.name)

  if (options.writesUrl)
    await writePrivateFile(join(settings.data_dir, 'postgres.url'), `${databaseUrl('main')}\n`)
  const main = connect(databaseUrl('main'))
  const auditDatabase = connect(databaseUrl('audit'))

  const epoch = options.epoch ?? (await currentEpoch(main, settings.name, clock.wall()))
  const writer = await createWriter({ database: main, epoch, clock })
  const reader = createReader(main)
  const changeLog = await createChangeLog(main, writer)
  const outbox = createOutbox(main, writer)
  const audit = await createAuditStore({
    database: auditDatabase,
    outbox,
    node: settings.name,
    random: randomBytes,
    clock,
    report: (message) => log.error(message),
  })
  const sinks = await openSinks({
    database: auditDatabase,
    files: {
      json: settings.audit_json_file ?? join(settings.data_dir, 'audit.json'),
      text: settings.audit_text_file ?? join(settings.data_dir, 'audit.log'),
    },
    clock,
    report: (message) => log.error(message),
  })
  const drain = soon(() => {
    audit.drain().catch((error: unknown) => {
      log.warn('the audit outbox waits', errorFields(error))
      setTimeout(drain, limits.auditRetryMs).unref()
    })
  })

  const { account } = settings
  const firstRoles: readonly FirstRole[] = [
    { id: SYSTEM_ROOT, changes: systemChanges, keyFile: 'accounts.key' },
    {
      id: makeId(account, 'user', 'admin'),
      changes: (sealed, now) => accountChanges(account, sealed, now),
      keyFile: 'admin.key',
    },
  ]
  for (const role of firstRoles) await openRole(role, settings.data_dir, writer, reader, keyring)
  await registerKeys(writer, settings.name, [
    { kid: signingKey.kid, jwk: JSON.stringify(signingKey.publicJwk) },
  ])
  const stopKeys = await followKeys(main, writer, tokens, log)

  const enrolment = await openEnrolment({
    settings,
    database: main,
    writer,
    store: reader,
    audit,
    keyring,
    epoch,
    renewsIdentity: options.renewsIdentity,
    clock,
    log,
  })
  const publisher = createPublisher({
    log: changeLog,
    snapshots: createSnapshots(changeLog, join(settings.data_dir, 'snapshots'), randomBytes),
    clock,
    leaderUrl: urlOf(settings),
    cluster: namesOf(cluster, settings),
    registerKeys: (follower, keys) => registerKeys(writer, follower, keys, () => enrolment.isOut(follower)),
    report: (message) => log.info(message),
    alarm: (message) => log.error(message),
  })
  const received = createAuditReceiver({
    store: audit,
    alarm: (what, from, seq) => log.error(`audit ${what}`, { from, seq }),
  })
  const loader = createLoader(
    { databaseUrl: databaseUrl('main'), epoch, settings: apiSettings, dataKeyFile: settings.data_key_file },
    writer,
  )
  const background = new AbortController()
  // Connections of their own: those that wait for a Standby must not make the Leader look dead.
  const probes = { main: connect(databaseUrl('main'), 1), audit: connect(databaseUrl('audit'), 1) }
  const health = await startHealth(
    {
      ...probes,
      dataDirectory: settings.data_dir,
      clock,
      head: () => writer.head(),
      followers: () =>
        publisher.followers().map((follower) => ({
          ...follower,
          audit_queued: received.queued(follower.name) ?? null,
        })),
      auditQueued: () => audit.queued(),
      cluster,
      report: (error) => log.warn('the health of this node cannot be measured', errorFields(error)),
    },
    background.signal,
  )
  // Shows nothing that the next Leader may not have (cluster 6.1).
  const store: ReadStore = { read: (batch) => certainly(reader.read(batch), writer) }
  const privateNetworks = parseRanges(settings.authn_private_networks, 'authn_private_networks')
  const outgoing = outgoingThrough(privateNetworks)
  const node: ApiNode = {
    role: 'leader',
    store,
    ledger: writer,
    audit,
    keyring,
    tokens,
    clock,
    random: randomBytes,
    settings: apiSettings,
    clientAddress: clientAddressThrough(settings.trusted_proxies),
    isProxy: proxiesOf(settings.trusted_proxies),
    readPolicy: readLoad,
    elsewhere: loader.load,
    io: {
      keyring,
      clock,
      store,
      outgoing,
      discovery: createDiscovery(outgoing),
      keySets: createKeySets({
        outgoing,
        clock,
        maxAgeMs: settings.authn_keys_max_age * 1000,
        kept: providerKeys,
      }),
      directories,
      cluster: clusterThrough(privateNetworks, process.env),
      health: health.report,
      info: () => about.info('master', namesOf(cluster, settings)),
      remoteHealth: about.remoteHealth,
      signCertificate: (order) => signCertificate(order, clock.wall()),
      askEngine: secretEngineAt(settings.secret_engine_url, (message) => log.warn(message)),
      auditRows: async (filter) => {
        await audit.drain()
        return auditRows(auditDatabase, filter)
      },
      enrolment: enrolment.desk,
    },
    leaderUrl: () => settings.url,
    nextCommit: (waitMs) => nextCommit(writer, waitMs),
    receipt: await createReceipts(signingKey, clock),
    onFault: (error, requestId) =>
      log.error('a request could not be answered', { requestId, ...errorFields(error) }),
  }
  const streams: Streams = {
    onStream: (identity, wire) => publisher.attach(identity, wire),
    onAudit: (identity, wire) => received.receive(identity.name, wire),
  }
  const entrance = createEntrance({
    ...streams,
    identify: firstOf(
      ({ headers }) => enrolment.edges.identify(headers.authorization),
      byBearer(followers.dialling),
    ),
    report: (message) => log.warn(message),
  })
  const dialler = createDialler({
    ...streams,
    clock,
    random: Math.random,
    ca: followers.edgeAuthorities,
    report: (message) => log.warn(message),
  })
  const ofCluster = await createAccounts(
    audit,
    signingKey,
    settings.name,
    cluster?.().cluster ?? settings.name,
  )
  const { handle } = createApi(node)

  return async () => {
    void sinks.follow()
    audit.onStored(soon(() => void sinks.follow()))
    outbox.subscribe(drain)
    drain()
    const nodes = await enrolment.serve(streams)
    const dialEdges = (): void =>
      dialler.dial([...edgesOf(followers, settings), ...enrolment.edges.dialled()])
    // After who is put out was told so.
    enrolment.edges.onChange(() => void setImmediate(dialEdges))
    dialEdges()
    const tokenSocket = await tokenSocketOf(settings, tokens, clock)
    const beating = beat(writer, background.signal, () => changeLog.trim(), log)
    return {
      epoch,
      handle,
      onUpgrade: entrance,
      health: health.report,
      account: ofCluster,
      drain() {
        writer.refuse('this node is handing over its leadership: try again')
        return writer.idle()
      },
      async endStreams() {
        publisher.close()
        await Promise.all([dialler.close(), nodes.close(), tokenSocket?.close()])
      },
      async close() {
        await loader.close()
        background.abort()
        await beating
        stopKeys()
        await writer.idle()
        await audit.drain()
        await sinks.close()
        await Promise.all(
          [main, auditDatabase, probes.main, probes.audit].map((database) => database.close()),
        )
      },
    }
  }
}

/** It leads itself. */
const namesOf = (cluster: (() => ClusterFacts | ManagedFacts) | undefined, { name }: LeaderSettings) =>
  cluster && { name: cluster().cluster, leader: name }

/** Told to Followers. */
const urlOf = ({ url, host, port, tls_cert_file }: LeaderSettings): string =>
  url ?? `${tls_cert_file === undefined ? 'http' : 'https'}://${host}:${port}`

type FirstRole = {
  readonly id: string
  /** Of the role and what belongs to it, with its sealed API key. */
  readonly changes: (sealedKey: Uint8Array, now: number) => Change[]
  /** In the data folder. */
  readonly keyFile: string
}

/** Roles that are there before any policy get their API keys; a key's file is written again when it is missing. */
async function openRole(
  role: FirstRole,
  dataDirectory: string,
  ledger: Ledger,
  store: ReadStore,
  keyring: Keyring,
): Promise<void> {
  const query = credentialsQuery(role.id)
  const record = recordId('credentials', role.id)
  const read = async () =>
    query.read((await store.read({ statements: [query], caller: undefined })).rows[0] ?? [])
  if (!(await read()).exists) {
    const changes = role.changes(keyring.seal(record, utf8(drawApiKey(randomBytes))), systemClock.wall())
    await ledger.submit({ statements: [], caller: undefined, decide: () => ({ changes, records: [] }) })
  }
  const sealed = (await read()).credentials?.apiKey
  if (sealed === undefined) return
  const key = fromUtf8(keyring.open(record, sealed)) ?? ''
  await writePrivateFile(join(dataDirectory, role.keyFile), `${key}\n`)
}

/** Of a node that is out by the time of the decision, nothing. */
async function registerKeys(
  ledger: Ledger,
  node: string,
  keys: readonly SigningKeyRow[],
  isOut = (): boolean => false,
): Promise<void> {
  const held = {
    sql: 'SELECT kid FROM signing_keys WHERE node = ?1',
    params: [node],
  }
  await ledger.submit({
    statements: [held],
    caller: undefined,
    decide: ({ rows }) => {
      if (isOut()) return { changes: [], records: [] }
      const known = new Set(rows[0]!.map((row) => row.kid))
      const changes = keys
        .filter(({ kid }) => !known.has(kid))
        .map(({ kid, jwk }) => put('signing_keys', { kid, node, jwk, created_at: systemClock.wall() }))
      return { changes, records: [] }
    },
  })
}

/** Tokens of a node are believed as soon as its key is in the ledger. */
async function followKeys(database: Database, writer: Writer, tokens: Tokens, log: Log): Promise<() => void> {
  const read = async (): Promise<void> => {
    const { rows } = await database.query('SELECT kid, jwk FROM signing_keys')
    tokens.keysChanged(rows as unknown as SigningKeyRow[])
  }
  const follow = (): void => {
    read().catch((error: unknown) => {
      log.warn('signing keys cannot be read: tokens of a new Follower wait', errorFields(error))
      setTimeout(follow, limits.keysRetryMs).unref()
    })
  }
  await read()
  return writer.onCommit(({ parts }) => {
    if (parts.some((part) => bufferOf(part).includes('"signing_keys"'))) follow()
  })
}

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)

function nextCommit(writer: Writer, waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const stop = writer.onCommit(() => done())
    const timer = setTimeout(() => done(), waitMs)
    const done = (): void => {
      clearTimeout(timer)
      stop()
      resolve()
    }
  })
}

/** Runs `work` a little later, once for all calls until then: what follows writes must not cost every write. */
function soon(work: () => void): () => void {
  let due = false
  return () => {
    if (due) return
    due = true
    setTimeout(() => {
      due = false
      work()
    }, limits.followUpMs)
  }
}

const TRIM_EVERY_BEATS = 60

/** A commit every second: Followers know from it how old their data is (cluster 6.3). */
async function beat(ledger: Ledger, signal: AbortSignal, trim: () => Promise<void>, log: Log): Promise<void> {
  for (let n = 1; !signal.aborted; n++) {
    await systemClock.sleep(limits.heartbeatMs, signal)
    if (signal.aborted) return
    try {
      const at = systemClock.wall()
      const changes = [put('heartbeats', { id: 1, at })]
      await ledger.submit({ statements: [], caller: undefined, decide: () => ({ changes, records: [] }) })
      if (n % TRIM_EVERY_BEATS === 0) await trim()
    } catch (error) {
      log.warn('no heartbeat could be written', errorFields(error))
    }
  }
}
