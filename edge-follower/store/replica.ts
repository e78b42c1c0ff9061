// What the link asks of the local copy. One Leader transaction is one transaction here, the position inside.
import type { Wall } from '#shared/base/time.ts'
import type { Commit } from '#shared/ledger/change.ts'
import type { Position } from '#shared/ledger/position.ts'
import type { Row, TableName } from '#shared/ledger/tables.ts'
import type { SnapshotHeader } from '#shared/replication/messages.ts'

export type Held = {
  readonly position: Position
  readonly contentHash: string
}

export interface ReplicaStore {
  /** Undefined while no snapshot has ever been taken. */
  held(): Held | undefined
  /**
   * Applies a commit whose position is the next one. Checks I7 and I8, and that the hash afterwards is the
   * commit's own: throws `HashMismatch` (replica.ts) and changes nothing when it is not. `newestAt`: own wall time at
   * which the commit was made.
   */
  apply(commit: Commit, newestAt: Wall): void
  /** A snapshot that was begun and not finished, to resume from. */
  staged(): { readonly id: string; readonly nextChunk: number } | undefined
  stageBegin(header: SnapshotHeader): void
  /** Chunks come in order; rows of one chunk may be of one table only. */
  stageChunk(chunk: number, table: TableName, rows: readonly Row[]): void
  /** Checks the hash of all rows, then switches in one transaction; throws `HashMismatch` and drops the stage. */
  stageFinish(newestAt: Wall): Held
  stageDrop(): void
}

export class HashMismatch extends Error {
  constructor(position: string) {
    super(`content hash differs from the Leader's at ${position}`)
    this.name = 'HashMismatch'
  }
}
