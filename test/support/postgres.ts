// A real Postgres for tests: one server per test file, one database per test.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { connect, type Database } from '#control-plane/ledger/connection.ts'
import { createDatabases, ledgerMigrations, migrate } from '#control-plane/ledger/migrate.ts'
import { findBinaries } from '#control-plane/postgres/binaries.ts'
import { createPostgres, type PostgresServer } from '#control-plane/postgres/server.ts'
import { systemClock } from '#shared/node/clock.ts'

let server: Promise<PostgresServer> | undefined
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

/** An empty database of its own. */
export async function emptyDatabase(): Promise<Database> {
  const postgres = await testServer()
  const name = `test_${++databases}`
  const admin = connect(postgres.url('postgres'), 1)
  await createDatabases(admin, [name])
  await admin.close()
  return connect(postgres.url(name))
}

/** A database with the ledger's schema. */
export async function ledgerDatabase(): Promise<Database> {
  const database = await emptyDatabase()
  await migrate(database, ledgerMigrations)
  return database
}
