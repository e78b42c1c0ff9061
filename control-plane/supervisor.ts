// Process 1 of a control node: owns its Postgres, its leases and the machine, and the two processes beside it (cluster 7).
import { statfs } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DomainError } from '#shared/base/errors.ts'
import type { Clock, Monotonic } from '#shared/base/time.ts'
import { aborted, bootClock, systemClock } from '#shared/node/clock.ts'
import { readSettingFile } from '#shared/node/files.ts'
import { errorFields, type Log } from '#shared/node/log.ts'
import { accountWhileLeading } from './accounting.ts'
import { createEtcdStore, type EtcdStore } from './coordination/etcd.ts'
import type { Signature } from './coordination/orders.ts'
import { remembering } from './coordination/remembered.ts'
import { heeding } from './coordination/store.ts'
import { renewNodeFiles, usesIdentity, withNodeFiles } from './enrolment/node-files.ts'
import { heedRevocations } from './enrolment/revoked.ts'
import { type Doors, startDriver } from './failover/driver.ts'
import type { Hands, PostgresProbe } from './failover/hands.ts'
import type { Config, Node } from './failover/types.ts'
import {
  type FromApi,
  type LinkedProcess,
  type NodeStatus,
  startLinked,
  type ToApi,
  type ToWatchdog,
} from './node-link.ts'
import { statusOf } from './node-status.ts'
import { actsOf } from './operator/acts.ts'
import type { Deed } from './operator/deeds.ts'
import { openDoor } from './operator/door.ts'
import { signingKeysOf } from './operator/signatures.ts'
import { findBinaries } from './postgres/binaries.ts'
import { createHands } from './postgres/hands.ts'
import { lookThere } from './postgres/looking.ts'
import type { GivenNodeSettings, NodeAddress, NodeSettings } from './settings.ts'

const API = new URL('./api.ts', import.meta.url)
const WATCHDOG = new URL('./watchdog.ts', import.meta.url)

/** Runs until the signal is aborted. Errors: `settings_invalid`. */
export async function runControlNode(given: GivenNodeSettings, signal: AbortSignal, log: Log): Promise<void> {
  // Postgres has a working directory of its own.
  const settings = await withNodeFiles({ ...given, data_dir: resolve(given.data_dir) }, signal, log)
  if (settings === undefined) return
  const config = configOf(settings)
  const tls = await identityOf(settings)
  const clock = bootClock
  const hands = createHands({
    node: settings.name,
    dataDirectory: settings.data_dir,
    binaries: await findBinaries(settings.postgres_bin, settings.data_dir),
    address: addressOf(settings, settings.name),
    addressOf: (node) => addressOf(settings, node),
    tls,
    clock,
    log: (message) => log.warn(message),
  })
  const etcd = createEtcdStore({
    endpoints: settings.etcd,
    tls,
    clusterId: settings.cluster,
    ttlMs: config.ttlMs,
    requestTimeoutMs: STORE_TIMEOUT_MS,
    clock,
    report: (message) => log.warn(message),
  })
  const seenFile = join(settings.data_dir, 'cluster-seen.json')
  const store = heeding(await remembering(etcd, seenFile, clock, (message) => log.warn(message)), clock)
  await hands.start()
  const processes = startProcesses(settings, hands, clock, log)
  const disk = watchDisk(settings.data_dir, log)
  let known: Node | undefined
  const driver = startDriver({
    config,
    store,
    hands,
    clock,
    doors: { ...processes.doors, well: (probe) => disk.hasRoom() && processes.doors.well(probe) },
    changed: (node, before) => {
      known = node
      processes.tell(statusOf(node, store.heardAt()))
      if (node.role.phase !== before.role.phase) log.info('this node is', fieldsOf(node))
    },
    report: (message) => log.warn(message),
  })
  const kept = keepIdentity(settings, hands, etcd, signal, log)
  const node = (): Node | undefined => known
  const looking = {
    here: hands.look,
    there: (host: string, until: AbortSignal) =>
      lookThere(placeOf(settings, host), tls, settings.name, until),
  }
  const { remembered, unbelieved } = store
  const cluster = { cluster: settings.cluster, servers: etcd, looking, remembered, unbelieved }
  const keys = () => signingKeysOf(hands.url('main'))
  const door = await openDoor(
    settings.data_dir,
    actsOf({ ...cluster, config, store, clock, node, keys }),
    log,
  )
  const accounting = accountWhileLeading({ store, clock, node, account: processes.account, log }, signal)
  await aborted(signal)
  await door.close()
  await accounting
  await kept
  await driver.close()
  await processes.close()
  disk.close()
  await hands.stop()
  await store.close()
}

/** The identity that this node has joined with: renewed in time, and believing nobody who was put out. */
async function keepIdentity(
  settings: NodeSettings,
  hands: ReturnType<typeof createHands>,
  etcd: EtcdStore,
  signal: AbortSignal,
  log: Log,
): Promise<void> {
  if (!usesIdentity(settings)) return
  let revocations = ''
  const useAtPostgres = async (): Promise<void> =>
    hands.renew({ ...(await identityOf(settings)), ...(revocations === '' ? {} : { crl: revocations }) })
  const onRenewed = async (): Promise<void> => {
    etcd.renew(await identityOf(settings))
    await useAtPostgres()
  }
  const heeding = {
    url: () => hands.url('main'),
    apply: (list: string) => {
      revocations = list
      return useAtPostgres()
    },
    clock: systemClock,
    report: (message: string) => log.warn(message),
  }
  await Promise.all([renewNodeFiles(settings, onRenewed, signal, log), heedRevocations(heeding, signal)])
}

/** The next question goes to another member. */
const STORE_TIMEOUT_MS = 1_000

export function configOf(settings: NodeSettings): Config {
  const names = settings.nodes.map(({ name }) => name)
  const invalid = (setting: string, what: string): DomainError =>
    new DomainError('settings_invalid', `${setting}: ${what}`, { target: setting })
  if (!names.includes(settings.name)) throw invalid('name', `${settings.name} is none of nodes`)
  const stranger = settings.dr_nodes.find((name) => !names.includes(name))
  if (stranger !== undefined) throw invalid('dr_nodes', `${stranger} is none of nodes`)
  const first = settings.first_leader ?? names[0]!
  if (!names.includes(first)) throw invalid('first_leader', `${first} is none of nodes`)
  const ttlMs = settings.ttl * 1_000
  const fenceMarginMs = Math.max(2_000, ttlMs / 5)
  return {
    node: settings.name,
    members: names.map((name) => ({ name, dr: settings.dr_nodes.includes(name), priority: 0 })),
    first,
    ttlMs,
    fenceMarginMs,
    // One renewal may go unanswered, and one after it (cluster 7.7).
    renewEveryMs: Math.min(ttlMs / 3, ttlMs - 2 * STORE_TIMEOUT_MS - fenceMarginMs),
    raceBackoffMs: ttlMs / 3,
    electionWindowMs: 1_000,
    syncGraceMs: 1_500,
    syncRequired: settings.sync_required,
    mode: settings.failover_mode,
  }
}

function addressOf({ nodes }: NodeSettings, node: string): NodeAddress {
  const found = nodes.find(({ name }) => name === node)
  if (found === undefined) throw new DomainError('settings_invalid', `nodes: ${node} is not among them`)
  return found
}

/** A member, or host:port. */
function placeOf(settings: NodeSettings, host: string): NodeAddress {
  const [, name, port] = /^(.+):(\d{1,5})$/.exec(host) ?? []
  return name === undefined
    ? addressOf(settings, host)
    : { name, host: name.replace(/^\[|\]$/g, ''), port: Number(port) }
}

const identityOf = async (settings: NodeSettings) => ({
  ca: await readSettingFile('node_ca_file', settings.node_ca_file),
  cert: await readSettingFile('node_cert_file', settings.node_cert_file),
  key: await readSettingFile('node_key_file', settings.node_key_file),
})

type Processes = {
  readonly doors: Doors
  tell(status: NodeStatus): void
  account(deed: Deed): Promise<Signature | undefined>
  close(): Promise<void>
}

const WELL_WITHIN_MS = 2_000
const RESTART_MS = 200

/** Who answers clients, and the watchdog: started again when they end, and told everything anew. */
function startProcesses(settings: NodeSettings, hands: Hands, clock: Clock, log: Log): Processes {
  let api: LinkedProcess<ToApi>
  let watchdog: LinkedProcess<ToWatchdog>
  let leading: { readonly epoch: number; deadline: Monotonic } | undefined
  let deadline: Monotonic | undefined
  let wellAt: Monotonic | undefined
  let status: NodeStatus | undefined
  let closed = false
  let drain: { readonly asked: Monotonic; readonly done: () => void } | undefined
  let accounting:
    | { readonly id: string; readonly done: (signature: Signature | undefined) => void }
    | undefined

  const watch = (): void => {
    const pids = [api.pid, hands.pid()].filter((pid) => pid !== undefined)
    watchdog.send({ kind: 'watch', pids })
  }

  function startApi(): void {
    wellAt = undefined
    const started = startLinked<ToApi, FromApi>(API, (message) => {
      if (started !== api) return
      if (message.kind === 'well' && message.ok) wellAt = clock.monotonic()
      if (message.kind === 'accounted' && message.id === accounting?.id) accounting.done(message.signature)
      if (message.kind === 'drained' && message.asked === drain?.asked) drain.done()
    })
    api = started
    started.send({ kind: 'start', settings, databaseUrl: hands.url('DATABASE') })
    if (status !== undefined) started.send({ kind: 'status', status })
    if (leading !== undefined) started.send({ kind: 'lead', ...leading })
    void started.ended.then(async () => {
      if (closed || started !== api) return
      log.warn('the process that answers clients has ended; starting it again')
      await clock.sleep(RESTART_MS)
      if (!closed && started === api) startApi()
    })
    if (watchdog !== undefined) watch()
  }

  function startWatchdog(): void {
    const started = startLinked<ToWatchdog, never>(WATCHDOG, () => undefined)
    watchdog = started
    started.send({ kind: 'deadline', deadline })
    watch()
    void started.ended.then(async () => {
      if (closed || started !== watchdog) return
      log.warn('the watchdog has ended; starting it again')
      await clock.sleep(RESTART_MS)
      if (!closed) startWatchdog()
    })
  }

  startApi()
  startWatchdog()
  const rewatch = setInterval(watch, WATCH_EVERY_MS)
  return {
    doors: {
      setDeadline(at) {
        deadline = at
        if (leading !== undefined) leading.deadline = at
        api.send({ kind: 'deadline', deadline: at })
        watchdog.send({ kind: 'deadline', deadline: at })
      },
      open(epoch) {
        leading = { epoch, deadline: deadline! }
        api.send({ kind: 'lead', ...leading })
      },
      drain(asked) {
        const { promise, resolve } = Promise.withResolvers<void>()
        drain = { asked, done: resolve }
        api.send({ kind: 'drain', asked })
        return promise
      },
      async close(why) {
        log.warn('closing', { why })
        leading = undefined
        deadline = undefined
        watchdog.send({ kind: 'deadline', deadline })
        const old = api
        const gone = old.kill()
        await gone
        if (!closed && old === api) startApi()
      },
      well(probe: PostgresProbe) {
        const answers = wellAt !== undefined && clock.monotonic() - wellAt < WELL_WITHIN_MS
        return probe.answers && answers && (leading === undefined || probe.writes)
      },
    },
    tell(next) {
      if (JSON.stringify(next) === JSON.stringify(status)) return
      status = next
      api.send({ kind: 'status', status })
    },
    async account(deed) {
      const { promise, resolve, reject } = Promise.withResolvers<Signature | undefined>()
      accounting = { id: deed.id, done: resolve }
      api.send({ kind: 'deed', deed })
      const late = setTimeout(
        () => reject(new Error(`${deed.id} was not accounted for in time`)),
        ACCOUNT_WITHIN_MS,
      )
      return promise.finally(() => clearTimeout(late))
    },
    async close() {
      closed = true
      clearInterval(rewatch)
      await Promise.all([api.kill(), watchdog.kill()])
    },
  }
}

const ACCOUNT_WITHIN_MS = 5_000

/** A Postgres that was started again has another process. */
const WATCH_EVERY_MS = 500

const ROOM_BYTES = 64 * 1024 * 1024
const DISK_EVERY_MS = 2_000

/** A disk that is full, or does not answer, is no place for a Leader. */
function watchDisk(folder: string, log: Log): { hasRoom(): boolean; close(): void } {
  let room = true
  const look = (): void => {
    statfs(folder).then(
      ({ bavail, bsize, ffree, files }) => {
        room = bavail * bsize > ROOM_BYTES && (files === 0 || ffree > 0)
      },
      (error: unknown) => {
        room = false
        log.warn('the disk cannot be looked at', errorFields(error))
      },
    )
  }
  look()
  const timer = setInterval(look, DISK_EVERY_MS)
  return { hasRoom: () => room, close: () => clearInterval(timer) }
}

function fieldsOf(node: Node): Record<string, unknown> {
  const { role } = node
  return {
    phase: role.phase,
    ...('why' in role ? { why: role.why } : {}),
    ...('reason' in role ? { because: role.reason.because } : {}),
    epoch: node.view?.epoch ?? 0,
  }
}
