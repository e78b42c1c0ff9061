// The schema of the main database, step by step. A step that has run is never changed; a new one is added.
import { DomainError } from '#shared/base/errors.ts'
import { schemaSql } from '#shared/ledger/schema.ts'
import type { Database, Session } from './connection.ts'

export type Migration = { readonly version: number; readonly sql: readonly string[] }

export const ledgerMigrations: readonly Migration[] = [
  {
    version: 1,
    sql: [
      ...schemaSql('postgres', 1),
      // Who leads: raised only with a new leadership; every write compares it (cluster 7.5).
      'CREATE TABLE cluster_epoch (epoch bigint PRIMARY KEY, node text NOT NULL, started_at bigint NOT NULL)',
      'CREATE TABLE ledger_state (id smallint PRIMARY KEY CHECK (id = 1), epoch bigint NOT NULL, seq bigint NOT NULL, ' +
        'content_hash text NOT NULL)',
      `INSERT INTO ledger_state VALUES (1, 0, 0, '${'0'.repeat(64)}')`,
      // One row per part of a commit; `changes` is what Followers are sent.
      'CREATE TABLE change_log (seq bigint NOT NULL, part integer NOT NULL, epoch bigint NOT NULL, parts integer NOT NULL, ' +
        'at bigint NOT NULL, content_hash text NOT NULL, changes bytea NOT NULL, PRIMARY KEY (seq, part))',
      'CREATE TABLE audit_outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text NOT NULL)',
    ],
  },
  {
    version: 2,
    // Of the database, when the leadership began (cluster 7.5); unknown where the server does not say.
    sql: ['ALTER TABLE cluster_epoch ADD COLUMN timeline integer'],
  },
  {
    version: 3,
    // Lines in groups, as bytes: a policy of 100 000 records has as many lines, and a row for each took a second.
    sql: [
      'ALTER TABLE audit_outbox ADD COLUMN records integer NOT NULL DEFAULT 1, ADD COLUMN lines bytea',
      "UPDATE audit_outbox SET lines = convert_to(line, 'UTF8')",
      'ALTER TABLE audit_outbox ALTER COLUMN lines SET NOT NULL, DROP COLUMN line',
    ],
  },
  { version: 4, sql: schemaSql('postgres', 2) },
  {
    version: 5,
    // The newest commit that changed who holds which roles: what was computed of them is true from there on.
    sql: ['ALTER TABLE ledger_state ADD COLUMN roles_seq bigint NOT NULL DEFAULT 0'],
  },
  {
    version: 6,
    // Who belongs to the cluster (cluster 3, 4). Control nodes have these rows with the ledger; Followers are not sent them.
    sql: [
      'CREATE TABLE node_authorities (serial text PRIMARY KEY, cluster_id text NOT NULL, certificate text NOT NULL, ' +
        'sealed_key bytea NOT NULL, created_at bigint NOT NULL, revocations text NOT NULL)',
      'CREATE TABLE nodes (node text PRIMARY KEY, kind text NOT NULL, replication_set text NOT NULL, ' +
        'service_role text NOT NULL, hosts text NOT NULL, version text NOT NULL, labels text NOT NULL, enrolled_at bigint NOT NULL)',
      'CREATE TABLE node_certificates (serial text PRIMARY KEY, node text NOT NULL, role_class text NOT NULL, ' +
        'key_hash text NOT NULL, certificate text NOT NULL, not_before bigint NOT NULL, not_after bigint NOT NULL, ' +
        'replaced_by text, revoked_at bigint, revoked_because text)',
      // Of the secret only its hash.
      'CREATE TABLE node_seeds (id text PRIMARY KEY, secret_hash text NOT NULL, node text NOT NULL, kind text NOT NULL, ' +
        'replication_set text NOT NULL, service_role text NOT NULL, hosts text NOT NULL, made_by text NOT NULL, ' +
        'made_at bigint NOT NULL, expires_at bigint NOT NULL, redeemed_at bigint, serial text)',
    ],
  },
  {
    version: 7,
    // Followers at the edge, which have no certificate. Whom the Leader dials is shown the bearer, so that one is kept sealed.
    sql: [
      'CREATE TABLE edge_bearers (node text PRIMARY KEY, bearer_hash text NOT NULL, url text, sealed_bearer bytea, ' +
        'made_at bigint NOT NULL, revoked_at bigint, revoked_because text)',
    ],
  },
]

/** Number of the advisory lock under which one process at a time migrates. */
const MIGRATION_LOCK = 7_305_100

/** Brings a database to the newest step. Refuses one that a newer program has made. */
export async function migrate(database: Database, migrations: readonly Migration[]): Promise<void> {
  await database.transaction(async (session) => {
    await session.query(`SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`)
    await session.query('CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY)')
    const { rows } = await session.query('SELECT COALESCE(MAX(version), 0) AS version FROM schema_version')
    const held = Number(rows[0]!.version)
    const newest = migrations.at(-1)?.version ?? 0
    if (held > newest) {
      throw new DomainError(
        'settings_invalid',
        `the database has schema ${held} and this program knows ${newest}: start a newer holdfast`,
      )
    }
    for (const { version, sql } of migrations) {
      if (version <= held) continue
      for (const statement of sql) await session.query(statement)
      await session.query('INSERT INTO schema_version VALUES ($1)', [version])
    }
  })
}

/** Makes the databases of a server that are not there yet; their order is by byte everywhere (architecture P4). */
export async function createDatabases(server: Session, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const { rowCount } = await server.query('SELECT 1 FROM pg_database WHERE datname = $1', [name])
    if (rowCount === 0) await server.query(`CREATE DATABASE "${name.replaceAll('"', '""')}"`)
  }
}
