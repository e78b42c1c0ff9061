// A folder in which one process of ours runs Postgres: claimed, with the user that owns the data, the sockets and the log.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmod,
  chown,
  copyFile,
  mkdir,
  mkdtemp,
  open,
  readFile,
  rename,
  rm,
  stat,
  truncate,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { DomainError } from '#shared/base/errors.ts'
import type { Clock } from '#shared/base/time.ts'
import { claim, endOrphan } from './ownership.ts'
import { findRunAs, type RunAs } from './run-as.ts'
import { USER } from './settings.ts'

export type RoomOptions = {
  /** Holds the cluster in `postgres`, its log in `postgres.log`. One process at a time may use it. */
  readonly dataDirectory: string
  readonly binaries: string
  readonly clock: Clock
  readonly log: (message: string) => void
  /** Off only in tests that kill nothing. */
  readonly durable?: boolean
  /** Instead of what works here best. */
  readonly runAs?: RunAs
}

export type Room = {
  readonly cluster: string
  readonly sockets: string
  readonly runAs: RunAs
  /** Connection URL of one of its databases; `port` is part of the socket's name. */
  url(database: string, port?: number): string
  /** The major one of the programs. */
  version(): Promise<number>
  /** Makes the cluster if it is not there. `complete` may add to it before it is one. */
  initialise(complete?: (folder: string) => Promise<void>): Promise<void>
  /** Starts the server as our child, when nothing is left of the one before and the folder was prepared. */
  spawn(settings: readonly string[], prepare?: () => Promise<void>): Promise<Running>
  /** Gives the folder back. Nothing runs in it any more. */
  leave(): Promise<void>
}

export type Running = {
  pid(): number | undefined
  /** Resolves when it accepts connections. Throws when it ends before, or is not ready in time. */
  ready(): Promise<void>
  /** Resolves when it is gone, however it ended. */
  readonly ended: Promise<void>
  signal(name: NodeJS.Signals): void
  /** Fast shutdown: ends connections and writes a checkpoint; whoever does not end in time is ended at once. */
  stop(): Promise<void>
  /** Like a crash, and recovered from like one at the next start. */
  endAtOnce(): Promise<void>
}

/** A first start may meet the last processes of a server that was killed; they end within moments. */
export const STARTS = 4
export const BACKOFF_MS = [0, 100, 500, 1_000, 5_000] as const
export const backoffMs = (attempt: number): number => BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)]!

/** Longest path of a UNIX socket, with room for its file name. */
const SOCKET_FOLDER_CHARS = 80
const STOP_WITHIN_MS = 20_000
/** A server that was told to end at once and has not: its processes are stopped or stuck in the kernel. */
const AT_ONCE_WITHIN_MS = 6_000

/** Claims the folder. Throws `settings_invalid` when another process has it. */
export async function enterRoom(options: RoomOptions): Promise<Room> {
  const { dataDirectory } = options
  const cluster = join(dataDirectory, 'postgres')
  const own = join(dataDirectory, 'sockets')
  const runAs = options.runAs ?? (await findRunAs())
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 })
  const release = await claim(dataDirectory)
  const sockets = own.length > SOCKET_FOLDER_CHARS ? await mkdtemp(join(tmpdir(), 'holdfast-')) : own
  try {
    await mkdir(sockets, { recursive: true, mode: 0o700 })
    await giveTo(runAs, dataDirectory, sockets)
  } catch (error) {
    await release()
    throw error
  }
  return {
    cluster,
    sockets,
    runAs,
    url: (database, port) =>
      `postgresql://${USER}@localhost${port === undefined ? '' : `:${port}`}/${database}?host=${encodeURIComponent(sockets)}`,
    version: () => versionOf(join(options.binaries, 'postgres')),
    initialise: (complete) => initialise(cluster, runAs, options, complete),
    async spawn(settings, prepare) {
      await endOrphan(cluster, options)
      await prepare?.()
      return start(cluster, runAs, settings, options)
    },
    async leave() {
      if (sockets !== own) await rm(sockets, { recursive: true, force: true })
      await release()
    },
  }
}

/** `postgres (PostgreSQL) 18.4`, with a word of its packager after it. */
async function versionOf(program: string): Promise<number> {
  const { stdout } = await promisify(execFile)(program, ['--version'])
  return Number(/PostgreSQL\) (\d+)/.exec(stdout)?.[1])
}

/** A user without privileges reaches its folders through ours, and sees nothing else in it. */
async function giveTo({ owner }: RunAs, dataDirectory: string, sockets: string): Promise<void> {
  if (owner === undefined) return
  await chown(dataDirectory, 0, owner.gid)
  await chmod(dataDirectory, 0o710)
  await chown(sockets, owner.uid, owner.gid)
}

async function start(
  cluster: string,
  runAs: RunAs,
  settings: readonly string[],
  options: RoomOptions,
): Promise<Running> {
  const file = join(options.dataDirectory, 'postgres.log')
  await shortenLog(file)
  const log = await open(file, 'a', 0o600)
  const command = [...runAs.prefix, join(options.binaries, 'postgres'), '-D', cluster, ...settings]
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', log.fd, log.fd] })
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  await log.close()
  const shortening = setInterval(() => void shortenLog(file).catch(() => undefined), SHORTENED_EVERY_MS)
  shortening.unref()
  void ended.then(() => clearInterval(shortening))
  return {
    pid: () => child.pid,
    ready: () => untilReady(cluster, child, options),
    ended,
    signal: (name) => void child.kill(name),
    stop: () => end(child, ended, options.clock, 'SIGINT', STOP_WITHIN_MS),
    endAtOnce: () => end(child, ended, options.clock, 'SIGQUIT', AT_ONCE_WITHIN_MS),
  }
}

const hasEnded = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null

async function end(
  child: ChildProcess,
  ended: Promise<void>,
  clock: Clock,
  how: 'SIGINT' | 'SIGQUIT',
  withinMs: number,
): Promise<void> {
  if (hasEnded(child)) return
  const inTime = new AbortController()
  void ended.then(() => inTime.abort())
  child.kill(how)
  await clock.sleep(withinMs, inTime.signal)
  // Like a crash, and recovered from like one at the next start.
  if (!hasEnded(child)) child.kill(how === 'SIGINT' ? 'SIGQUIT' : 'SIGKILL')
  await ended
}

const LOG_BYTES = 16 * 1024 * 1024
const SHORTENED_EVERY_MS = 60_000

/** What has become long is kept once. Postgres writes at the end of what there is, also when that was emptied under it. */
async function shortenLog(file: string): Promise<void> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  )
  if (size <= LOG_BYTES) return
  await copyFile(file, `${file}.1`)
  await truncate(file)
}

/** initdb into a folder beside, then renamed: an interrupted first start leaves nothing half made. */
async function initialise(
  cluster: string,
  runAs: RunAs,
  options: RoomOptions,
  complete: (folder: string) => Promise<void> = async () => undefined,
): Promise<void> {
  if (await holdsData(cluster)) return
  const making = `${cluster}.making`
  await rm(making, { recursive: true, force: true })
  await mkdir(making, { mode: 0o700 })
  if (runAs.owner !== undefined) await chown(making, runAs.owner.uid, runAs.owner.gid)
  const flags = ['-k', '--locale=C', '-E', 'UTF8', '-A', 'trust', '-U', USER]
  const sync = options.durable === false ? ['-N'] : []
  const command = [...runAs.prefix, join(options.binaries, 'initdb'), '-D', making, ...flags, ...sync]
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] })
  let errors = ''
  child.stderr?.on('data', (chunk) => {
    errors += String(chunk)
  })
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new DomainError('unavailable', `initdb failed: ${errors.trim()}`)
  await complete(making)
  await rename(making, cluster)
}

/** Whether a folder is a cluster. */
export const holdsData = (folder: string): Promise<boolean> =>
  stat(join(folder, 'PG_VERSION')).then(
    () => true,
    () => false,
  )

/** After a crash all log since the last checkpoint is read: to end it earlier would be to begin again. */
const READY_WITHIN_MS = 600_000
const POLL_MS = 20
const SAID_AFTER_MS = 10_000

/** The eighth line of postmaster.pid says `ready`, once recovery is over or reads are let in during it. */
async function untilReady(cluster: string, child: ChildProcess, options: RoomOptions): Promise<void> {
  const since = options.clock.monotonic()
  const log = join(options.dataDirectory, 'postgres.log')
  let said = false
  while (options.clock.monotonic() < since + READY_WITHIN_MS) {
    if (!said && options.clock.monotonic() > since + SAID_AFTER_MS) {
      options.log(`Postgres is still starting after ${SAID_AFTER_MS / 1_000} s: ${log} says what it does`)
      said = true
    }
    if (hasEnded(child)) {
      throw new DomainError('unavailable', `Postgres ended while starting: see ${log}`)
    }
    const lines = (await readFile(join(cluster, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
    if (Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready') return
    await options.clock.sleep(POLL_MS)
  }
  throw new DomainError('unavailable', `Postgres was not ready within ${READY_WITHIN_MS} ms`)
}
