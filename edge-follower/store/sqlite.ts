import type { Cell, Row } from '#shared/ledger/tables.ts'

/** All that a Follower asks of SQLite. Both engines are synchronous, and so is this. Parameters are `?1`, `?2`… */
export interface Sqlite {
  all(sql: string, params: readonly Cell[]): Row[]
  run(sql: string, params: readonly Cell[]): void
  /** All or nothing, in the order of calls. `body` must not return a promise. */
  transaction<T>(body: () => T): T
  /**
   * Opens one read transaction for this turn of the event loop, which ends by itself after it, and returns a
   * number that is another in the next turn. Rows read in one turn belong to one position, and the cost of
   * opening is paid once for all its requests. An engine that runs one event at a time (a Durable Object) needs
   * no transaction and returns a new number when something was written.
   */
  readForThisTurn(): number
  /** Resolves when everything written so far survives a crash. */
  settled(): Promise<void>
  close(): void
}
