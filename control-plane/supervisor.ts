// Process 1 of a control node: owns its Postgres, its leases and the machine, and the two processes beside it (cluster 7).
import { join, resolve } from 'node:path'
import { DomainError } from '#shared/base/errors.ts'
import { hasRoom } from '#shared/base/space.ts'
import { aborted, bootClock, systemClock } from '#shared/node/clock.ts'
import { readSettingFile } from '#shared/node/files.ts'
import { errorFields, type Log } from '#shared/node/log.ts'
import { accountWhileLeading } from './accounting.ts'
import { createEtcdStore, type EtcdStore } from './coordination/etcd.ts'
import { remembering } from './coordination/remembered.ts'
import { heeding } from './coordination/store.ts'
import { renewNodeFiles, usesIdentity, withNodeFiles } from './enrolment/node-files.ts'
import { heedRevocations } from './enrolment/revoked.ts'
import { startDriver } from './failover/driver.ts'
import type { Config, Node } from './failover/types.ts'
import { spaceOf } from './local-facts.ts'
import { statusOf } from './node-status.ts'
import { actsOf } from './operator/acts.ts'
import { openDoor } from './operator/door.ts'
import { switchover } from './operator/handover.ts'
import { signingKeysOf } from './operator/signatures.ts'
import { findBinaries } from './postgres/binaries.ts'
import { createHands } from './postgres/hands.ts'
import { lookThere } from './postgres/looking.ts'
import { startProcesses } from './processes.ts'
import type { GivenNodeSettings, NodeAddress, NodeSettings } from './settings.ts'

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
    there: async (host: string, until: AbortSignal) =>
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
  await leaveLeadership({ store, clock, config }, node, log)
  await door.close()
  await accounting
  await kept
  await driver.close()
  await processes.close()
  disk.close()
  await hands.stop()
  await store.close()
}

/** Longer than a switchover takes where there is somebody to take it. */
const LEAVE_WITHIN_MS = 10_000

/** Who leads and is being stopped hands over first, so that nobody waits for its lease to end. */
async function leaveLeadership(
  asking: Parameters<typeof switchover>[0],
  node: () => Node | undefined,
  log: Log,
): Promise<void> {
  if (node()?.role.phase !== 'leading') return
  try {
    const asked = { by: 'holdfast', why: `${asking.config.node} is being stopped` }
    await switchover(asking, asked, AbortSignal.timeout(LEAVE_WITHIN_MS))
  } catch (error) {
    log.warn('stopped while it led: another one is chosen when its lease ends', errorFields(error))
  }
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

const ROOM_KBYTES = 64 * 1024
const DISK_EVERY_MS = 2_000

/** A disk that is full, or does not answer, is no place for a Leader. */
function watchDisk(folder: string, log: Log): { hasRoom(): boolean; close(): void } {
  let room = true
  const look = (): void => {
    spaceOf(folder).then(
      (space) => {
        room = hasRoom(space, ROOM_KBYTES)
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
