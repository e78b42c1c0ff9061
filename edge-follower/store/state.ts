// The Follower's own row beside the replicated tables: which position it holds, and since when.
import { type Wall, wall } from '#shared/base/time.ts'
import type { Position } from '#shared/ledger/position.ts'
import { schemaSql } from '#shared/ledger/schema.ts'
import type { Sqlite } from './sqlite.ts'

export type ReplicaState = {
  readonly position: Position
  readonly contentHash: string
  /** Own wall time at which the newest commit arrived: ages count from it. */
  readonly appliedAt: Wall
  /** Grows with every commit that changed more than the heartbeat: what was computed from the data is still true while it stands. */
  readonly dataVersion: number
}

export function createTables(sqlite: Sqlite): void {
  const [found] = sqlite.all("SELECT name FROM sqlite_master WHERE name = 'replica_state'", [])
  if (found !== undefined) return
  sqlite.transaction(() => {
    for (const sql of schemaSql('sqlite')) sqlite.run(sql, [])
    sqlite.run(
      'CREATE TABLE replica_state (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, seq INTEGER NOT NULL, ' +
        'content_hash TEXT NOT NULL, applied_at INTEGER NOT NULL, data_version INTEGER NOT NULL)',
      [],
    )
  })
}

export function readState(sqlite: Sqlite): ReplicaState | undefined {
  const [row] = sqlite.all('SELECT epoch, seq, content_hash, applied_at, data_version FROM replica_state', [])
  if (row === undefined) return undefined
  return {
    position: { epoch: row.epoch as number, seq: row.seq as number },
    contentHash: row.content_hash as string,
    appliedAt: wall(row.applied_at as number),
    dataVersion: row.data_version as number,
  }
}

export function writeState(sqlite: Sqlite, state: ReplicaState): void {
  sqlite.run(
    'INSERT INTO replica_state VALUES (1, ?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, ' +
      'seq = excluded.seq, content_hash = excluded.content_hash, applied_at = excluded.applied_at, data_version = excluded.data_version',
    [state.position.epoch, state.position.seq, state.contentHash, state.appliedAt, state.dataVersion],
  )
}
