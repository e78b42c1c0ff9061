// Reading at a Follower: every request sees one position, and what belongs to it is read in one transaction.
import { LRUCache } from 'lru-cache'
import { utf8 } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { closureCte, expandMacros, usesClosure } from '#shared/ledger/reads/closure.ts'
import type { ReadRequest, ReadStore, Snapshot, Statement } from '#shared/ledger/store.ts'
import type { Cell, Row } from '#shared/ledger/tables.ts'
import type { Sqlite } from './sqlite.ts'
import { type ReplicaState, readState } from './state.ts'

/** `sqlite`: a connection that only reads. */
export function createSnapshotStore(sqlite: Sqlite, clock: Clock): ReadStore {
  const closureOfRole = createClosures(sqlite)
  const rowsOf = createReading(sqlite)
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
      const { position, dataVersion } = turn
      const closure = request.caller === undefined ? nobody : closureOfRole(request.caller, dataVersion)
      return {
        rows: request.statements.map((statement) => rowsOf(statement, closure, dataVersion)),
        position,
        ageMs: Math.max(0, clock.wall() - turn.newestAt),
        callerKnown: closure.roles > 0,
      }
    },
  }
}

/** `list`: the ids as JSON; `text`: each between two zero bytes, which no store lets into an id. */
type Closure = {
  readonly role: string
  readonly list: string
  readonly text: Uint8Array
  readonly roles: number
}

const closureOf = (role: string, ids: readonly unknown[]): Closure => ({
  role,
  list: JSON.stringify(ids),
  text: utf8(`${ids.map((id) => `\0${id}`).join('')}\0`),
  roles: ids.length,
})

const nobody = closureOf('', [])

/** Up to here a closure is looked through for each row; above, SQLite makes a set of it, which costs more at first. */
const FEW_ROLES = 64

type Reading = (statement: Statement, closure: Closure, dataVersion: number) => readonly Row[]

function createReading(sqlite: Sqlite): Reading {
  const keptOf = ofOneVersion(
    new LRUCache<string, readonly Row[]>({
      max: limits.rowsKept,
      maxSize: limits.rowBytesKept,
      sizeCalculation: bytesOf,
    }),
  )
  return (statement, closure, dataVersion) => {
    const { number, few, many } = textsOf(statement)
    const { sql, takes } = closure.roles <= FEW_ROLES ? few : many
    const read = (): readonly Row[] =>
      sqlite.all(
        sql,
        takes.length === 0 ? statement.params : [...statement.params, ...takes.map((form) => closure[form])],
      )
    if (!statement.kept) return read()
    const kept = keptOf(dataVersion)
    const asked = JSON.stringify([number, takes.length === 0 ? '' : closure.role, statement.params])
    let rows = kept.get(asked)
    if (rows === undefined) {
      rows = read()
      kept.set(asked, rows)
    }
    return rows
  }
}

const bytesOf = (rows: readonly Row[]): number =>
  rows.reduce((sum, row) => Object.values(row).reduce<number>((all, cell) => all + sizeOf(cell), sum), 1)

const sizeOf = (cell: Cell): number =>
  typeof cell === 'string' || cell instanceof Uint8Array ? cell.length : 8

/** What was made of one version of the data is true for as long as that stands, so it can never be wrong (P5). */
function ofOneVersion<Memory extends { clear(): void }>(memory: Memory): (dataVersion: number) => Memory {
  let version = -1
  return (dataVersion) => {
    if (dataVersion !== version) memory.clear()
    version = dataVersion
    return memory
  }
}

/** `takes`: forms of the closure that are its last parameters. */
type Text = { readonly sql: string; readonly takes: readonly ('list' | 'text')[] }
type Texts = { readonly number: number; readonly few: Text; readonly many: Text }

// Texts are written in the source, so there are only as many as there are queries.
const textsBySource = new Map<string, Texts>()

/** The statement in SQLite's words. */
function textsOf(statement: Statement): Texts {
  let texts = textsBySource.get(statement.sql)
  if (texts === undefined) {
    const sql = expandMacros('sqlite', statement.sql)
    const next = statement.params.length + 1
    // In JSON an id would have to be parsed out for each row, which costs more than the rest of a secret read.
    const looked = sql.replace(
      /\b(\w+\.\w+) IN \(SELECT id FROM closure\)/g,
      `instr(?${next}, CAST(char(0) || $1 || char(0) AS BLOB)) > 0`,
    )
    texts = {
      number: textsBySource.size,
      few: looked === sql ? withList(sql, next, []) : withList(looked, next + 1, ['text']),
      many: withList(sql, next, []),
    }
    textsBySource.set(statement.sql, texts)
  }
  return texts
}

/** With the relation `closure`, where it is used, from a JSON list in this parameter. */
function withList(sql: string, parameter: number, takes: Text['takes']): Text {
  if (!usesClosure(sql)) return { sql, takes }
  return { sql: withClosure(sql, `json_each(?${parameter})`), takes: [...takes, 'list'] }
}

function withClosure(sql: string, list: string): string {
  const relation = `closure(id) AS NOT MATERIALIZED (SELECT value FROM ${list})`
  if (/^\s*WITH\s+RECURSIVE\b/i.test(sql)) {
    return sql.replace(/^\s*WITH\s+RECURSIVE\b/i, `WITH RECURSIVE ${relation},`)
  }
  return /^\s*WITH\b/i.test(sql) ? sql.replace(/^\s*WITH\b/i, `WITH ${relation},`) : `WITH ${relation} ${sql}`
}

/** By role. */
function createClosures(sqlite: Sqlite): (role: string, dataVersion: number) => Closure {
  const sql = `WITH RECURSIVE ${closureCte('sqlite', '?1')} SELECT id FROM closure`
  const closuresOf = ofOneVersion(
    new LRUCache<string, Closure>({
      max: limits.closuresRemembered,
      maxSize: limits.closureBytesRemembered,
      sizeCalculation: ({ list, text }) => list.length + text.length,
      memoMethod(role) {
        const rows = sqlite.all(sql, [role])
        return closureOf(
          role,
          rows.map(({ id }) => id),
        )
      },
    }),
  )
  return (role, dataVersion) => closuresOf(dataVersion).memo(role)
}
