// A real Postgres for tests: one server per test file, one database per test. In the project `neon` it is reached over
// WebSockets, so that the same case files run by the other driver.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { connect, type Database } from '#control-plane/ledger/connection.ts'
import { createDatabases, ledgerMigrations, migrate } from '#control-plane/ledger/migrate.ts'
import { findBinaries } from '#control-plane/postgres/binaries.ts'
import { createPostgres, type PostgresServer } from '#control-plane/postgres/server.ts'
import { systemClock } from '#shared/node/clock.ts'
import { type OverWebSockets, overWebSockets } from './websockets.ts'

let server: Promise<PostgresServer> | undefined
let websockets: Promise<OverWebSockets> | undefined
let stopServer = async (): Promise<void> => undefined
let databases = 0

async function startServer(): Promise<PostgresServer> {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'holdfast-pg-'))
  const postgres = createPostgres({
    dataDirectory,
    binaries: await findBinaries(process.env.PGBIN),
    clock: systemClock,
    log: () => undefined,
    durable: false,
  })
  // Should this process be killed, Postgres dies with it; only the folder stays.
  stopServer = async () => {
    await (await websockets)?.close()
    await postgres.stop()
    rmSync(dataDirectory, { recursive: true, force: true })
  }
  await postgres.start()
  return postgres
}

afterAll(() => stopServer())

/** Started with the first call, stopped after the last test of the file. */
export async function testServer(): Promise<PostgresServer> {
  server ??= startServer()
  return server
}

/** Connection URL of one of its databases, by the driver that is tested. */
export async function testUrl(database: string): Promise<string> {
  const postgres = await testServer()
  if (process.env.HOLDFAST_TEST_DRIVER !== 'neon') return postgres.url(database)
  websockets ??= overWebSockets(postgres, 'SUPERUSER')
  return (await websockets).url(database)
}

/** An empty database of its own. */
export async function emptyDatabase(): Promise<Database> {
  const name = `test_${++databases}`
  const admin = connect(await testUrl('postgres'), 1)
  await createDatabases(admin, [name])
  await admin.close()
  return connect(await testUrl(name))
}

/** A database with the ledger's schema. */
export async function ledgerDatabase(): Promise<Database> {
  const database = await emptyDatabase()
  await migrate(database, ledgerMigrations)
  return database
}
