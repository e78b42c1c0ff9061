// What a commit leaves beside its rows: the log of changes, the audit outbox and the new head.
import { utf8 } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import { type Change, encodeChanges } from '#shared/ledger/change.ts'
import { ContentHash } from '#shared/ledger/digest.ts'
import type { Position } from '#shared/ledger/position.ts'
import type { Moved } from './apply.ts'
import type { LoggedCommit } from './change-log.ts'
import { isRefusal, type Session } from './connection.ts'

/** Where the ledger stands: the newest commit and the content after it. */
export type Head = { readonly position: Position; readonly contentHash: string }

/** The commit that follows a head. `at`: wall time; `parts`: its changes, encoded; `moved`: what they did to the rows. */
export function nextCommit(
  head: Head,
  at: number,
  parts: readonly Uint8Array[],
  { added, removed }: Moved,
): LoggedCommit {
  const { epoch, seq } = head.position
  const contentHash = ContentHash.parse(head.contentHash).change(added, removed).toString()
  const bytes = parts.reduce((sum, part) => sum + part.length, 0)
  return { position: { epoch, seq: seq + 1 }, at, contentHash, parts, bytes }
}

/** All of one transaction, beside its rows. */
export type Written = {
  readonly commits: readonly LoggedCommit[]
  readonly groups: readonly RecordGroup[]
  /** Whether one of the commits changes who holds which roles. */
  readonly movesRoles: boolean
}

export const movesRoles = (changes: readonly Change[]): boolean =>
  changes.some(({ table }) => table === 'memberships' || table === 'roles')

/** Whether COMMIT was sent and its answer not heard. */
export type Stage = { committing: boolean }

/** The last two things of a write, on one way there and back. */
export async function storeAndCommit(session: Session, written: Written, stage: Stage): Promise<void> {
  stage.committing = true
  const [stored, committed] = await Promise.allSettled([
    storeWritten(session, written),
    session.query('COMMIT'),
  ])
  if (stored.status === 'rejected') {
    // A transaction with a refused statement cannot commit: COMMIT behind it rolled back.
    stage.committing = !isRefusal(stored.reason)
    throw stored.reason
  }
  if (committed.status === 'rejected') throw committed.reason
}

/** What the sender of a write is told. */
export function storingError(cause: unknown, committing: boolean): DomainError {
  if (committing)
    return new DomainError('unavailable', 'outcome unknown: the database was lost while it committed', {
      cause,
    })
  if (cause instanceof DomainError) return cause
  return new DomainError('unavailable', 'nothing was stored: the database refused the write', { cause })
}

/**
 * Durable with the rows, or not at all. What is large goes as statements of its own, ahead, because bytes alone are
 * sent as they are, and in a list as hexadecimal text.
 */
async function storeWritten(session: Session, { commits, groups, movesRoles }: Written): Promise<void> {
  const newest = commits.at(-1)
  const last = newest === undefined ? undefined : groups.at(-1)
  const sent = groups
    .filter((group) => group !== last)
    .map((group) => session.prepared('outbox', OUTBOX_TEXT, [group.records, group.lines]))
  if (newest !== undefined) {
    const rows = commits.flatMap((commit) => commit.parts.map((part, i) => rowOf(commit, part, i)))
    const isLarge = (row: LogRow): boolean => row.changes.length > LARGE_PART
    for (const row of rows.filter(isLarge))
      sent.push(session.prepared('log part', PART_TEXT, Object.values(row)))
    const small = rows.filter((row) => !isLarge(row))
    sent.push(
      session.prepared('store', STORE_TEXT, [
        last?.records ?? 0,
        last?.lines ?? null,
        small.map(({ seq }) => seq),
        small.map(({ part }) => part),
        small.map(({ epoch }) => epoch),
        small.map(({ parts }) => parts),
        small.map(({ at }) => at),
        small.map(({ content_hash }) => content_hash),
        small.map(({ changes }) => changes),
        newest.position.epoch,
        newest.position.seq,
        newest.contentHash,
        movesRoles,
      ]),
    )
  }
  await Promise.all(sent)
}

const LARGE_PART = 32 * 1024

/** Of the change log, in the order of its columns. */
type LogRow = {
  readonly seq: number
  readonly part: number
  readonly epoch: number
  readonly parts: number
  readonly at: number
  readonly content_hash: string
  readonly changes: Buffer
}

const rowOf = (
  { position, parts, at, contentHash }: LoggedCommit,
  changes: Uint8Array,
  part: number,
): LogRow => ({
  seq: position.seq,
  part,
  epoch: position.epoch,
  parts: parts.length,
  at,
  content_hash: contentHash,
  changes: bufferOf(changes),
})

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)

export type RecordGroup = { readonly records: number; readonly lines: Buffer }

/** Lines as they are stored: one below the other, since a record never holds a line break. */
export function recordGroups(lines: readonly string[]): RecordGroup[] {
  const groups: RecordGroup[] = []
  let from = 0
  let size = 0
  for (let i = 0; i < lines.length; i++) {
    size += lines[i]!.length + 1
    if (size < limits.outboxGroupBytes && i < lines.length - 1) continue
    groups.push({ records: i + 1 - from, lines: bufferOf(utf8(lines.slice(from, i + 1).join('\n'))) })
    from = i + 1
    size = 0
  }
  return groups
}

const OUTBOX_TEXT = 'INSERT INTO audit_outbox (records, lines) VALUES ($1, $2)'

const LOG_COLUMNS = 'INSERT INTO change_log (seq, part, epoch, parts, at, content_hash, changes)'
const PART_TEXT = `${LOG_COLUMNS} VALUES ($1, $2, $3, $4, $5, $6, $7)`

/** One round trip for all three. */
const STORE_TEXT =
  'WITH outbox AS (INSERT INTO audit_outbox (records, lines) SELECT $1::integer, $2::bytea WHERE $2::bytea IS NOT NULL), ' +
  `log AS (${LOG_COLUMNS} SELECT * FROM ` +
  'unnest($3::bigint[], $4::integer[], $5::bigint[], $6::integer[], $7::bigint[], $8::text[], $9::bytea[])) ' +
  'UPDATE ledger_state SET epoch = $10, seq = $11, content_hash = $12, ' +
  'roles_seq = CASE WHEN $13::boolean THEN $11 ELSE roles_seq END'

/** Parts of about `limits.partTargetBytes`, so that a Follower never has to hold a large commit as one message. */
export function encodeParts(changes: readonly Change[]): Uint8Array[] {
  const parts: Uint8Array[] = []
  let pending: Change[] = []
  let size = 0
  const flush = (): void => {
    parts.push(utf8(encodeChanges(pending)))
    pending = []
    size = 0
  }
  for (const change of changes) {
    pending.push(change)
    size += roughBytes(change)
    if (size >= limits.partTargetBytes) flush()
  }
  if (pending.length > 0) flush()
  return parts
}

function roughBytes(change: Change): number {
  let bytes = 16
  for (const value of Object.values(change.op === 'put' ? change.row : change.key)) {
    bytes += value === null ? 4 : typeof value === 'number' ? 12 : Math.ceil((value.length * 4) / 3) + 4
  }
  return bytes
}
