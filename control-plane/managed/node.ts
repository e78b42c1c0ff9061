// `holdfast leader --database-url-file`: a control node without data of its own, on a managed Postgres. Process 1 of three, as
// in a cluster: it holds the lease; the process that answers clients and the watchdog are beside it.
import { mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { DomainError } from '#shared/base/errors.ts'
import { type Monotonic, monotonic } from '#shared/base/time.ts'
import { bootClock } from '#shared/node/clock.ts'
import { readSettingFile } from '#shared/node/files.ts'
import { errorFields, type Log } from '#shared/node/log.ts'
import { managedUrls, prepareManaged } from '../databases.ts'
import type { NodeStatus } from '../node-link.ts'
import { type Processes, startProcesses } from '../processes.ts'
import type { ManagedSettings } from '../settings.ts'
import { afterFence, type Config, type Heard, next, type Role, standingBy } from './lease.ts'
import { createLeaseRow, type LeaseRow } from './lease-row.ts'

/** Runs until the signal is aborted. Errors: `settings_invalid`, `unavailable` when the database is not there at the start. */
export async function runManagedNode(given: ManagedSettings, signal: AbortSignal, log: Log): Promise<void> {
  const settings = { ...given, data_dir: resolve(given.data_dir) }
  const config = configOf(settings)
  await mkdir(settings.data_dir, { recursive: true, mode: 0o700 })
  const url = await urlFrom(settings.database_url_file)
  await prepareManaged(url).catch((cause: unknown) => {
    if (cause instanceof DomainError && cause.code === 'settings_invalid') throw cause
    throw new DomainError('unavailable', `the managed database cannot be made ready: ${wordsOf(cause)}`, {
      cause,
    })
  })
  const urls = managedUrls(url)
  const row = createLeaseRow({
    url: urls('main'),
    node: settings.name,
    lifeMs: config.lifeMs,
    renewWithinMs: ASK_WITHIN_MS,
    clock: bootClock,
    report: (error) => log.warn('the managed database does not answer for the lease', errorFields(error)),
  })
  const postgres = { url: urls, pid: () => undefined }
  const processes = startProcesses(settings, postgres, bootClock, log)
  const role = await hold({ row, processes, config, node: settings.name, log }, signal)
  if (role.phase === 'leading') await leave(role.epoch, row, processes)
  await processes.close()
  await row.close()
}

/** Of the driver or the server; neither says more of the URL than its host and its user. */
function wordsOf(thrown: unknown): string {
  const first = thrown instanceof DomainError ? (thrown.cause ?? thrown) : thrown
  return first instanceof Error && first.message !== '' ? first.message : 'it cannot be reached'
}

/** Of each renewal. */
const ASK_WITHIN_MS = 1_000
/** A process that is started again opens a Leader in this time, or does not at all. */
const UNWELL_MS = 30_000

function configOf({ ttl }: ManagedSettings): Config {
  const lifeMs = ttl * 1_000
  const marginMs = Math.max(2_000, lifeMs / 5)
  return {
    lifeMs,
    marginMs,
    // One renewal may go unanswered, and one after it (cluster 7.7).
    renewEveryMs: Math.min(RENEW_AT_MOST_MS, lifeMs / 3, lifeMs - 2 * ASK_WITHIN_MS - marginMs),
    unwellMs: UNWELL_MS,
  }
}

/** What `/health` says of the database is not much older. */
const RENEW_AT_MOST_MS = 5_000

/** Where nothing was heard, or somebody else leads. */
const ASK_EVERY_MS = 500

/** With a place for parameters, which the names of databases stand before. */
async function urlFrom(file: string): Promise<string> {
  const text = await readSettingFile('database_url_file', file)
  const url = URL.parse(text)
  if (url === null || !/^postgres(ql)?:$/.test(url.protocol) || url.hostname === '')
    throw new DomainError(
      'settings_invalid',
      `database_url_file: ${file} is not of the form postgresql://user:password@host/database`,
      { target: 'database_url_file' },
    )
  url.searchParams.set('application_name', 'holdfast')
  return url.href
}

type Holding = {
  readonly row: LeaseRow
  readonly processes: Processes
  readonly config: Config
  readonly node: string
  readonly log: Log
}

/** Asks for the lease, and keeps it where it has it. Answers what this node is when the signal is aborted. */
async function hold(holding: Holding, signal: AbortSignal): Promise<Role> {
  const { row, processes, config, node, log } = holding
  const clock = bootClock
  let role: Role = standingBy
  let heardAt: Monotonic | undefined
  const become = (after: Role): void => {
    if (after.phase !== role.phase) log.info('this node is', fieldsOf(after))
    role = after
    processes.tell(statusOf(role, node, heardAt))
  }
  while (!signal.aborted) {
    const well = processes.doors.well(ANSWERS)
    const heard = await asked(role, row, clock.monotonic(), well)
    if (heard.kind !== 'silent') heardAt = clock.monotonic()
    const before: Role = role
    become(next(role, heard, clock.monotonic(), well, config))
    await perform(before, role, holding, become)
    const isKept = role.phase === 'leading' && heard.kind === 'ours'
    await clock.sleep(isKept ? config.renewEveryMs : ASK_EVERY_MS, signal)
  }
  return role
}

/** Who could answer nobody does not ask for the lease. */
async function asked(role: Role, row: LeaseRow, now: Monotonic, well: boolean): Promise<Heard> {
  if (role.phase === 'leading') return row.renew(role.epoch)
  return role.phase === 'standby' && now >= role.notBefore && well ? row.take() : { kind: 'silent' }
}

/** There is no Postgres here of which something could be asked. */
const ANSWERS = { answers: true, writes: true }

/** What this process does when a role follows another. */
async function perform(
  before: Role,
  role: Role,
  { row, processes: { doors }, config }: Holding,
  become: (role: Role) => void,
): Promise<void> {
  if (role.phase === 'leading') {
    doors.setDeadline(role.deadline)
    if (before.phase !== 'leading') doors.open(role.epoch)
  }
  if (role.phase === 'fenced') {
    await doors.close(role.why)
    if (role.gives) await row.giveBack(role.epoch)
    become(afterFence(role, bootClock.monotonic(), config))
  }
}

/** Longer than a write takes. */
const DRAIN_WITHIN_MS = 3_000

/** Writes that are waiting are still done, and whoever waits for the lease has it at once. */
async function leave(epoch: number, row: LeaseRow, { doors }: Processes): Promise<void> {
  await Promise.race([doors.drain(bootClock.monotonic()), bootClock.sleep(DRAIN_WITHIN_MS)])
  await doors.close('this node is being stopped')
  await row.giveBack(epoch)
}

const fieldsOf = (role: Role): Record<string, unknown> => ({
  phase: role.phase,
  ...(role.phase === 'standby' ? {} : { epoch: role.epoch }),
  ...(role.phase === 'fenced' ? { why: role.why } : {}),
})

function statusOf(role: Role, node: string, heardAt: Monotonic | undefined): NodeStatus {
  const leads = role.phase === 'leading'
  const holder = role.phase === 'standby' ? role.holder : undefined
  return {
    phase: leads ? 'open' : role.phase,
    epoch: role.phase === 'standby' ? (holder?.epoch ?? 0) : role.epoch,
    leader: leads ? node : (holder?.node ?? null),
    sync: null,
    next: null,
    members: 1,
    standbys: [],
    dr: false,
    paused: false,
    blocked: null,
    why: role.phase === 'fenced' ? role.why : null,
    storeHeardAt: heardAt === undefined ? null : monotonic(heardAt),
  }
}
