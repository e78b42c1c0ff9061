// The audit of a Follower: durable before the answer leaves (I9), kept until the Leader has it.
//
// All lines of one turn of the event loop are one row and one commit: a commit costs a flush of the disk, and
// sixty-four requests share it.
import { type ChainEnd, type ChainedLine, chainStart, extend } from '#shared/audit/chain.ts'
import { assert } from '#shared/base/assert.ts'
import { fromUtf8, toHex, utf8 } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import type { Row } from '#shared/ledger/tables.ts'
import { migrate } from './migrate.ts'
import type { Sqlite } from './sqlite.ts'

export type AuditBudget = { readonly records: number; readonly bytes: number }

export type AuditQueue = {
  /** Random, made with the file: a file that was lost does not continue the numbers of the old one. */
  readonly incarnation: string
  /** Resolves when the lines are durable. Rejects with `audit_unavailable`, and numbers nothing, when they cannot be. */
  append(lines: readonly string[]): Promise<void>
  pending(): { readonly records: number; readonly bytes: number; readonly oldestAt: number | undefined }
  /** Lines after a number, in order. */
  read(afterSeq: number, maxRecords: number): ChainedLine[]
  /** The newest number the Leader has; lines up to it are forgotten. */
  acknowledge(upToSeq: number): void
  acknowledged(): number
  /** Called when lines became durable. Returns how to stop. */
  onAppended(listener: () => void): () => void
}

export type AuditQueueDoors = {
  readonly sqlite: Sqlite
  readonly budget: AuditBudget
  readonly now: () => number
  readonly random: (length: number) => Uint8Array
  /** Calls back at the end of this turn of the event loop: the group that has come together by then is committed. */
  readonly endOfTurn: (callback: () => void) => void
  /** Table of its schema's versions, where the queue has no file of its own. */
  readonly versions?: string
}

type Waiting = { readonly line: string; readonly done: () => void; readonly failed: (error: unknown) => void }

/** Steps (migrate.ts). */
const schema = [
  [
    // `seq`, `hash`: where the chain goes on when no group is left. They are written with an acknowledgement, so
    // that a commit of lines writes one row of one table: half the statements, and a page less to flush.
    'CREATE TABLE audit_state (id INTEGER PRIMARY KEY CHECK (id = 1), incarnation TEXT NOT NULL, ' +
      'seq INTEGER NOT NULL, hash TEXT NOT NULL, acknowledged INTEGER NOT NULL)',
    // `prev_hash`: before the first line; `hash`: after the last. `lines`: UTF-8, one per line; a record never
    // holds a line break.
    'CREATE TABLE audit_groups (first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, ' +
      'at INTEGER NOT NULL, prev_hash TEXT NOT NULL, hash TEXT NOT NULL, lines BLOB NOT NULL)',
  ],
]

export function createAuditQueue(doors: AuditQueueDoors): AuditQueue {
  const { sqlite } = doors
  migrate(sqlite, 'the audit queue', schema, doors.versions)
  const { incarnation, acknowledged: acknowledgedBefore, end: stored } = openState(doors)
  let end = stored
  let acknowledged = acknowledgedBefore
  let bytes = sumOfBytes(sqlite)
  let waiting: Waiting[] = []
  const listeners = new Set<() => void>()

  const overBudget = (): boolean =>
    end.seq - acknowledged + waiting.length >= doors.budget.records || bytes >= doors.budget.bytes

  function commitGroup(): void {
    const group = waiting
    waiting = []
    let next = end
    for (const { line } of group) next = extend(next, line)
    const blob = utf8(group.map(({ line }) => line).join('\n'))
    try {
      sqlite.run('INSERT INTO audit_groups VALUES (?1, ?2, ?3, ?4, ?5, ?6)', [
        end.seq + 1,
        next.seq,
        doors.now(),
        end.hash,
        next.hash,
        blob,
      ])
    } catch (cause) {
      // Nothing was stored, so the numbers are free again: the next group takes them.
      const error = unavailable('the audit queue cannot be written', cause)
      for (const { failed } of group) failed(error)
      return
    }
    end = next
    bytes += blob.length
    for (const { done } of group) done()
    for (const listener of listeners) listener()
  }

  return {
    incarnation,
    append(lines) {
      if (lines.length === 0) return Promise.resolve()
      assert(!lines.some((line) => line.includes('\n')), 'an audit record is one line')
      if (overBudget()) return Promise.reject(unavailable('the audit queue has reached its budget'))
      return new Promise((resolve, reject) => {
        if (waiting.length === 0) doors.endOfTurn(commitGroup)
        // The lines of one request stand together in one group, so the last one's turn settles them all.
        lines.forEach((line, i) => {
          const last = i === lines.length - 1
          waiting.push({ line, done: last ? resolve : ignore, failed: last ? reject : ignore })
        })
      })
    },
    pending() {
      const [oldest] = sqlite.all('SELECT at FROM audit_groups ORDER BY first_seq LIMIT 1', [])
      return {
        records: end.seq - acknowledged,
        bytes,
        oldestAt: oldest?.at as number | undefined,
      }
    },
    read: (afterSeq, maxRecords) => readLines(sqlite, afterSeq, maxRecords),
    acknowledge(upToSeq) {
      if (upToSeq <= acknowledged) return
      if (upToSeq > end.seq)
        throw new DomainError('bad_request', `the Leader acknowledged ${upToSeq} of ${end.seq} records`)
      const known = 'FROM audit_groups WHERE first_seq <= ?1 AND last_seq <= ?1'
      const [gone] = sqlite.all(`SELECT COALESCE(SUM(LENGTH(lines)), 0) AS bytes ${known}`, [upToSeq])
      sqlite.transaction(() => {
        sqlite.run(`DELETE ${known}`, [upToSeq])
        sqlite.run('UPDATE audit_state SET acknowledged = ?1, seq = ?2, hash = ?3', [
          upToSeq,
          end.seq,
          end.hash,
        ])
      })
      acknowledged = upToSeq
      bytes -= gone?.bytes as number
    },
    acknowledged: () => acknowledged,
    onAppended(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}

const ignore = (): void => undefined

function openState(doors: AuditQueueDoors): { incarnation: string; acknowledged: number; end: ChainEnd } {
  const [row] = doors.sqlite.all('SELECT incarnation, seq, hash, acknowledged FROM audit_state', [])
  if (row !== undefined) {
    const [last] = doors.sqlite.all(
      'SELECT last_seq AS seq, hash FROM audit_groups ORDER BY first_seq DESC LIMIT 1',
      [],
    )
    const { seq, hash } = last ?? row
    return {
      incarnation: row.incarnation as string,
      acknowledged: row.acknowledged as number,
      end: { seq: seq as number, hash: hash as string },
    }
  }
  const incarnation = toHex(doors.random(16))
  doors.sqlite.run('INSERT INTO audit_state VALUES (1, ?1, ?2, ?3, 0)', [
    incarnation,
    chainStart.seq,
    chainStart.hash,
  ])
  return { incarnation, acknowledged: 0, end: chainStart }
}

function sumOfBytes(sqlite: Sqlite): number {
  const [row] = sqlite.all('SELECT COALESCE(SUM(LENGTH(lines)), 0) AS bytes FROM audit_groups', [])
  return row?.bytes as number
}

function readLines(sqlite: Sqlite, afterSeq: number, maxRecords: number): ChainedLine[] {
  const found: ChainedLine[] = []
  let from = afterSeq
  while (found.length < maxRecords) {
    const [group] = sqlite.all(
      'SELECT first_seq, last_seq, prev_hash, hash, lines FROM audit_groups WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1',
      [from + 1],
    )
    // Groups are contiguous: the last one that starts by then holds the next number, or there is none yet.
    if (group === undefined || (group.last_seq as number) <= from) break
    for (const line of linesOf(group)) {
      if (line.seq > from && found.length < maxRecords) found.push(line)
    }
    from = group.last_seq as number
  }
  return found
}

/** Throws when they are not what was chained: a damaged record is kept and shown, not forwarded as another. */
function linesOf(group: Row): ChainedLine[] {
  let at: ChainEnd = { seq: (group.first_seq as number) - 1, hash: group.prev_hash as string }
  const lines = (fromUtf8(group.lines as Uint8Array) ?? '').split('\n').map((line) => {
    const prevHash = at.hash
    at = extend(at, line)
    return { seq: at.seq, prevHash, line }
  })
  if (at.seq !== group.last_seq || at.hash !== group.hash) {
    throw new Error(`the audit queue is damaged in the group of record ${group.first_seq}`)
  }
  return lines
}

function unavailable(message: string, cause?: unknown): DomainError {
  return new DomainError('audit_unavailable', message, cause === undefined ? {} : { cause })
}
