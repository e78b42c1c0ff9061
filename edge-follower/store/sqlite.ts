import type { Cell, Row } from '#shared/ledger/tables.ts'

/** All that a Follower asks of SQLite. Both engines are synchronous, and so is this. Parameters are `?1`, `?2`… */
export interface Sqlite {
  all(sql: string, params: readonly Cell[]): Row[]
  run(sql: string, params: readonly Cell[]): void
  /** All or nothing, in the order of calls. `body` must not return a promise. */
  transaction<T>(body: () => T): T
  /**
   * Opens one read transaction that lasts for the turn of the event loop, and ends it by itself after it; false
   * where the engine has none (a Durable Object runs one event at a time). Rows read in one turn belong to one
   * position, and the cost of opening is paid once for all requests of the turn.
   */
  readForThisTurn(): boolean
  /** Resolves when everything written so far survives a crash. */
  settled(): Promise<void>
  close(): void
}
