// Reading at a Follower: every request sees one position, and what belongs to it is read in one transaction.
import { LRUCache } from 'lru-cache'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { closureCte, expandLists, usesClosure } from '#shared/ledger/reads/closure.ts'
import type { ReadRequest, ReadStore, Snapshot, Statement } from '#shared/ledger/store.ts'
import type { Row } from '#shared/ledger/tables.ts'
import type { Sqlite } from './sqlite.ts'
import { type ReplicaState, readState } from './state.ts'

/** `sqlite`: a connection that only reads. */
export function createSnapshotStore(sqlite: Sqlite, clock: Clock): ReadStore {
  const closures = createClosures(sqlite)
  let turn: ReplicaState | undefined
  let turnStamp = 0
  return {
    read(request: ReadRequest): Snapshot {
      const stamp = sqlite.readForThisTurn()
      if (stamp !== turnStamp || turn === undefined) {
        turn = readState(sqlite)
        turnStamp = stamp
      }
      if (turn === undefined) {
        throw new DomainError('unavailable', 'this Follower has not taken a snapshot from its Leader yet')
      }
      const closure = request.caller === undefined ? '[]' : closures.of(request.caller, turn.dataVersion)
      return {
        rows: request.statements.map((statement) => run(sqlite, statement, closure)),
        position: turn.position,
        ageMs: Math.max(0, clock.wall() - turn.appliedAt),
        callerKnown: closure !== '[]',
      }
    },
  }
}

function run(sqlite: Sqlite, statement: Statement, closure: string): Row[] {
  const sql = expanded(statement)
  return sqlite.all(sql, usesClosure(statement.sql) ? [...statement.params, closure] : statement.params)
}

// Texts are written in the source, so there are only as many as there are queries.
const texts = new Map<string, string>()

/** The statement in SQLite's words; its closure is the last parameter, as a JSON list. */
function expanded(statement: Statement): string {
  let sql = texts.get(statement.sql)
  if (sql === undefined) {
    sql = expandLists('sqlite', statement.sql)
    if (usesClosure(sql)) {
      const relation = `closure(id) AS NOT MATERIALIZED (SELECT value FROM json_each(?${statement.params.length + 1}))`
      sql = /^\s*WITH\s+RECURSIVE\b/i.test(sql)
        ? sql.replace(/^\s*WITH\s+RECURSIVE\b/i, `WITH RECURSIVE ${relation},`)
        : /^\s*WITH\b/i.test(sql)
          ? sql.replace(/^\s*WITH\b/i, `WITH ${relation},`)
          : `WITH ${relation} ${sql}`
    }
    texts.set(statement.sql, sql)
  }
  return sql
}

/** Closures by role, as JSON lists. True for one version of the data, so they can never be wrong (P5). */
function createClosures(sqlite: Sqlite): { of(role: string, dataVersion: number): string } {
  const remembered = new LRUCache<string, string>({
    max: limits.closuresRemembered,
    maxSize: limits.closureBytesRemembered,
    sizeCalculation: (list) => list.length,
  })
  let version = -1
  const sql = `WITH RECURSIVE ${closureCte('?1')} SELECT id FROM closure`
  return {
    of(role, dataVersion) {
      if (dataVersion !== version) {
        remembered.clear()
        version = dataVersion
      }
      let list = remembered.get(role)
      if (list === undefined) {
        list = JSON.stringify(sqlite.all(sql, [role]).map((row) => row.id))
        remembered.set(role, list)
      }
      return list
    },
  }
}
