// Streams of records in the audit database: one per node and incarnation, numbered and chained (I10).
import { type ChainEnd, type ChainedLine, chainStart, extend } from '#shared/audit/chain.ts'
import { type ParsedLine, parseLine } from '#shared/audit/rfc5424.ts'
import { DomainError } from '#shared/base/errors.ts'
import type { Database, Session } from '../ledger/connection.ts'
import { storable } from './storable.ts'

export type StreamName = { readonly node: string; readonly incarnation: string }

/**
 * Advisory lock that stands between those who insert and `settledId`. Ids are drawn before a commit, so a lower
 * one may become visible after a higher one; a reader that goes on from the highest it saw would lose it.
 */
const INSERT_LOCK = 7_305_101

/** How long `settledId` waits for inserts under way: it holds up new ones meanwhile. */
const SETTLE_WITHIN_MS = 500

/** The id up to which all records are committed or never will be; 0 when there is none. */
export function settledId(database: Database): Promise<number> {
  return database.transaction(async (session) => {
    await session.query(`SET LOCAL lock_timeout = ${SETTLE_WITHIN_MS}`)
    await session.query(`SELECT pg_advisory_xact_lock(${INSERT_LOCK})`)
    // A statement of its own: its snapshot is taken after the lock was granted.
    const { rows } = await session.query('SELECT COALESCE(MAX(id), 0) AS id FROM messages')
    return Number(rows[0]!.id)
  })
}

/** The end of a stream, locked until the transaction ends: two connections of one node take turns. */
export async function streamEnd(session: Session, { node, incarnation }: StreamName): Promise<ChainEnd> {
  const { rows } = await session.query(
    'SELECT last_seq, last_hash FROM audit_streams WHERE node = $1 AND incarnation = $2 FOR UPDATE',
    [node, incarnation],
  )
  const row = rows[0]
  return row === undefined ? chainStart : { seq: Number(row.last_seq), hash: row.last_hash as string }
}

/** Numbers lines as the next ones of a stream. */
export async function appendLines(
  session: Session,
  stream: StreamName,
  lines: readonly string[],
): Promise<void> {
  let end = await streamEnd(session, stream)
  const chained = lines.map((line) => {
    const prevHash = end.hash
    end = extend(end, line)
    return { seq: end.seq, prevHash, line }
  })
  await insertLines(session, stream, chained, end)
}

/** The first record that is stored under its number with another hash; what retention has removed is believed. */
export async function forkedAt(
  session: Session,
  { node, incarnation }: StreamName,
  known: readonly ChainedLine[],
): Promise<number | undefined> {
  if (known.length === 0) return undefined
  const { rows } = await session.query(
    'SELECT seq, hash FROM messages WHERE node = $1 AND incarnation = $2 AND seq = ANY($3::bigint[])',
    [node, incarnation, known.map(({ seq }) => seq)],
  )
  const hashes = new Map(rows.map((row) => [Number(row.seq), row.hash]))
  return known.find((item) => (hashes.get(item.seq) ?? hashOf(item)) !== hashOf(item))?.seq
}

const hashOf = ({ seq, prevHash, line }: ChainedLine): string =>
  extend({ seq: seq - 1, hash: prevHash }, line).hash

const INSERT =
  'INSERT INTO messages (node, incarnation, facility, severity, "timestamp", hostname, appname, procid, msgid, sdata, ' +
  'message, seq, prev_hash, hash, line) SELECT $1, $2, * FROM unnest($3::integer[], $4::integer[], $5::timestamptz[], ' +
  '$6::text[], $7::text[], $8::text[], $9::text[], $10::jsonb[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::text[])'

/** `lines` follow the end of the stream as the caller has read it, and `end` is the end with them. */
export async function insertLines(
  session: Session,
  stream: StreamName,
  lines: readonly ChainedLine[],
  end: ChainEnd,
): Promise<void> {
  // An end that did not move is not written: who moved it meanwhile would be undone.
  if (lines.length === 0) return
  const rows = lines.map((item) => ({ ...item, ...parsed(stream, item), hash: hashOf(item) }))
  await session.query(`SELECT pg_advisory_xact_lock_shared(${INSERT_LOCK})`)
  await session.prepared('audit insert', INSERT, [
    stream.node,
    stream.incarnation,
    rows.map((row) => row.facility),
    rows.map((row) => row.severity),
    rows.map((row) => row.timestamp),
    rows.map((row) => row.hostname),
    rows.map((row) => row.appname),
    rows.map((row) => row.procid),
    rows.map((row) => row.msgid),
    rows.map((row) => JSON.stringify(row.sdata, (_, value) => clean(value))),
    rows.map((row) => row.message),
    rows.map((row) => row.seq),
    rows.map((row) => row.prevHash),
    rows.map((row) => row.hash),
    rows.map((row) => row.line),
  ])
  await session.query(
    'INSERT INTO audit_streams VALUES ($1, $2, $3, $4) ON CONFLICT (node, incarnation) ' +
      'DO UPDATE SET last_seq = excluded.last_seq, last_hash = excluded.last_hash',
    [stream.node, stream.incarnation, end.seq, end.hash],
  )
}

const clean = (value: unknown): unknown => (typeof value === 'string' ? storable(value) : value)

function parsed({ node }: StreamName, { seq, line }: ChainedLine): ParsedLine {
  const found = parseLine(line)
  if (found === undefined) throw new DomainError('bad_request', `record ${seq} of ${node} is not RFC 5424`)
  return found
}
