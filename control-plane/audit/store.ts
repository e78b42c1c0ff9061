// The audit database of the Leader: its own events, those of its writes, and those of its Followers, each stream
// numbered and chained, each record stored exactly once (I9, I10; cluster 12.5, 12.6).
import { type ChainEnd, type ChainedLine, chainStart, extend, fitBatch } from '#shared/audit/chain.ts'
import { parseLine } from '#shared/audit/rfc5424.ts'
import { toHex } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Outbox } from '../ledger/change-log.ts'
import type { Database, Session } from '../ledger/connection.ts'
import type { Migration } from '../ledger/migrate.ts'

export const auditMigrations: readonly Migration[] = [
  {
    version: 1,
    sql: [
      'CREATE TABLE messages (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, facility integer NOT NULL, ' +
        'severity integer NOT NULL, "timestamp" timestamptz NOT NULL, hostname text, appname text NOT NULL, procid text, ' +
        'msgid text NOT NULL, sdata jsonb NOT NULL, message text NOT NULL, node text NOT NULL, incarnation text NOT NULL, ' +
        'seq bigint NOT NULL, prev_hash text NOT NULL, hash text NOT NULL, received_at timestamptz NOT NULL DEFAULT now(), ' +
        'line text NOT NULL, UNIQUE (node, incarnation, seq))',
      'CREATE INDEX messages_by_time ON messages ("timestamp")',
      'CREATE INDEX messages_by_sdata ON messages USING gin (sdata jsonb_path_ops)',
      'CREATE INDEX messages_by_procid ON messages (procid)',
      'CREATE TABLE audit_streams (node text NOT NULL, incarnation text NOT NULL, last_seq bigint NOT NULL, ' +
        'last_hash text NOT NULL, PRIMARY KEY (node, incarnation))',
      // The newest outbox line that is stored here: the outbox is drained exactly once, wherever it is cut off.
      'CREATE TABLE outbox_cursor (id smallint PRIMARY KEY CHECK (id = 1), last_id bigint NOT NULL)',
      'INSERT INTO outbox_cursor VALUES (1, 0)',
    ],
  },
]

export type StreamName = { readonly node: string; readonly incarnation: string }

export type Received =
  /** Highest contiguous number that is durable. */
  { readonly kind: 'stored'; readonly seq: number } | { readonly kind: 'gap' | 'fork'; readonly seq: number }

export type AuditStore = {
  /** Of this node's own requests; durable when it resolves. Rejects with `audit_unavailable`. */
  append(lines: readonly string[]): Promise<void>
  receive(stream: StreamName, batch: readonly ChainedLine[]): Promise<Received>
  /** Highest number held of a stream; 0 when it is new. */
  held(stream: StreamName): Promise<number>
  /** Stores what the outbox holds; returns when it is empty. */
  drain(): Promise<void>
  queued(): number
  /** Called when records were stored: the files follow. */
  onStored(listener: () => void): void
}

type Waiting = {
  readonly lines: readonly string[]
  readonly done: () => void
  readonly failed: (e: unknown) => void
}

export async function createAuditStore(options: {
  readonly database: Database
  readonly outbox: Outbox
  readonly node: string
  readonly random: (length: number) => Uint8Array
}): Promise<AuditStore> {
  const { database, outbox, node } = options
  // A new stream with every start: its numbers begin at one, and nothing has to be read back.
  const own: StreamName = { node, incarnation: toHex(options.random(16)) }
  const waiting: Waiting[] = []
  let running = false
  let draining: Promise<void> | undefined
  const listeners: (() => void)[] = []

  async function appendGroups(): Promise<void> {
    running = true
    while (waiting.length > 0) {
      const group = waiting.splice(0, limits.auditBatchRecords)
      try {
        await within(limits.auditPatienceMs, store(group.flatMap(({ lines }) => [...lines])))
        for (const { done } of group) done()
        for (const listener of listeners) listener()
      } catch (cause) {
        const error = new DomainError('audit_unavailable', 'the audit database cannot be written', { cause })
        for (const { failed } of group) failed(error)
      }
    }
    running = false
  }

  function store(lines: readonly string[]): Promise<void> {
    return database.transaction(async (session) => {
      await addLines(session, own, await streamEnd(session, own), lines)
    })
  }

  async function drainOutbox(): Promise<void> {
    for (;;) {
      const last = await database.query('SELECT last_id FROM outbox_cursor')
      const lines = await outbox.read(Number(last.rows[0]!.last_id), limits.auditBatchRecords)
      if (lines.length === 0) return
      const upTo = lines.at(-1)!.id
      await database.transaction(async (session) => {
        const stream = { node, incarnation: 'writes' }
        await addLines(
          session,
          stream,
          await streamEnd(session, stream),
          lines.map(({ line }) => line),
        )
        await session.query('UPDATE outbox_cursor SET last_id = $1', [upTo])
      })
      await outbox.trim(upTo)
      for (const listener of listeners) listener()
    }
  }

  return {
    append(lines) {
      if (lines.length === 0) return Promise.resolve()
      return new Promise((resolve, reject) => {
        waiting.push({ lines, done: resolve, failed: reject })
        if (!running) void Promise.resolve().then(() => (running ? undefined : appendGroups()))
      })
    },
    async receive(stream, batch) {
      const received = await database.transaction(async (session): Promise<Received> => {
        const verdict = fitBatch(await streamEnd(session, stream), batch)
        if (verdict.kind === 'gap') return { kind: 'gap', seq: verdict.got }
        if (verdict.kind === 'fork') return { kind: 'fork', seq: verdict.seq }
        await insertLines(session, stream, verdict.fresh)
        await saveEnd(session, stream, verdict.end)
        return { kind: 'stored', seq: verdict.end.seq }
      })
      for (const listener of listeners) listener()
      return received
    },
    held: async (stream) => (await streamEnd(database, stream)).seq,
    drain() {
      draining ??= drainOutbox().finally(() => {
        draining = undefined
      })
      return draining
    },
    queued: () => waiting.length,
    onStored: (listener) => void listeners.push(listener),
  }
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The end of a stream, locked until the transaction ends: two connections of one node take turns. */
async function streamEnd(session: Session, { node, incarnation }: StreamName): Promise<ChainEnd> {
  const { rows } = await session.query(
    'SELECT last_seq, last_hash FROM audit_streams WHERE node = $1 AND incarnation = $2 FOR UPDATE',
    [node, incarnation],
  )
  const row = rows[0]
  return row === undefined ? chainStart : { seq: Number(row.last_seq), hash: row.last_hash as string }
}

async function addLines(
  session: Session,
  stream: StreamName,
  end: ChainEnd,
  lines: readonly string[],
): Promise<ChainEnd> {
  let next = end
  const chained = lines.map((line) => {
    const prevHash = next.hash
    next = extend(next, line)
    return { seq: next.seq, prevHash, line }
  })
  await insertLines(session, stream, chained)
  await saveEnd(session, stream, next)
  return next
}

const INSERT =
  'INSERT INTO messages (node, incarnation, facility, severity, "timestamp", hostname, appname, procid, msgid, sdata, ' +
  'message, seq, prev_hash, hash, line) SELECT $1, $2, * FROM unnest($3::integer[], $4::integer[], $5::timestamptz[], ' +
  '$6::text[], $7::text[], $8::text[], $9::text[], $10::jsonb[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::text[])'

async function insertLines(
  session: Session,
  stream: StreamName,
  lines: readonly ChainedLine[],
): Promise<void> {
  if (lines.length === 0) return
  const rows = lines.map((item) => {
    const parsed = parseLine(item.line)
    if (parsed === undefined)
      throw new DomainError('bad_request', `record ${item.seq} of ${stream.node} is not RFC 5424`)
    return { ...item, ...parsed, hash: extend({ seq: item.seq - 1, hash: item.prevHash }, item.line).hash }
  })
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
    rows.map((row) => JSON.stringify(row.sdata)),
    rows.map((row) => row.message),
    rows.map((row) => row.seq),
    rows.map((row) => row.prevHash),
    rows.map((row) => row.hash),
    rows.map((row) => row.line),
  ])
}

async function saveEnd(session: Session, { node, incarnation }: StreamName, end: ChainEnd): Promise<void> {
  await session.query(
    'INSERT INTO audit_streams VALUES ($1, $2, $3, $4) ON CONFLICT (node, incarnation) ' +
      'DO UPDATE SET last_seq = excluded.last_seq, last_hash = excluded.last_hash',
    [node, incarnation, end.seq, end.hash],
  )
}
