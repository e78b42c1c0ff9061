// The audit database of the Leader: its own events, those of its writes, and those of its Followers, each stream
// numbered and chained, each record stored exactly once (I9, I10; cluster 12.5, 12.6).
import { LRUCache } from 'lru-cache'
import { type ChainedLine, fitBatch } from '#shared/audit/chain.ts'
import { streamRefusedEvent } from '#shared/audit/event.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'
import { toHex } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import type { Outbox } from '../ledger/change-log.ts'
import type { Database } from '../ledger/connection.ts'
import type { Migration } from '../ledger/migrate.ts'
import { oneAtATime } from './one-at-a-time.ts'
import { appendLines, forkedAt, insertLines, type StreamName, streamEnd } from './streams.ts'

export type { StreamName } from './streams.ts'

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
  {
    version: 2,
    // The newest record of each audit file: where a new file goes on when the old one was moved away.
    sql: ['CREATE TABLE audit_files (name text PRIMARY KEY, last_id bigint NOT NULL)'],
  },
]

export type Received =
  /** Highest contiguous number that is durable. */
  | { readonly kind: 'stored'; readonly seq: number }
  /** Nothing was stored: records before `seq` are missing, or `seq` has another history. Recorded once. */
  | { readonly kind: 'gap' | 'fork'; readonly seq: number }

export type AuditStore = {
  /** Of this node's own requests; durable when it resolves. Rejects with `audit_unavailable` within a second. */
  append(lines: readonly string[]): Promise<void>
  receive(stream: StreamName, batch: readonly ChainedLine[]): Promise<Received>
  /** Highest number held of a stream; 0 when it is new. */
  held(stream: StreamName): Promise<number>
  /** Stores what the outbox holds at the time of the call. Rejects with `audit_unavailable`; call it again then. */
  drain(): Promise<void>
  queued(): number
  /** Called when records were stored: the files follow. */
  onStored(listener: () => void): void
}

const OLDER_LEDGER =
  'the main database is older than the audit database, as after a restore: audit of writes goes on with new numbers'

export type AuditStoreOptions = {
  /** With `auditMigrations`. */
  readonly database: Database
  readonly outbox: Outbox
  readonly node: string
  readonly random: (length: number) => Uint8Array
  readonly clock: Clock
  readonly report: (message: string) => void
}

type Waiting = {
  readonly lines: readonly string[]
  /** Monotonic. */
  readonly giveUpAt: number
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

export async function createAuditStore(options: AuditStoreOptions): Promise<AuditStore> {
  const { database, outbox, node, clock } = options
  // A new stream with every start. Numbers are read back in every transaction, so that one whose outcome is
  // unknown neither burns nor doubles any.
  const own: StreamName = { node, incarnation: toHex(options.random(16)) }
  const ofWrites: StreamName = { node, incarnation: 'writes' }
  const waiting: Waiting[] = []
  const alarmed = new LRUCache<string, true>({ max: limits.auditAlarmsRemembered })
  const listeners: (() => void)[] = []
  let appending = false
  const { rows: cursors } = await database.query('SELECT last_id FROM outbox_cursor')
  if (await outbox.continueAfter(Number(cursors[0]!.last_id))) options.report(OLDER_LEDGER)

  const stored = (): void => {
    for (const listener of listeners) listener()
  }

  async function appendGroups(): Promise<void> {
    appending = true
    while (waiting.length > 0) {
      const group = waiting.splice(0, limits.auditBatchRecords)
      try {
        const lines = group.flatMap((item) => item.lines)
        // The group has the patience of its oldest member, which may have waited behind another group, or while a
        // large policy kept this thread: then it is tried all the same.
        const left = Math.max(limits.auditLastTryMs, group[0]!.giveUpAt - clock.monotonic())
        await within(clock, left, () => database.transaction((session) => appendLines(session, own, lines)))
        for (const { done } of group) done()
        stored()
      } catch (cause) {
        const error = unavailable('the audit database cannot be written', cause)
        for (const { failed } of group) failed(error)
      }
    }
    appending = false
  }

  /** One pass: ends when a page was not full, so that a steady flow of writes keeps no caller waiting. */
  async function drainOutbox(): Promise<void> {
    let full = true
    while (full) {
      const { rows } = await database.query('SELECT last_id FROM outbox_cursor')
      const { groups, more } = await outbox.read(Number(rows[0]!.last_id))
      if (groups.length === 0) return
      await database.transaction(async (session) => {
        // Read again under its lock: an earlier transaction of ours may have committed since, though it seemed lost.
        const held = await session.query('SELECT last_id FROM outbox_cursor FOR UPDATE')
        const fresh = groups.filter(({ id }) => id > Number(held.rows[0]!.last_id))
        if (fresh.length === 0) return
        await appendLines(
          session,
          ofWrites,
          fresh.flatMap(({ lines }) => lines),
        )
        await session.query('UPDATE outbox_cursor SET last_id = $1', [fresh.at(-1)!.id])
      })
      await outbox.trim(groups.at(-1)!.id)
      stored()
      full = more
    }
  }

  function receiveBatch(stream: StreamName, batch: readonly ChainedLine[]): Promise<Received> {
    return database.transaction(async (session): Promise<Received> => {
      const end = await streamEnd(session, stream)
      const forked = await forkedAt(
        session,
        stream,
        batch.filter(({ seq }) => seq <= end.seq),
      )
      if (forked !== undefined) return { kind: 'fork', seq: forked }
      const verdict = fitBatch(end, batch)
      if (verdict.kind === 'gap') return { kind: 'gap', seq: verdict.got }
      if (verdict.kind === 'fork') return verdict
      await insertLines(session, stream, verdict.fresh, verdict.end)
      return { kind: 'stored', seq: verdict.end.seq }
    })
  }

  /** A sender that is refused tries again and again; the record of it is made once. */
  async function recordRefusal(stream: StreamName, kind: 'gap' | 'fork', seq: number): Promise<void> {
    const key = JSON.stringify([stream.node, stream.incarnation, kind, seq])
    if (alarmed.has(key)) return
    const event = streamRefusedEvent(kind, { ...stream, seq })
    await append([formatEvent(event, { timestamp: clock.wall(), procid: '' })])
    alarmed.set(key, true)
  }

  function append(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return Promise.resolve()
    if (waiting.length >= limits.auditAppendsWaiting)
      return Promise.reject(unavailable('too many requests wait for the audit database'))
    return new Promise((resolve, reject) => {
      const giveUpAt = clock.monotonic() + limits.auditPatienceMs
      waiting.push({ lines, giveUpAt, done: resolve, failed: reject })
      if (!appending) void Promise.resolve().then(() => (appending ? undefined : appendGroups()))
    })
  }

  return {
    append,
    async receive(stream, batch) {
      const received = await receiveBatch(stream, batch)
      if (received.kind === 'stored') stored()
      else await recordRefusal(stream, received.kind, received.seq)
      return received
    },
    held: async (stream) => (await streamEnd(database, stream)).seq,
    drain: oneAtATime(() =>
      drainOutbox().catch((cause: unknown) => {
        throw unavailable('the audit records of writes cannot be stored', cause)
      }),
    ),
    queued: () => waiting.length,
    onStored: (listener) => void listeners.push(listener),
  }
}

/** A timer that is this late was held up by a turn of the event loop. */
const LONG_TURN_MS = 50

/** What `run` resolves with, or an error after `ms`. */
async function within<T>(clock: Clock, ms: number, run: () => Promise<T>): Promise<T> {
  const inTime = new AbortController()
  const due = clock.monotonic() + ms
  const late = clock.sleep(ms, inTime.signal).then(async () => {
    // A long turn of this thread was no time that the database has had: it gets some after it.
    if (clock.monotonic() - due > LONG_TURN_MS) await clock.sleep(limits.auditLastTryMs, inTime.signal)
    if (!inTime.signal.aborted) throw new Error(`no answer within ${ms} ms`)
  })
  try {
    // Woken by the end below, `late` resolves when nobody listens any more.
    return (await Promise.race([run(), late])) as T
  } finally {
    inTime.abort()
  }
}

function unavailable(message: string, cause?: unknown): DomainError {
  return new DomainError('audit_unavailable', message, cause === undefined ? {} : { cause })
}
