// What our Postgres promises to its owner: the same data at every start, one owner, no life without it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { connect } from '#control-plane/ledger/connection.ts'
import { findBinaries } from '#control-plane/postgres/binaries.ts'
import { findRunAs, type RunAs } from '#control-plane/postgres/run-as.ts'
import { createPostgres, type PostgresServer } from '#control-plane/postgres/server.ts'
import { systemClock } from '#shared/node/clock.ts'

const cleanups: (() => Promise<unknown> | unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

function newFolder(parent = tmpdir()): string {
  const folder = mkdtempSync(join(parent, 'holdfast-pg-'))
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function server(
  dataDirectory: string,
  options: { runAs?: RunAs; binaries?: string; log?: (message: string) => void } = {},
): Promise<PostgresServer> {
  const postgres = createPostgres({
    dataDirectory,
    binaries: options.binaries ?? (await findBinaries(process.env.PGBIN)),
    clock: systemClock,
    log: options.log ?? (() => undefined),
    ...(options.runAs === undefined ? {} : { runAs: options.runAs }),
  })
  cleanups.push(() => postgres.stop())
  return postgres
}

async function ask(postgres: PostgresServer, ...statements: string[]): Promise<Record<string, unknown>[]> {
  const database = connect(postgres.url('postgres'), 1)
  try {
    let rows: Record<string, unknown>[] = []
    for (const statement of statements) rows = (await database.query(statement)).rows
    return rows
  } finally {
    await database.close()
  }
}

/** Asks until there is an answer; Postgres is on its way back by itself. */
async function askPatiently(postgres: PostgresServer, statement: string): Promise<Record<string, unknown>[]> {
  for (;;) {
    try {
      return await ask(postgres, statement)
    } catch {
      await systemClock.sleep(20)
    }
  }
}

const isAlive = (pid: number): boolean => {
  try {
    // A zombie has no command line.
    return readFileSync(`/proc/${pid}/cmdline`).length > 0
  } catch {
    return false
  }
}

const isReady = (cluster: string): boolean => {
  try {
    return readFileSync(join(cluster, 'postmaster.pid'), 'utf8').includes('ready')
  } catch {
    return false
  }
}

async function untilDead(pid: number): Promise<void> {
  while (isAlive(pid)) await systemClock.sleep(10)
}

async function owner(folder: string): Promise<{ process: ChildProcess; postgres: number }> {
  const program = fileURLToPath(new URL('../../../support/postgres-owner.ts', import.meta.url))
  const child = spawn(process.execPath, [program, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  cleanups.push(() => child.kill('SIGKILL'))
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  return { process: child, postgres: Number(line.toString()) }
}

test('a second start finds the same data, durable and behind checksums', async () => {
  const folder = newFolder()
  const first = await server(folder)
  await first.start()
  await ask(first, 'CREATE TABLE t (n integer)', 'INSERT INTO t VALUES (42)')
  await first.stop()
  const second = await server(folder)
  await second.start()
  expect(await ask(second, 'SELECT n FROM t')).toEqual([{ n: 42 }])
  const settings = `SELECT ${[
    'fsync',
    'synchronous_commit',
    'full_page_writes',
    'data_checksums',
    'listen_addresses',
    'server_encoding',
  ]
    .map((name) => `current_setting('${name}') AS ${name}`)
    .join(', ')}`
  expect(await ask(second, settings)).toEqual([
    {
      fsync: 'on',
      synchronous_commit: 'on',
      full_page_writes: 'on',
      data_checksums: 'on',
      listen_addresses: '',
      server_encoding: 'UTF8',
    },
  ])
  expect(statSync(join(folder, 'sockets')).mode & 0o077).toBe(0)
})

test('killed under its owner, it comes back with what was committed', async () => {
  const said: string[] = []
  const postgres = await server(newFolder(), { log: (message) => said.push(message) })
  await postgres.start()
  await ask(postgres, 'CREATE TABLE t (n integer)', 'INSERT INTO t VALUES (42)')
  const before = postgres.pid()!
  process.kill(before, 'SIGKILL')
  await untilDead(before)
  expect(await askPatiently(postgres, 'SELECT n FROM t')).toEqual([{ n: 42 }])
  expect(postgres.pid()).not.toBe(before)
  expect(said[0]).toBe('Postgres ended unexpectedly; starting it again')
})

test('a stop while it is coming back leaves nothing behind', async () => {
  const postgres = await server(newFolder())
  await postgres.start()
  const before = postgres.pid()!
  process.kill(before, 'SIGKILL')
  await untilDead(before)
  await postgres.stop()
  await expect(ask(postgres, 'SELECT 1')).rejects.toThrow()
  expect(isAlive(postgres.pid()!)).toBe(false)
})

test('it ends when its owner is killed, and the next owner finds the data', async () => {
  const folder = newFolder()
  const { process: first, postgres } = await owner(folder)
  first.kill('SIGKILL')
  await once(first, 'exit')
  await untilDead(postgres)
  const next = await server(folder)
  await next.start()
  expect(await ask(next, 'SELECT 1 AS n')).toEqual([{ n: 1 }])
})

test('an orphan is ended before the folder is used again', async () => {
  const folder = newFolder()
  const maker = await server(folder)
  await maker.start()
  await ask(maker, 'CREATE TABLE t (n integer)', 'INSERT INTO t VALUES (42)')
  await maker.stop()
  const { prefix } = await findRunAs()
  // Nobody's child in effect: no word of a parent's death, and not started by the server that will meet it.
  const untied = prefix.slice(0, prefix.indexOf('setpriv') === -1 ? prefix.length : prefix.indexOf('setpriv'))
  const line = [...untied, join(await findBinaries(process.env.PGBIN), 'postgres')]
  const cluster = join(folder, 'postgres')
  const orphan = spawn(line[0]!, [...line.slice(1), '-D', cluster, '-c', 'listen_addresses=', '-k', folder], {
    stdio: 'ignore',
  })
  cleanups.push(() => orphan.kill('SIGKILL'))
  while (!isReady(cluster)) await systemClock.sleep(10)
  const ended = once(orphan, 'exit')
  const next = await server(folder)
  await next.start()
  await ended
  expect(await ask(next, 'SELECT n FROM t')).toEqual([{ n: 42 }])
})

test('a folder has one owner: a second one is refused and the first goes on', async () => {
  const folder = newFolder()
  const first = await server(folder)
  await first.start()
  const pid = first.pid()!
  const second = await server(folder)
  await expect(second.start()).rejects.toMatchObject({ code: 'settings_invalid', target: 'data_dir' })
  expect(isAlive(pid)).toBe(true)
  expect(await ask(first, 'SELECT 1 AS n')).toEqual([{ n: 1 }])
})

test('a deep folder gets its socket where its path fits, and leaves nothing there', async () => {
  const postgres = await server(join(newFolder(), 'deep'.repeat(20), 'deeper'))
  await postgres.start()
  expect(await ask(postgres, 'SELECT 1 AS n')).toEqual([{ n: 1 }])
  const sockets = new URL(postgres.url('postgres')).searchParams.get('host')!
  await postgres.stop()
  expect(() => statSync(sockets)).toThrow('ENOENT')
})

test('a program that cannot be started is an error with the place of its log', async () => {
  const bin = newFolder()
  const real = await findBinaries(process.env.PGBIN)
  const runAs = await findRunAs()
  const folder = newFolder()
  const maker = await server(folder)
  await maker.start()
  await maker.stop()
  const postgres = await server(folder, { binaries: bin, runAs: { ...runAs, prefix: [] } })
  await expect(postgres.start()).rejects.toThrow(join(folder, 'postgres.log'))
  // The folder is free again.
  const next = await server(folder, { binaries: real })
  await next.start()
})

const isRoot = process.getuid?.() === 0
const systemBinaries = '/usr/lib/postgresql/15/bin'
const hasSystem = (() => {
  try {
    return statSync(join(systemBinaries, 'postgres')).isFile()
  } catch {
    return false
  }
})()

test.skipIf(!isRoot || !hasSystem)(
  'root without namespaces: another user owns the data, and only we connect',
  async () => {
    const folder = newFolder()
    const runAs = await findRunAs(false)
    expect(runAs.owner).toBeDefined()
    const postgres = await server(folder, { runAs, binaries: systemBinaries })
    await postgres.start()
    expect(statSync(join(folder, 'postgres')).uid).toBe(runAs.owner!.uid)
    expect(await ask(postgres, 'SELECT current_user AS name')).toEqual([{ name: 'holdfast' }])
    const line = `const c = new (require('pg').Client)({ connectionString: process.argv[1] });
    c.connect().then(() => process.exit(0), (e) => process.exit(e.code === '28000' ? 7 : 8))`
    const other = spawn(process.execPath, ['-e', line, postgres.url('postgres')], {
      uid: runAs.owner!.uid,
      gid: runAs.owner!.gid,
      stdio: 'ignore',
    })
    expect(await once(other, 'exit')).toEqual([7, null])
  },
)
