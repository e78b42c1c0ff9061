// Our own Postgres: made on first start, run as a child, brought back when it dies.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmod,
  chown,
  type FileHandle,
  mkdir,
  mkdtemp,
  open,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DomainError } from '#shared/base/errors.ts'
import type { Clock } from '#shared/base/time.ts'
import { claim, endOrphan } from './ownership.ts'
import { findRunAs, type RunAs } from './run-as.ts'

export type PostgresOptions = {
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

export type PostgresServer = {
  /** Connection URL of one of its databases. */
  url(database: string): string
  pid(): number | undefined
  /** Resolves when it accepts connections. Throws `settings_invalid` when another process has the folder. */
  start(): Promise<void>
  /** Fast shutdown: ends connections and writes a checkpoint; whoever does not end in time is ended at once. */
  stop(): Promise<void>
}

const USER = 'holdfast'
/** Longest path of a UNIX socket, with room for its file name. */
const SOCKET_FOLDER_CHARS = 80
const BACKOFF_MS = [0, 100, 500, 1_000, 5_000]
/** A first start may meet the last processes of a server that was killed; they end within moments. */
const STARTS = 4
/** A server that ran this long did not fail at its start. */
const STEADY_MS = 30_000
const STOP_WITHIN_MS = 20_000

export function createPostgres(options: PostgresOptions): PostgresServer {
  const cluster = join(options.dataDirectory, 'postgres')
  const own = join(options.dataDirectory, 'sockets')
  let sockets = own
  const stopping = new AbortController()
  let runAs: RunAs
  let release = async (): Promise<void> => undefined
  let child: ChildProcess | undefined
  let restarting: Promise<void> | undefined

  async function launch(): Promise<void> {
    await endOrphan(cluster, options)
    await writeAccessRules(cluster, runAs)
    const log = await openLog(join(options.dataDirectory, 'postgres.log'))
    const command = [
      ...runAs.prefix,
      join(options.binaries, 'postgres'),
      ...serverArguments(cluster, sockets, options),
    ]
    const started = spawn(command[0]!, command.slice(1), { stdio: ['ignore', log.fd, log.fd] })
    child = started
    const ended = new Promise<void>((resolve) => {
      started.once('exit', () => resolve())
      started.once('error', () => resolve())
    })
    await log.close()
    await untilReady(cluster, started, options)
    const since = options.clock.monotonic()
    void ended.then(() => {
      if (!stopping.signal.aborted)
        restarting = bringBack(options.clock.monotonic() - since > STEADY_MS ? 0 : 1)
    })
  }

  /** Postgres died under us: start it again, more slowly each time it fails. */
  async function bringBack(failures: number): Promise<void> {
    options.log('Postgres ended unexpectedly; starting it again')
    for (let attempt = failures; !stopping.signal.aborted; attempt++) {
      await options.clock.sleep(BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)]!, stopping.signal)
      if (stopping.signal.aborted) return
      try {
        return await launch()
      } catch (error) {
        options.log(`Postgres could not be started: ${describe(error)}`)
      }
    }
  }

  async function firstLaunch(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await launch()
      } catch (error) {
        if (attempt === STARTS) throw error
        options.log(`Postgres could not be started: ${describe(error)}`)
        await options.clock.sleep(BACKOFF_MS[attempt]!, stopping.signal)
      }
    }
  }

  return {
    url: (database) => `postgresql://${USER}@localhost/${database}?host=${encodeURIComponent(sockets)}`,
    pid: () => child?.pid,
    async start() {
      runAs = options.runAs ?? (await findRunAs())
      await mkdir(options.dataDirectory, { recursive: true, mode: 0o700 })
      release = await claim(options.dataDirectory)
      try {
        if (own.length > SOCKET_FOLDER_CHARS) sockets = await mkdtemp(join(tmpdir(), 'holdfast-'))
        else await mkdir(sockets, { recursive: true, mode: 0o700 })
        await giveTo(runAs, options.dataDirectory, sockets)
        await initialise(cluster, runAs, options)
        await firstLaunch()
      } catch (error) {
        await end(child, options.clock)
        await release()
        throw error
      }
    },
    async stop() {
      stopping.abort()
      await restarting
      await end(child, options.clock)
      if (sockets !== own) await rm(sockets, { recursive: true, force: true })
      await release()
    },
  }
}

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const hasEnded = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null

async function end(child: ChildProcess | undefined, clock: Clock): Promise<void> {
  if (child === undefined || hasEnded(child)) return
  const inTime = new AbortController()
  const ended = once(child, 'exit').then(() => inTime.abort())
  child.kill('SIGINT')
  await clock.sleep(STOP_WITHIN_MS, inTime.signal)
  // Like a crash, and recovered from like one at the next start.
  if (!hasEnded(child)) child.kill('SIGQUIT')
  await ended
}

const LOG_BYTES = 16 * 1024 * 1024

/** The log of earlier starts is kept once, when it has become long. */
async function openLog(file: string): Promise<FileHandle> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  )
  if (size > LOG_BYTES) await rename(file, `${file}.1`)
  return open(file, 'a', 0o600)
}

/** A user without privileges reaches its folders through ours, and sees nothing else in it. */
async function giveTo({ owner }: RunAs, dataDirectory: string, sockets: string): Promise<void> {
  if (owner === undefined) return
  await chown(dataDirectory, 0, owner.gid)
  await chmod(dataDirectory, 0o710)
  await chown(sockets, owner.uid, owner.gid)
}

/**
 * Who may connect: whoever can reach the socket, and that is the owner of its folder. Where Postgres runs as a
 * user that other programs may share, the kernel's word that it is us. Nothing else is listened on.
 */
async function writeAccessRules(cluster: string, { owner }: RunAs): Promise<void> {
  const rule = owner === undefined ? 'trust' : 'peer map=owner'
  await writeFile(join(cluster, 'pg_hba.conf'), `local all all ${rule}\n`)
  if (owner !== undefined) await writeFile(join(cluster, 'pg_ident.conf'), `owner root ${USER}\n`)
}

/** initdb into a folder beside, then renamed: an interrupted first start leaves nothing half made. */
async function initialise(cluster: string, runAs: RunAs, options: PostgresOptions): Promise<void> {
  const version = await readFile(join(cluster, 'PG_VERSION'), 'utf8').catch(() => undefined)
  if (version !== undefined) return
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
  await rename(making, cluster)
}

function serverArguments(cluster: string, sockets: string, options: PostgresOptions): string[] {
  const settings: Record<string, string> = {
    listen_addresses: '',
    unix_socket_directories: sockets,
    unix_socket_permissions: '0700',
    max_connections: '60',
    shared_buffers: '64MB',
    wal_level: 'replica',
    max_wal_size: '1GB',
    synchronous_commit: 'on',
    // Statements are written in the source and prepared once: planning them again costs more than running them.
    plan_cache_mode: 'force_generic_plan',
    jit: 'off',
    fsync: options.durable === false ? 'off' : 'on',
    // A statement that waits for ever would hold the writer.
    lock_timeout: '10s',
    log_min_messages: 'warning',
    log_checkpoints: 'off',
    // Values are sealed, but a policy text or a name is nobody's business in a log either; a refused row is
    // written out in what terse leaves away.
    log_error_verbosity: 'terse',
    log_min_error_statement: 'panic',
    log_parameter_max_length_on_error: '0',
  }
  return ['-D', cluster, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
}

const READY_WITHIN_MS = 120_000
const POLL_MS = 20

/** The eighth line of postmaster.pid says `ready`, once recovery is over. */
async function untilReady(cluster: string, child: ChildProcess, options: PostgresOptions): Promise<void> {
  const giveUpAt = options.clock.monotonic() + READY_WITHIN_MS
  while (options.clock.monotonic() < giveUpAt) {
    if (hasEnded(child)) {
      throw new DomainError(
        'unavailable',
        `Postgres ended while starting: see ${options.dataDirectory}/postgres.log`,
      )
    }
    const lines = (await readFile(join(cluster, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
    if (Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready') return
    await options.clock.sleep(POLL_MS)
  }
  throw new DomainError('unavailable', `Postgres was not ready within ${READY_WITHIN_MS} ms`)
}
