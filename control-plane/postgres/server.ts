// Our own Postgres: made on first start, run as a child, brought back when it dies.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DomainError } from '#shared/base/errors.ts'
import type { Clock } from '#shared/base/time.ts'
import { commandPrefix } from './run-as.ts'

export type PostgresOptions = {
  /** Holds the cluster in `postgres`, its log in `postgres.log`. */
  readonly dataDirectory: string
  readonly binaries: string
  readonly clock: Clock
  readonly log: (message: string) => void
  /** Off only in tests that kill nothing. */
  readonly durable?: boolean
}

export type PostgresServer = {
  /** Connection URL of one of its databases. */
  url(database: string): string
  pid(): number | undefined
  /** Resolves when it accepts connections. */
  start(): Promise<void>
  stop(): Promise<void>
}

const USER = 'holdfast'
/** Longest path of a UNIX socket, with room for its file name. */
const SOCKET_FOLDER_CHARS = 80
const BACKOFF_MS = [0, 100, 500, 1_000, 5_000]

export function createPostgres(options: PostgresOptions): PostgresServer {
  const cluster = join(options.dataDirectory, 'postgres')
  const prefix = commandPrefix()
  let sockets = join(options.dataDirectory, 'sockets')
  let child: ChildProcess | undefined
  let stopping = false

  async function launch(): Promise<void> {
    await endOrphan(cluster, options)
    const log = await open(join(options.dataDirectory, 'postgres.log'), 'a', 0o600)
    const command = [
      ...prefix,
      join(options.binaries, 'postgres'),
      ...serverArguments(cluster, sockets, options),
    ]
    const started = spawn(command[0]!, command.slice(1), { stdio: ['ignore', log.fd, log.fd] })
    child = started
    await log.close()
    const ended = once(started, 'exit')
    await untilReady(cluster, started, options)
    void ended.then(() => bringBack())
  }

  /** Postgres died under us: start it again, more slowly each time it fails. */
  async function bringBack(): Promise<void> {
    for (let attempt = 0; !stopping; attempt++) {
      options.log('Postgres ended unexpectedly; starting it again')
      await options.clock.sleep(BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)]!)
      if (stopping) return
      try {
        await launch()
        return
      } catch (error) {
        options.log(
          `Postgres could not be started: ${error instanceof Error ? error.message : String(error)}`,
        )
      }
    }
  }

  return {
    url: (database) => `postgresql://${USER}@localhost/${database}?host=${encodeURIComponent(sockets)}`,
    pid: () => child?.pid,
    async start() {
      await mkdir(options.dataDirectory, { recursive: true, mode: 0o700 })
      if (sockets.length > SOCKET_FOLDER_CHARS) sockets = mkdtempSync(join(tmpdir(), 'holdfast-'))
      await mkdir(sockets, { recursive: true, mode: 0o700 })
      await initialise(cluster, prefix, options)
      await launch()
    },
    async stop() {
      stopping = true
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      // Fast shutdown: ends connections, writes a checkpoint.
      child.kill('SIGINT')
      await ended
    },
  }
}

/** initdb into a folder beside, then renamed: an interrupted first start leaves nothing half made. */
async function initialise(
  cluster: string,
  prefix: readonly string[],
  options: PostgresOptions,
): Promise<void> {
  const version = await readFile(join(cluster, 'PG_VERSION'), 'utf8').catch(() => undefined)
  if (version !== undefined) return
  const making = `${cluster}.making`
  await rm(making, { recursive: true, force: true })
  await mkdir(making, { mode: 0o700 })
  const flags = ['-k', '--locale=C', '-E', 'UTF8', '-A', 'trust', '-U', USER]
  const sync = options.durable === false ? ['-N'] : []
  const command = [...prefix, join(options.binaries, 'initdb'), '-D', making, ...flags, ...sync]
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] })
  let errors = ''
  child.stderr?.on('data', (chunk) => {
    errors += String(chunk)
  })
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new DomainError('unavailable', `initdb failed: ${errors.trim()}`)
  // Only this folder's owner can reach the socket, and nothing else is listened on.
  await writeFile(join(making, 'pg_hba.conf'), 'local all all trust\n')
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
    fsync: options.durable === false ? 'off' : 'on',
    // A statement that waits for ever would hold the writer.
    lock_timeout: '10s',
    log_min_messages: 'warning',
    // Values are sealed, but a policy text or a name is nobody's business in a log either.
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
    if (child.exitCode !== null || child.signalCode !== null) {
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

/** A server of an earlier life, whose owner died without a word, holds the folder: end it first. */
async function endOrphan(cluster: string, options: PostgresOptions): Promise<void> {
  const pid = Number((await readFile(join(cluster, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')[0])
  if (!(pid > 0)) return
  for (let waited = 0; await isServerOf(pid, cluster); waited += POLL_MS) {
    if (waited === 0) options.log(`ending Postgres ${pid}, left by an earlier process`)
    process.kill(pid, waited < 10_000 ? 'SIGQUIT' : 'SIGKILL')
    await options.clock.sleep(POLL_MS)
  }
}

async function isServerOf(pid: number, cluster: string): Promise<boolean> {
  // A zombie has no command line any more, and another program's process names another folder.
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return command.split('\0').includes(cluster)
}
