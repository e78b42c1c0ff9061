// One server thread of a Follower: reads the copy that the replicator keeps, and owns an audit queue of its own.
import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { type Api, createApi } from '#shared/api/app.ts'
import { nodeInfo } from '#shared/api/info.ts'
import type { ApiNode } from '#shared/api/node.ts'
import { queueLostEvent } from '#shared/audit/event.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'
import { clientAddressThrough, parseRanges } from '#shared/authz/address.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { spaceFrom } from '#shared/base/space.ts'
import { keepCompiled } from '#shared/node/after-start.ts'
import { signCertificate } from '#shared/node/certificate-authority.ts'
import { systemClock } from '#shared/node/clock.ts'
import { identityFiles } from '#shared/node/identity.ts'
import {
  keyFilesInClear,
  loadKeyring,
  loadSigningKey,
  loadTls,
  shownCertificate,
  shownNodeCertificate,
} from '#shared/node/keys.ts'
import { listen } from '#shared/node/listen.ts'
import { createLog, errorFields } from '#shared/node/log.ts'
import { createRemoteHealth } from '#shared/node/remote-health.ts'
import { secretEngineAt } from '#shared/node/secret-engine.ts'
import { apiSettingsOf } from '#shared/node/settings.ts'
import { notRead } from '#shared/policy/load.ts'
import { createTokens, type SigningKeyRow, type Tokens } from '#shared/token/access-token.ts'
import { followerHealth } from '../health.ts'
import { forwardAudit } from '../link/audit-forwarder.ts'
import type { LinkStatus } from '../link/link.ts'
import { createAuditQueue } from '../store/audit-queue.ts'
import { createSnapshotStore } from '../store/snapshot-store.ts'
import { readState } from '../store/state.ts'
import { dialOf } from './dial.ts'
import { openChecked } from './integrity.ts'
import { reclaimSpace } from './reclaim.ts'
import { openSqlite } from './sqlite.ts'
import type { FromThread, ThreadStart, ToThread } from './thread-messages.ts'

const { settings, slot, threads } = workerData as ThreadStart
const log = createLog(`${settings.name}/${slot}`, settings.log_level)
const stopping = new AbortController()
const toMain = (message: FromThread): void => parentPort!.postMessage(message)

const tls = await loadTls(settings)
const keyring = await loadKeyring(settings.data_key_file)
const tokens = await createTokens(
  await loadSigningKey(join(settings.data_dir, 'signing-key.json')),
  settings.name,
)
const data = openSqlite(join(settings.data_dir, 'data.db'), 'reader')
const queueFile = openChecked(
  join(settings.data_dir, `audit-${slot}.db`),
  log,
  'audit records that the Leader does not have are in it',
  'owner',
)
queueFile.sqlite.raw.pragma(`wal_autocheckpoint = ${limits.auditCheckpointPages}`)
const budget = {
  records: Math.ceil(settings.audit_budget_records / threads),
  bytes: Math.ceil(settings.audit_budget_bytes / threads),
}
const queue = createAuditQueue({
  sqlite: queueFile.sqlite,
  budget,
  now: Date.now,
  random: randomBytes,
  endOfTurn: setImmediate,
})
if (queueFile.aside !== undefined) {
  const lost = queueLostEvent(`${settings.name}/${slot}`, queueFile.aside)
  await queue.append([formatEvent(lost, { timestamp: Date.now(), procid: '' })])
}
const store = createSnapshotStore(data, systemClock)
let link: LinkStatus = {
  state: 'connecting',
  leaderUrl: settings.leader_url,
  cluster: undefined,
  lastError: undefined,
  distrust: undefined,
}
let verifiedAt: number | undefined
let forwarder = 'disconnected'
let waiting: (() => void)[] = []
let keysAtVersion = -1

/** Believes the keys of the data that is held now. */
function readKeys(into: Tokens): void {
  const state = readState(data)
  if (state === undefined || state.dataVersion === keysAtVersion) return
  keysAtVersion = state.dataVersion
  into.keysChanged(data.all('SELECT kid, jwk FROM signing_keys', []) as unknown as SigningKeyRow[])
}

function nextCommit(waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, waitMs)
    waiting.push(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

function health() {
  const state = readState(data)
  const now = systemClock.wall()
  return followerHealth({
    name: settings.name,
    state,
    ageMs: state === undefined ? 0 : Math.max(0, now - state.newestAt),
    degradedAgeMs: settings.degraded_age * 1000,
    maxOfflineAgeMs: settings.max_offline_age * 1000,
    verifiedAt,
    space: spaceFrom(statfsSync(settings.data_dir)),
    link,
    audit: queue.pending(),
    auditForwarder: forwarder,
    auditBudget: budget,
    now,
  })
}

const apiSettings = apiSettingsOf(settings)
const remoteHealth = createRemoteHealth(settings.remote_health)
const clientFacing =
  tls === undefined
    ? []
    : [shownCertificate('client-facing', 'tls_cert_file', settings.tls_cert_file!, tls.cert)]
const node: ApiNode = {
  role: 'follower',
  store,
  ledger: undefined,
  audit: queue,
  keyring,
  tokens,
  clock: systemClock,
  random: randomBytes,
  settings: apiSettings,
  clientAddress: clientAddressThrough(settings.trusted_proxies),
  readPolicy: () => notRead,
  elsewhere: undefined,
  io: {
    keyring,
    clock: systemClock,
    health,
    async info() {
      const internal = await shownNodeCertificate(identityFiles(settings.data_dir).certificate)
      return nodeInfo({
        role: 'follower',
        name: settings.name,
        settings: apiSettings,
        balancers: settings.balancers,
        origins: settings.origins,
        certificates: [...clientFacing, ...internal],
        unprotectedKeyFiles: keyFilesInClear(tls) + internal.length,
        cluster: link.cluster,
      })
    },
    remoteHealth,
    signCertificate: (order) => signCertificate(order, systemClock.wall()),
    askEngine: secretEngineAt(settings.secret_engine_url, (message) => log.warn(message)),
    auditRows: undefined,
    enrolment: undefined,
  },
  leaderUrl: () => link.leaderUrl,
  nextCommit,
  receipt: undefined,
  onFault: (error, requestId) =>
    log.error('a request could not be answered', { requestId, ...errorFields(error) }),
}
const api: Api = createApi(node)
readKeys(tokens)
const server = await listen({
  host: settings.host,
  port: settings.port,
  handle: api.handle,
  tls,
  balancers: parseRanges(settings.balancers, 'balancers'),
  shared: threads > 1,
})
const reclaiming = reclaimSpace(
  { sqlite: queueFile.sqlite, clock: systemClock, report: (message) => log.warn(message) },
  stopping.signal,
)
const forwarding = forwardAudit(
  {
    queue,
    dial: await dialOf(settings),
    clock: systemClock,
    random: Math.random,
    onStatus: (status) => {
      forwarder = status
    },
    report: (message) => log.warn(message),
  },
  stopping.signal,
)

parentPort!.on('message', (message: ToThread) => {
  if (message.kind === 'applied') {
    readKeys(tokens)
    const woken = waiting
    waiting = []
    for (const wake of woken) wake()
  } else if (message.kind === 'link') link = message.status
  else if (message.kind === 'verified') verifiedAt = message.at
  else void stop()
})

async function stop(): Promise<void> {
  await server.close()
  stopping.abort()
  await Promise.all([forwarding, reclaiming])
  queueFile.close()
  data.close()
  toMain({ kind: 'stopped' })
  parentPort!.close()
}

toMain({ kind: 'listening', port: server.port })
keepCompiled()
