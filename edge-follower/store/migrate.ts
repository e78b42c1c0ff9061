// The schema of a Follower's files, step by step, as at the Leader (control-plane/ledger/migrate.ts). Of a copy the
// last resort is to drop everything and take a snapshot; of an audit queue nothing may ever be dropped.
import { DomainError } from '#shared/base/errors.ts'
import type { Sqlite } from './sqlite.ts'

/**
 * `what`: the file, for a person. Step n makes schema n + 1. Refuses a file that a newer program has made. `versions`: table
 * of the schema's versions, for two that share a file.
 */
export function migrate(
  sqlite: Sqlite,
  what: string,
  steps: readonly (readonly string[])[],
  versions = 'schema_version',
): void {
  sqlite.transaction(() => {
    sqlite.run(`CREATE TABLE IF NOT EXISTS ${versions} (version INTEGER PRIMARY KEY)`, [])
    const [row] = sqlite.all(`SELECT MAX(version) AS version FROM ${versions}`, [])
    const held = (row?.version as number | null | undefined) ?? 0
    if (held > steps.length) {
      throw new DomainError(
        'settings_invalid',
        `${what} has schema ${held} and this program knows ${steps.length}: start a newer holdfast`,
      )
    }
    for (let version = held + 1; version <= steps.length; version++) {
      for (const sql of steps[version - 1]!) sqlite.run(sql, [])
      sqlite.run(`INSERT INTO ${versions} VALUES (?1)`, [version])
    }
  })
}
