// One server thread of a Follower: reads the copy that the replicator keeps, and owns an audit queue of its own.
import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { signCertificate } from '#shared/api/certificate-authority.ts'
import { queueLostEvent } from '#shared/audit/event.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { spaceFrom } from '#shared/base/space.ts'
import { keepCompiled } from '#shared/node/after-start.ts'
import { systemClock } from '#shared/node/clock.ts'
import { directoriesOf } from '#shared/node/directory.ts'
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
import { outgoingThrough } from '#shared/node/outgoing.ts'
import { createTokens } from '#shared/token/access-token.ts'
import { createServing } from '../follower.ts'
import { createAuditQueue } from '../store/audit-queue.ts'
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
const clientFacing =
  tls === undefined
    ? []
    : [shownCertificate('client-facing', 'tls_cert_file', settings.tls_cert_file!, tls.cert)]
const serving = createServing({
  name: settings.name,
  settings,
  data,
  queue,
  auditBudget: budget,
  keyring,
  tokens,
  clock: systemClock,
  random: randomBytes,
  leaderUrl: settings.leader_url,
  space: () => spaceFrom(statfsSync(settings.data_dir)),
  async shown() {
    const internal = await shownNodeCertificate(identityFiles(settings.data_dir).certificate)
    return {
      certificates: [...clientFacing, ...internal],
      unprotectedKeyFiles: keyFilesInClear(tls) + internal.length,
    }
  },
  balancers: settings.balancers,
  signCertificate: (order) => signCertificate(order, systemClock.wall()),
  outgoing: outgoingThrough(parseRanges(settings.authn_private_networks, 'authn_private_networks')),
  directories: await directoriesOf(settings, process.env),
  report: (message) => log.warn(message),
  onFault: (error, requestId) =>
    log.error('a request could not be answered', { requestId, ...errorFields(error) }),
})
const server = await listen({
  host: settings.host,
  port: settings.port,
  handle: serving.api.handle,
  tls,
  balancers: parseRanges(settings.balancers, 'balancers'),
  shared: threads > 1,
})
const reclaiming = reclaimSpace(
  { sqlite: queueFile.sqlite, clock: systemClock, report: (message) => log.warn(message) },
  stopping.signal,
)
const forwarding = serving.forward(await dialOf(settings), stopping.signal)

parentPort!.on('message', (message: ToThread) => {
  if (message.kind === 'applied') serving.applied()
  else if (message.kind === 'link') serving.linked(message.status)
  else if (message.kind === 'verified') serving.verified(message.at)
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
