// The Follower's own row beside the replicated tables: which position it holds, and since when.
import { type Wall, wall } from '#shared/base/time.ts'
import type { Position } from '#shared/ledger/position.ts'
import { schemaSql } from '#shared/ledger/schema.ts'
import type { Sqlite } from './sqlite.ts'

export type ReplicaState = {
  readonly position: Position
  readonly contentHash: string
  /** Own wall time at which the newest commit was made: ages count from it. */
  readonly newestAt: Wall
  /** Grows with every commit that changed more than the heartbeat: what was computed from the data is still true while it stands. */
  readonly dataVersion: number
  /** Of the snapshot that the copy began with. */
  readonly snapshotId: string
}

/** Steps of the copy's schema (migrate.ts). */
export const replicaSchema: readonly (readonly string[])[] = [
  [
    ...schemaSql('sqlite', 1),
    'CREATE TABLE replica_state (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, seq INTEGER NOT NULL, ' +
      'content_hash TEXT NOT NULL, newest_at INTEGER NOT NULL, data_version INTEGER NOT NULL, snapshot_id TEXT NOT NULL)',
    // A snapshot that was begun (staging.ts).
    'CREATE TABLE staging (id INTEGER PRIMARY KEY CHECK (id = 1), header TEXT NOT NULL, next_chunk INTEGER NOT NULL, ' +
      'hash TEXT NOT NULL)',
  ],
  // A snapshot that was begun has no room for the new tables: it begins again.
  [...schemaSql('sqlite', 2), 'DELETE FROM staging'],
]

export function readState(sqlite: Sqlite): ReplicaState | undefined {
  const [row] = sqlite.all(
    'SELECT epoch, seq, content_hash, newest_at, data_version, snapshot_id FROM replica_state',
    [],
  )
  if (row === undefined) return undefined
  return {
    position: { epoch: row.epoch as number, seq: row.seq as number },
    contentHash: row.content_hash as string,
    newestAt: wall(row.newest_at as number),
    dataVersion: row.data_version as number,
    snapshotId: row.snapshot_id as string,
  }
}

export function writeState(sqlite: Sqlite, state: ReplicaState): void {
  sqlite.run(
    'INSERT INTO replica_state VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, ' +
      'seq = excluded.seq, content_hash = excluded.content_hash, newest_at = excluded.newest_at, data_version = excluded.data_version, ' +
      'snapshot_id = excluded.snapshot_id',
    [
      state.position.epoch,
      state.position.seq,
      state.contentHash,
      state.newestAt,
      state.dataVersion,
      state.snapshotId,
    ],
  )
}

/** A copy that is not to be relied on: there is none, until a snapshot is complete. */
export function forgetState(sqlite: Sqlite): void {
  sqlite.run('DELETE FROM replica_state', [])
}
