// The log of commits, written in the data's own transaction (P1), as the publisher reads it.
import type { Position } from '#shared/ledger/position.ts'
import type { Row, TableName } from '#shared/ledger/tables.ts'

/** A commit as it is stored and sent: changes encoded once, in parts of bounded size. */
export type LoggedCommit = {
  readonly position: Position
  /** Wall time of the Leader, milliseconds. */
  readonly at: number
  readonly contentHash: string
  /** Each part is `encodeChanges` of some of the changes, UTF-8; together they are all of them, in order. */
  readonly parts: readonly Uint8Array[]
  /** Sum of the parts' lengths. */
  readonly bytes: number
}

export type LedgerSnapshot = {
  readonly position: Position
  readonly contentHash: string
  /** When the newest commit in it was made, wall time of the Leader. */
  readonly at: number
  /** Rows of one table at a time, in key order, in pieces of about `limits.snapshotChunkBytes`. */
  readonly pieces: AsyncIterable<{ readonly table: TableName; readonly rows: readonly Row[] }>
}

export interface ChangeLog {
  /** The newest durable commit. */
  head(): { readonly position: Position; readonly contentHash: string }
  /** Commits up to and including this position are gone; resuming from it is possible, from before it is not. */
  floor(): Position
  /** Commits after `after` in order, at least one if there is one, up to about `maxBytes`. */
  read(after: Position, maxBytes: number): Promise<LoggedCommit[]>
  /** The content hash that was current at a logged position; undefined when it is not in the log. */
  hashAt(position: Position): Promise<string | undefined>
  /** Called for every commit after it is durable, in order. Returns how to stop. */
  subscribe(listener: (commit: LoggedCommit) => void): () => void
  /** Reads everything at one position, in one transaction that ends with `body`. */
  snapshot<T>(body: (snapshot: LedgerSnapshot) => Promise<T>): Promise<T>
}

/** Lines of one commit, in order, bounded in bytes: a large commit has several groups. */
export type OutboxGroup = { readonly id: number; readonly lines: readonly string[] }

/** `more`: a bound was reached, so there may be others behind. */
export type OutboxPage = { readonly groups: readonly OutboxGroup[]; readonly more: boolean }

/** Audit lines of writes, stored with the commit; drained into the audit database in order (I10). */
export interface Outbox {
  /** Ids grow in commit order and are never reused. */
  read(afterId: number): Promise<OutboxPage>
  /** Forgets groups up to and including this id: they are durable elsewhere. */
  trim(upToId: number): Promise<void>
  /**
   * Gives groups from now on ids above this one. True when it had to: the ledger is older than what was drained from
   * it, as after a restore, and lines under ids that were given before would be taken for stored.
   */
  continueAfter(id: number): Promise<boolean>
  /** Called when new lines are durable. Returns how to stop. */
  subscribe(listener: () => void): () => void
}
