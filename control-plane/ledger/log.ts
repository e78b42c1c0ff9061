// The log of commits as Followers need it, and the outbox of audit lines (change-log.ts).
import { parseLine } from '#shared/audit/rfc5424.ts'
import { fromUtf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import type { Position } from '#shared/ledger/position.ts'
import { columnsOf, type Row, type TableName, tableNames, tables } from '#shared/ledger/tables.ts'
import type { ChangeLog, LedgerSnapshot, LoggedCommit, Outbox } from './change-log.ts'
import type { Database, Session } from './connection.ts'
import { createTrim, type RetentionBounds } from './retention.ts'
import type { Writer } from './writer.ts'

/** `trim` cuts what is over the bounds; the floor moves with it. */
export async function createChangeLog(
  database: Database,
  writer: Writer,
  bounds: RetentionBounds = { ageMs: limits.changeLogAgeMs, bytes: limits.changeLogBytes },
): Promise<ChangeLog & { trim(): Promise<void> }> {
  const trim = createTrim(database, writer, bounds)
  let floor = await readFloor(database, writer)
  return {
    head: () => writer.head(),
    floor: () => floor,
    read: (after, maxBytes) => certainly(readCommits(database, after, maxBytes), writer),
    async hashAt(position) {
      const { rows } = await database.query(
        'SELECT content_hash FROM change_log WHERE seq = $1 AND epoch = $2 AND part = 0',
        [position.seq, position.epoch],
      )
      return rows[0]?.content_hash as string | undefined
    },
    subscribe: (listener) => writer.onCommit(listener),
    snapshot: (body) => certainly(readSnapshot(database, body), writer),
    async trim() {
      await trim()
      floor = await readFloor(database, writer)
    },
  }
}

/** What was read is given away only when the next Leader has it too (I6). */
export async function certainly<T>(
  reading: T | Promise<T>,
  { certain }: Pick<Writer, 'certain'>,
): Promise<T> {
  const read = await reading
  const soon = certain()
  if (soon !== undefined) await soon
  return read
}

async function readFloor(session: Session, writer: Writer): Promise<Position> {
  const { rows } = await session.query('SELECT epoch, seq FROM change_log ORDER BY seq LIMIT 1')
  const first = rows[0]
  if (first === undefined) return writer.head().position
  return { epoch: Number(first.epoch), seq: Number(first.seq) - 1 }
}

/** As `ChangeLog.read`, on one session. */
export async function readCommits(
  session: Session,
  after: Position,
  maxBytes: number,
): Promise<LoggedCommit[]> {
  // Sizes first: a part may be large, and only as many are read as may be held.
  const { rows: sizes } = await session.query(
    'SELECT seq, SUM(octet_length(changes)) AS bytes FROM change_log WHERE seq > $1 GROUP BY seq ORDER BY seq LIMIT 512',
    [after.seq],
  )
  if (sizes.length === 0) return []
  let bytes = 0
  let last = Number(sizes[0]!.seq)
  for (const row of sizes) {
    bytes += Number(row.bytes)
    if (bytes > maxBytes && Number(row.seq) > Number(sizes[0]!.seq)) break
    last = Number(row.seq)
  }
  const { rows } = await session.query(
    'SELECT seq, epoch, at, content_hash, changes FROM change_log WHERE seq > $1 AND seq <= $2 ORDER BY seq, part',
    [after.seq, last],
  )
  return commitsOf(rows)
}

function commitsOf(rows: readonly Record<string, unknown>[]): LoggedCommit[] {
  const commits: (LoggedCommit & { parts: Uint8Array[]; bytes: number })[] = []
  for (const row of rows) {
    const part = row.changes as Uint8Array
    const last = commits.at(-1)
    if (last?.position.seq === Number(row.seq)) {
      last.parts.push(part)
      last.bytes += part.length
      continue
    }
    commits.push({
      position: { epoch: Number(row.epoch), seq: Number(row.seq) },
      at: Number(row.at),
      contentHash: row.content_hash as string,
      parts: [part],
      bytes: part.length,
    })
  }
  return commits
}

// The newest commit always stays in the log (retention.ts); a ledger without any is as new as it can be.
const STATE =
  'SELECT s.epoch, s.seq, s.content_hash, COALESCE(l.at, (extract(epoch FROM now()) * 1000)::bigint) AS at ' +
  'FROM ledger_state s LEFT JOIN change_log l ON l.seq = s.seq AND l.part = 0'

async function readSnapshot<T>(
  database: Database,
  body: (snapshot: LedgerSnapshot) => Promise<T>,
): Promise<T> {
  const session = await database.session()
  try {
    await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const { rows } = await session.query(STATE)
    const state = rows[0]!
    const result = await body({
      position: { epoch: Number(state.epoch), seq: Number(state.seq) },
      contentHash: state.content_hash as string,
      at: Number(state.at),
      pieces: pieces(session),
    })
    await session.query('COMMIT')
    session.release()
    return result
  } catch (error) {
    session.release(true)
    throw error
  }
}

const ROWS_FETCHED = 2_000

async function* pieces(session: Session): AsyncGenerator<{ table: TableName; rows: readonly Row[] }> {
  for (const table of tableNames) {
    const columns = columnsOf(table).join(', ')
    const order = tables[table].key.join(', ')
    await session.query(`DECLARE piece CURSOR FOR SELECT ${columns} FROM ${table} ORDER BY ${order}`)
    for (;;) {
      const { rows } = await session.query(`FETCH ${ROWS_FETCHED} FROM piece`)
      if (rows.length === 0) break
      yield* bySize(table, rows as Row[])
    }
    await session.query('CLOSE piece')
  }
}

/** Values may be large: pieces end at a size, not only at a number of rows. */
function* bySize(
  table: TableName,
  rows: readonly Row[],
): Generator<{ table: TableName; rows: readonly Row[] }> {
  let from = 0
  let bytes = 0
  for (let i = 0; i < rows.length; i++) {
    for (const value of Object.values(rows[i]!))
      bytes += typeof value === 'number' || value === null ? 8 : value.length
    if (bytes >= limits.snapshotChunkBytes) {
      yield { table, rows: rows.slice(from, i + 1) }
      from = i + 1
      bytes = 0
    }
  }
  if (from < rows.length) yield { table, rows: rows.slice(from) }
}

/** Groups counted up to here: beyond it, what matters is that there are many. */
const OUTBOX_COUNTED = 100_000

/** Lines of writes that are not in the audit database yet; `oldestAt`: wall time of the first event among them. */
export async function outboxWaiting(
  database: Database,
): Promise<{ readonly lines: number; readonly oldestAt: number | undefined }> {
  const { rows } = await database.query(
    `SELECT (SELECT COALESCE(SUM(records), 0) FROM (SELECT records FROM audit_outbox LIMIT ${OUTBOX_COUNTED}) AS counted) ` +
      'AS lines, (SELECT lines FROM audit_outbox ORDER BY id LIMIT 1) AS oldest',
  )
  const { lines, oldest } = rows[0]!
  const at = oldest === null ? undefined : parseLine(linesIn(oldest as Uint8Array)[0]!)?.timestamp
  return { lines: Number(lines), oldestAt: at === undefined ? undefined : Date.parse(at) }
}

const OUTBOX_GROUPS = 500

/** The next groups, bounded in number and, but for the first, in bytes; `bytes` are those up to the group itself. */
const PAGE =
  'SELECT id, lines, bytes FROM (SELECT id, lines, SUM(octet_length(lines)) OVER (ORDER BY id) AS bytes FROM ' +
  `(SELECT id, lines FROM audit_outbox WHERE id > $1 ORDER BY id LIMIT ${OUTBOX_GROUPS}) AS next) AS page ` +
  `WHERE bytes - octet_length(lines) < ${limits.outboxGroupBytes} ORDER BY id`

const linesIn = (bytes: Uint8Array): string[] => (fromUtf8(bytes) ?? '').split('\n')

export function createOutbox(database: Database, writer: Writer): Outbox {
  return {
    async read(afterId) {
      const { rows } = await database.query(PAGE, [afterId])
      const last = rows.at(-1)
      return {
        groups: rows.map((row) => ({ id: Number(row.id), lines: linesIn(row.lines as Uint8Array) })),
        more: rows.length === OUTBOX_GROUPS || Number(last?.bytes ?? 0) >= limits.outboxGroupBytes,
      }
    },
    async trim(upToId) {
      await database.query('DELETE FROM audit_outbox WHERE id <= $1', [upToId])
    },
    async continueAfter(id) {
      const { rows } = await database.query('SELECT last_value FROM audit_outbox_id_seq')
      if (id === 0 || Number(rows[0]!.last_value) >= id) return false
      await database.query("SELECT setval('audit_outbox_id_seq', $1)", [id])
      return true
    },
    subscribe: (listener) => writer.onRecords(listener),
  }
}
