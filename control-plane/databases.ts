// The two databases of a server that leads: the data, and the audit, apart so that it can be kept and moved by itself.
import { auditMigrations } from './audit/store.ts'
import { connect } from './ledger/connection.ts'
import { createDatabases, ledgerMigrations, type Migration, migrate } from './ledger/migrate.ts'

const databases: Readonly<Record<string, readonly Migration[]>> = {
  main: ledgerMigrations,
  audit: auditMigrations,
}

/** Makes those that are not there yet, and brings them to this program's schema. Repeated it changes nothing. */
export async function prepareDatabases(url: (database: string) => string): Promise<void> {
  const server = connect(url('postgres'), 1)
  try {
    await createDatabases(server, Object.keys(databases))
  } finally {
    await server.close()
  }
  await migrateAll(url)
}

async function migrateAll(url: (database: string) => string): Promise<void> {
  await Promise.all(
    Object.entries(databases).map(async ([name, migrations]) => {
      const database = connect(url(name), 1)
      try {
        await migrate(database, migrations)
      } finally {
        await database.close()
      }
    }),
  )
}

/** A managed server may have databases of others. */
const PREFIX = 'holdfast_'

/** Connection URLs of our databases on the managed server that `given` leads to, with whatever else `given` says. */
export function managedUrls(given: string): (database: string) => string {
  const url = new URL(given)
  return (database) => {
    url.pathname = `/${PREFIX}${database}`
    return url.href
  }
}

/** Number of the advisory lock under which one node at a time makes databases. */
const MAKING_LOCK = 7_305_102

/** What our own server has for all its databases (postgres/settings.ts); roles of a managed one may set these. */
const MANAGED_SETTINGS = [
  'synchronous_commit = on',
  'plan_cache_mode = force_generic_plan',
  'jit = off',
  "lock_timeout = '10s'",
]

/** The same on a managed server. `given`: of a database that is there; nothing is stored in it. */
export async function prepareManaged(given: string): Promise<void> {
  const server = connect(given, 1)
  try {
    const session = await server.session()
    try {
      await session.query(`SELECT pg_advisory_lock(${MAKING_LOCK})`)
      const names = Object.keys(databases).map((name) => PREFIX + name)
      await createDatabases(session, names)
      for (const name of names) {
        for (const setting of MANAGED_SETTINGS) await session.query(`ALTER DATABASE ${name} SET ${setting}`)
      }
    } finally {
      // With the connection its lock is gone.
      session.release(true)
    }
  } finally {
    await server.close()
  }
  await migrateAll(managedUrls(given))
}
