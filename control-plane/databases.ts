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
