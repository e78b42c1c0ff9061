// A Follower on Node: this thread keeps the copy current, server threads answer from it.
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { gunzipSync } from 'node:zlib'
import { API_VERSION, SERVES_ALL } from '#shared/api/info.ts'
import { createKeySets, type KeyOwner } from '#shared/authn/key-sets.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { giveBackMemory, keepCompiled } from '#shared/node/after-start.ts'
import { systemClock } from '#shared/node/clock.ts'
import { directoriesOf } from '#shared/node/directory.ts'
import { joinAgain, markRevoked } from '#shared/node/identity.ts'
import { keepRenewed, obtainIdentity, renewAtLeader } from '#shared/node/join.ts'
import { keptKeySetsIn } from '#shared/node/kept-keys.ts'
import { loadKeyring, loadSigningKey, loadTls } from '#shared/node/keys.ts'
import type { Log } from '#shared/node/log.ts'
import { outgoingThrough } from '#shared/node/outgoing.ts'
import { apiSettingsOf } from '#shared/node/settings.ts'
import { tokenSocketOf } from '#shared/node/token-socket.ts'
import type { Dial } from '#shared/replication/wire.ts'
import { createTokens } from '#shared/token/access-token.ts'
import { forwardAudit } from '../link/audit-forwarder.ts'
import { follow } from '../link/link.ts'
import type { FollowerSettings, GivenSettings } from '../settings.ts'
import { createAuditQueue } from '../store/audit-queue.ts'
import { createReplicaStore } from '../store/replica-store.ts'
import { scrub } from '../store/scrub.ts'
import { dialOf, joinsWithSeed } from './dial.ts'
import { idle } from './idle.ts'
import { openChecked } from './integrity.ts'
import { reclaimSpace } from './reclaim.ts'
import { openSqlite } from './sqlite.ts'
import { tellKeys } from './thread-keys.ts'
import type { FromThread, ThreadStart, ToThread } from './thread-messages.ts'

/**
 * Young objects of a server thread, MB. With 12, what 64 requests hold was often moved to the old objects, which are collected
 * late: 60 MB more under load, by chance. With more than this it is only more memory.
 */
const YOUNG_GENERATION_MB = 18

/** Serves until the signal is aborted. Throws what the operator has to know of a node that cannot serve. */
export async function runFollower(given: GivenSettings, signal: AbortSignal, log: Log): Promise<void> {
  // Wrong settings are found before anything is opened.
  apiSettingsOf(given)
  await loadKeyring(given.data_key_file)
  await loadTls(given)
  await directoriesOf(given, process.env)
  parseRanges(given.balancers, 'balancers')
  parseRanges(given.authn_private_networks, 'authn_private_networks')
  await mkdir(given.data_dir, { recursive: true, mode: 0o700 })
  if (!(await joinsWithSeed(given)))
    return serve({ ...given, name: given.name ?? 'edge-1' }, 'full', signal, log)
  const identity = await obtainIdentity(
    {
      dataDirectory: given.data_dir,
      kinds: ['follower'],
      name: given.name,
      version: API_VERSION,
      clock: systemClock,
      report: (message) => log.info(message),
    },
    signal,
  )
  if (identity === undefined) return
  const { node: name, replicationSet, serviceRole } = identity.membership
  if (serviceRole === SERVES_ALL) await serve({ ...given, name }, replicationSet, signal, log)
  else await idle({ ...given, name }, serviceRole, signal, log)
}

async function serve(settings: FollowerSettings, set: string, signal: AbortSignal, log: Log): Promise<void> {
  const dial = await dialOf(settings)
  const signingKey = await loadSigningKey(join(settings.data_dir, 'signing-key.json'))
  const dataFile = join(settings.data_dir, 'data.db')
  const data = openChecked(dataFile, log, 'a snapshot will be taken from the Leader')
  const store = createReplicaStore(data.sqlite)

  const threads = await startThreads(settings, await providerKeys(settings, log))
  const tell = (message: ToThread): void => {
    for (const thread of threads) thread.postMessage(message)
  }
  const tokenSocket = await tokenSocketOf(
    settings,
    await createTokens(signingKey, settings.name),
    systemClock,
  )
  keepCompiled()
  giveBackMemory()
  log.info('serving', { host: settings.host, port: settings.port, threads: threads.length })
  const failed = new AbortController()
  for (const thread of threads) {
    thread.on('error', (error: Error) => {
      log.error('a server thread has failed', { error: error.message })
      failed.abort()
    })
  }

  const ending = AbortSignal.any([signal, failed.signal])
  const report = (message: string): void => log.warn(message)
  const scrubbed = openSqlite(dataFile, 'passer')
  const onSound = (): void => tell({ kind: 'verified', at: systemClock.wall() })
  const onCorrupt = (what: string): void => {
    log.error('the local copy is not what the Leader sent, and serves no more', { what })
    data.condemn()
    failed.abort()
  }
  const background = Promise.all([
    forwardLeftOver(settings, dial, ending, log),
    scrub({ sqlite: scrubbed, clock: systemClock, onSound, onCorrupt, report }, ending),
    reclaimSpace({ sqlite: data.sqlite, clock: systemClock, report }, ending),
    keepRenewed(
      {
        dataDirectory: settings.data_dir,
        renew: () => renewAtLeader(settings.data_dir, ending),
        // Whoever dials reads what is there.
        onRenewed: () => undefined,
        clock: systemClock,
        report: (message) => log.info(message),
        alarm: (message) => log.error(message),
      },
      ending,
    ),
  ])
  const ended = await follow(
    {
      store,
      dial,
      clock: systemClock,
      random: Math.random,
      incarnation: Date.now(),
      set,
      keys: [{ kid: signingKey.kid, jwk: JSON.stringify(signingKey.publicJwk) }],
      gunzip: (packed) => gunzipSync(packed, { maxOutputLength: limits.partBytes * 4 }),
      onApplied: () => tell({ kind: 'applied' }),
      onStatus: (status) => tell({ kind: 'link', status }),
      report: (message) => log.info(message),
      alarm: (message) => log.error(message),
    },
    ending,
  )
  failed.abort()
  await background
  await tokenSocket?.close()
  await stopThreads(threads)
  scrubbed.close()
  data.close()
  if (ended.why === 'revoked') throw await putOut(settings, ended.message)
  if (ended.why === 'superseded') throw supersededBy(settings, ended.message)
  if (!signal.aborted) throw new Error('the Follower has stopped serving: see the messages before')
}

/** Kept on the disk, so that no start serves again what this node should not have any more (I11). */
async function putOut({ data_dir: folder, name }: FollowerSettings, message: string): Promise<DomainError> {
  await markRevoked(folder, message)
  return new DomainError('forbidden', `${message}; ${joinAgain({ kind: 'follower', node: name })}`)
}

const supersededBy = ({ name }: FollowerSettings, message: string): DomainError =>
  new DomainError(
    'conflict',
    `${message}: another process has the identity of ${name}, and of two the newer one is believed. If this disk or machine was cloned, remove the data folder of the clone and join it under a name of its own, with a seed`,
  )

/** Queues of threads that ran when there were more of them: their records go to the Leader all the same. */
async function forwardLeftOver(
  settings: FollowerSettings,
  dial: Dial,
  signal: AbortSignal,
  log: Log,
): Promise<void> {
  const slots = (await readdir(settings.data_dir))
    .map((file) => /^audit-(\d+)\.db$/.exec(file)?.[1])
    .filter((slot) => slot !== undefined && Number(slot) >= settings.server_threads)
  await Promise.all(
    slots.map(async (slot) => {
      const file = openChecked(
        join(settings.data_dir, `audit-${slot}.db`),
        log,
        'audit records that the Leader does not have are in it',
        'owner',
      )
      const queue = createAuditQueue({
        sqlite: file.sqlite,
        budget: { records: settings.audit_budget_records, bytes: settings.audit_budget_bytes },
        now: Date.now,
        random: randomBytes,
        endOfTurn: setImmediate,
      })
      const report = (message: string): void => log.warn(message)
      await forwardAudit(
        { queue, dial, clock: systemClock, random: Math.random, onStatus: () => undefined, report },
        signal,
      )
      file.close()
    }),
  )
}

async function providerKeys(settings: FollowerSettings, log: Log): Promise<KeyOwner> {
  const allowed = parseRanges(settings.authn_private_networks, 'authn_private_networks')
  return createKeySets({
    outgoing: outgoingThrough(allowed),
    clock: systemClock,
    maxAgeMs: settings.authn_keys_max_age * 1000,
    kept: await keptKeySetsIn(settings.data_dir, (message) => log.warn(message)),
  })
}

async function startThreads(settings: FollowerSettings, keys: KeyOwner): Promise<Worker[]> {
  const count = settings.server_threads
  const threads = Array.from({ length: count }, (_, slot) => {
    const workerData: ThreadStart = { settings, slot, threads: count }
    const thread = new Worker(new URL('./server-thread.ts', import.meta.url), {
      workerData,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    })
    thread.on('message', (message: FromThread) => {
      if (message.kind !== 'keys') return
      const { id } = message
      void tellKeys(keys, message.wanted).then((told) =>
        thread.postMessage({ kind: 'keys', id, told } satisfies ToThread),
      )
    })
    return thread
  })
  await Promise.all(threads.map((thread) => said(thread, 'listening')))
  return threads
}

async function stopThreads(threads: readonly Worker[]): Promise<void> {
  await Promise.all(
    threads.map(async (thread) => {
      const stopped = said(thread, 'stopped').catch(() => undefined)
      thread.postMessage({ kind: 'stop' } satisfies ToThread)
      await stopped
      await thread.terminate()
    }),
  )
}

function said(thread: Worker, kind: FromThread['kind']): Promise<void> {
  return new Promise((resolve, reject) => {
    thread.on('message', (message: FromThread) => {
      if (message.kind === kind) resolve()
    })
    thread.once('error', reject)
    thread.once('exit', () => reject(new Error('a server thread ended')))
  })
}
