// Reading at a Follower: every request sees one position, and what belongs to it is read in one transaction.
import { LRUCache } from 'lru-cache'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { closureCte, expandMacros, usesClosure } from '#shared/ledger/reads/closure.ts'
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
      const closure = request.caller === undefined ? nobody : closures.of(request.caller, turn.dataVersion)
      return {
        rows: request.statements.map((statement) => run(sqlite, statement, closure)),
        position: turn.position,
        ageMs: Math.max(0, clock.wall() - turn.newestAt),
        callerKnown: closure.roles > 0,
      }
    },
  }
}

/** `list`: the ids as JSON. */
type Closure = { readonly list: string; readonly roles: number }

const nobody: Closure = { list: '[]', roles: 0 }

/**
 * Up to here a closure is looked through for each row; above, SQLite makes a set of it, which costs more than
 * the two lookups of a secret read.
 */
const FEW_ROLES = 32

function run(sqlite: Sqlite, statement: Statement, closure: Closure): Row[] {
  const texts = textsOf(statement)
  const sql = closure.roles <= FEW_ROLES ? texts.few : texts.many
  return sqlite.all(sql, usesClosure(statement.sql) ? [...statement.params, closure.list] : statement.params)
}

type Texts = { readonly few: string; readonly many: string }

// Texts are written in the source, so there are only as many as there are queries.
const textsBySource = new Map<string, Texts>()

/** The statement in SQLite's words; its closure is the last parameter, as a JSON list. */
function textsOf(statement: Statement): Texts {
  let texts = textsBySource.get(statement.sql)
  if (texts === undefined) {
    const sql = expandMacros('sqlite', statement.sql)
    const list = `json_each(?${statement.params.length + 1})`
    // Only names with their table: json_each has columns of its own.
    const looked = sql.replace(
      /\b(\w+\.\w+) IN \(SELECT id FROM closure\)/g,
      `EXISTS (SELECT 1 FROM ${list} WHERE value = $1)`,
    )
    texts = { few: withClosure(looked, list), many: withClosure(sql, list) }
    textsBySource.set(statement.sql, texts)
  }
  return texts
}

function withClosure(sql: string, list: string): string {
  if (!usesClosure(sql)) return sql
  const relation = `closure(id) AS NOT MATERIALIZED (SELECT value FROM ${list})`
  if (/^\s*WITH\s+RECURSIVE\b/i.test(sql)) {
    return sql.replace(/^\s*WITH\s+RECURSIVE\b/i, `WITH RECURSIVE ${relation},`)
  }
  return /^\s*WITH\b/i.test(sql) ? sql.replace(/^\s*WITH\b/i, `WITH ${relation},`) : `WITH ${relation} ${sql}`
}

/** Closures by role, as JSON lists. True for one version of the data, so they can never be wrong (P5). */
function createClosures(sqlite: Sqlite): { of(role: string, dataVersion: number): Closure } {
  const remembered = new LRUCache<string, Closure>({
    max: limits.closuresRemembered,
    maxSize: limits.closureBytesRemembered,
    sizeCalculation: ({ list }) => list.length,
  })
  let version = -1
  const sql = `WITH RECURSIVE ${closureCte('sqlite', '?1')} SELECT id FROM closure`
  return {
    of(role, dataVersion) {
      if (dataVersion !== version) {
        remembered.clear()
        version = dataVersion
      }
      let closure = remembered.get(role)
      if (closure === undefined) {
        const ids = sqlite.all(sql, [role]).map((row) => row.id)
        closure = { list: JSON.stringify(ids), roles: ids.length }
        remembered.set(role, closure)
      }
      return closure
    },
  }
}
