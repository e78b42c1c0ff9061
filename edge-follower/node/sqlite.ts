// The Sqlite port on better-sqlite3.
import Database from 'better-sqlite3'
import { LRUCache } from 'lru-cache'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Cell, Row } from '#shared/ledger/tables.ts'
import type { Sqlite } from '../store/sqlite.ts'

/** Statements of all routes together are about a hundred; lists of columns never come from outside. */
const statementsPrepared = 500

const COPY_PAGE_BYTES = 16_384
const WRITER_CACHE_KIB = 4_096
const READER_CACHE_KIB = 2_048

/** `raw`: for what the port does not offer. */
export type NodeSqlite = Sqlite & { readonly raw: Database.Database }

/**
 * `writer`: WAL, every commit flushed before it returns. `owner`: a writer that nobody reads beside: it keeps its lock,
 * which saves a fifth of a small commit, and a second process cannot open the file. `reader`: cannot write, and may hold one read
 * transaction per turn of the event loop. `passer`: a reader that passes over everything once in a while, so
 * nothing is kept in memory for it.
 */
export function openSqlite(file: string, role: 'writer' | 'owner' | 'reader' | 'passer'): NodeSqlite {
  const writes = role === 'writer' || role === 'owner'
  // Nobody but a process that ends holds what an owner wants.
  const timeout = role === 'owner' ? 1_000 : 5_000
  const database = new Database(file, { readonly: !writes, timeout })
  if (writes) {
    if (role === 'owner') database.pragma('locking_mode = EXCLUSIVE')
    // Before the first table: later they have no effect (reclaim.ts). Large pages make the trees of a large copy
    // flatter: 100 000 secrets are read nearly as fast as 1 000. A queue's small commits want small pages.
    if (role === 'writer') database.pragma(`page_size = ${COPY_PAGE_BYTES}`)
    database.pragma('auto_vacuum = INCREMENTAL')
    database.pragma('journal_mode = WAL')
    // A log that grew with a snapshot does not stay that long.
    database.pragma(`journal_size_limit = ${limits.writeLogBytes}`)
    database.pragma('synchronous = FULL')
    database.pragma(`cache_size = -${WRITER_CACHE_KIB}`)
  } else if (role === 'reader') {
    // Pages are read where the kernel has them: no copy, no system call, and one copy for all threads.
    database.pragma(`mmap_size = ${limits.readerMapBytes}`)
    database.pragma(`cache_size = -${READER_CACHE_KIB}`)
  }
  const statements = new LRUCache<string, Database.Statement<unknown[]>>({ max: statementsPrepared })
  const prepare = (sql: string): Database.Statement<unknown[]> => {
    let statement = statements.get(sql)
    if (statement === undefined) {
      statement = database.prepare(fixedPlan(sql))
      statements.set(sql, statement)
    }
    return statement
  }
  const begin = database.prepare('BEGIN IMMEDIATE')
  const beginReading = database.prepare('BEGIN')
  const commit = database.prepare('COMMIT')
  const rollback = database.prepare('ROLLBACK')
  let reading = false
  let turn = 0
  const endTurn = (): void => {
    reading = false
    if (database.open && database.inTransaction) commit.run()
  }
  return {
    raw: database,
    all: (sql, params) => prepare(sql).all(bound(params)) as Row[],
    run: (sql, params) => {
      prepare(sql).run(bound(params))
    },
    transaction(body) {
      // Inside another one, what fails takes both back: nobody catches in between.
      if (database.inTransaction) return body()
      begin.run()
      try {
        const result = body()
        commit.run()
        return result
      } catch (error) {
        if (database.inTransaction) rollback.run()
        throw error
      }
    },
    readForThisTurn: () => {
      if (writes) throw new DomainError('unavailable', 'only a reader holds a transaction for a turn')
      if (reading) return turn
      beginReading.run()
      reading = true
      setImmediate(endTurn)
      return ++turn
    },
    // Commits are flushed when they return.
    settled: () => Promise.resolve(),
    close: () => {
      if (reading) endTurn()
      database.close()
    },
  }
}

/**
 * This build of SQLite collects STAT4 samples, so binding a parameter that might change the plan prepares the
 * statement again: `WHERE resource = ?1 ORDER BY version DESC LIMIT 1` took 9 µs, and 3 µs with a plus before
 * the parameter, which hides it from the planner and changes nothing else. Our plans do not depend on values.
 */
function fixedPlan(sql: string): string {
  return sql.replace(/\?(\d+)/g, '+?$1')
}

function bound(params: readonly Cell[]): Record<number, Cell> {
  const named: Record<number, Cell> = {}
  for (let i = 0; i < params.length; i++) named[i + 1] = params[i] as Cell
  return named
}
