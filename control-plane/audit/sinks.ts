// The audit as files: one of JSON objects, one of RFC 5424 lines (cluster 12.1, 12.4). They follow the database.
//
// Each file says itself how far it has come: every record carries its number in the relay's own element, as in the
// reference (`meta`, `sequenceId`). What is guaranteed: a process that is killed anywhere leaves each record once
// in each file, in the database's order; a torn last line is cut off at the next start. A file that was moved away
// is continued in a new one. A machine that loses power may lose the end of a file; it is written again, except
// into a file that was moved away in that moment. What a file lacks is always in the database.
import { type FileHandle, open, stat } from 'node:fs/promises'
import { jsonRecord, parseLine } from '#shared/audit/rfc5424.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import type { Database } from '../ledger/connection.ts'
import { oneAtATime } from './one-at-a-time.ts'
import { settledId } from './streams.ts'

export type Sinks = {
  /** Writes what the database has and the files have not. Never rejects: what fails is reported and tried again. */
  follow(): Promise<void>
  /** Writes what is left, then closes. */
  close(): Promise<void>
}

export type SinkFiles = { readonly json: string; readonly text: string }

export type SinkOptions = {
  /** With `auditMigrations`. */
  readonly database: Database
  readonly files: SinkFiles
  readonly clock: Clock
  readonly report: (message: string) => void
}

/** Opens the files; what they lack is written when they follow. */
export async function openSinks({ database, files, clock, report }: SinkOptions): Promise<Sinks> {
  const cursors = await readCursors(database)
  const sinks = [
    createSink({ ...forms.json, path: files.json, cursor: cursors.get('json') ?? 0 }),
    createSink({ ...forms.text, path: files.text, cursor: cursors.get('text') ?? 0 }),
  ]
  // A file that cannot be written is an error of the settings while somebody is still looking.
  const atStart = await settledId(database)
  for (const sink of sinks) await sink.ready(atStart)
  const closing = new AbortController()
  let closed = false
  let failure: string | undefined

  async function writeAll(): Promise<void> {
    try {
      const upTo = await settledId(database)
      for (const sink of sinks) await catchUp(database, sink, upTo)
      await saveCursors(database, sinks)
      failure = undefined
    } catch (error) {
      const message = `the audit files wait: ${error instanceof Error ? error.message : String(error)}`
      if (message !== failure) report(message)
      failure = message
    }
  }
  const nextWrite = oneAtATime(async () => {
    await writeAll()
    // Records come in groups, hundreds a second: the files take what has come together in the meantime.
    await clock.sleep(limits.auditBatchWaitMs, closing.signal)
  })

  return {
    follow: () => (closed ? Promise.resolve() : nextWrite()),
    async close() {
      closing.abort()
      closed = true
      await nextWrite()
      for (const sink of sinks) await sink.close()
    },
  }
}

type Stored = { readonly id: number; readonly node: string; readonly seq: number; readonly line: string }

type Form = {
  readonly name: 'json' | 'text'
  readonly render: (record: Stored) => string
  /** Number of the record on a line; undefined when the line is not one of ours. */
  readonly idOf: (line: string) => number | undefined
}

const HEADER_FIELDS = /^(?:\S+ ){6}/

/** The line with the relay's own element first. */
function relayed({ id, line }: Stored): string {
  const at = HEADER_FIELDS.exec(line)?.[0].length ?? 0
  const rest = line.slice(at)
  return `${line.slice(0, at)}[meta sequenceId="${id}"]${rest.startsWith('- ') ? rest.slice(1) : rest}`
}

const forms: Readonly<Record<'json' | 'text', Form>> = {
  json: {
    name: 'json',
    render: (record) =>
      JSON.stringify(jsonRecord(parseLine(relayed(record))!, { NODE: record.node, SEQ: record.seq })),
    idOf(line) {
      try {
        return positive((JSON.parse(line) as { meta?: { sequenceId?: unknown } }).meta?.sequenceId)
      } catch {
        // Not JSON: somebody else's line.
        return undefined
      }
    },
  },
  text: {
    name: 'text',
    render: relayed,
    // Only where `relayed` puts it: names that clients choose come later in the line.
    idOf: (line) => positive(/^(?:\S+ ){6}\[meta sequenceId="(\d+)"\]/.exec(line)?.[1]),
  },
}

function positive(value: unknown): number | undefined {
  const number = Number(value)
  return Number.isSafeInteger(number) && number > 0 ? number : undefined
}

type Sink = {
  readonly name: Form['name']
  /** Opens the file if need be, and returns the newest record that is written. `upTo`: the newest there is. */
  ready(upTo: number): Promise<number>
  write(records: readonly Stored[]): Promise<void>
  written(): number
  close(): Promise<void>
}

type OpenFile = { readonly handle: FileHandle; readonly inode: number; readonly device: number }

function createSink(options: Form & { readonly path: string; readonly cursor: number }): Sink {
  const { name, path, render, idOf } = options
  let file: OpenFile | undefined
  let last = options.cursor

  async function close(): Promise<void> {
    const closing = file
    file = undefined
    await closing?.handle.close()
  }

  async function wasMoved({ inode, device }: OpenFile): Promise<boolean> {
    const there = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    return there?.ino !== inode || there.dev !== device
  }

  async function openFile(upTo: number): Promise<void> {
    const handle = await open(path, 'a+', 0o600)
    const { ino, dev } = await handle.stat()
    file = { handle, inode: ino, device: dev }
    const found = await endOf(handle, idOf)
    // A number that the database has not come to was given by another one, before a new installation.
    if (found !== undefined && found <= upTo) last = found
  }

  return {
    name,
    async ready(upTo) {
      if (file !== undefined && (await wasMoved(file))) await close()
      if (file === undefined) await openFile(upTo)
      return last
    },
    async write(records) {
      try {
        await file!.handle.appendFile(records.map((record) => `${render(record)}\n`).join(''))
      } catch (error) {
        // Part of it may be written. Opened again, the file says how much, and a torn line is cut off.
        await close()
        throw error
      }
      last = records.at(-1)!.id
    },
    written: () => last,
    close,
  }
}

/** Cuts off a line that has no end, and returns the number of the last record; undefined when there is none. */
async function endOf(file: FileHandle, idOf: Form['idOf']): Promise<number | undefined> {
  const { size } = await file.stat()
  const length = Math.min(size, limits.auditLineBytes * 2)
  const tail = Buffer.alloc(length)
  await file.read(tail, 0, length, size - length)
  const end = tail.lastIndexOf(0x0a)
  if (end + 1 < length) await file.truncate(size - (length - end - 1))
  const lines = tail.toString('utf8', 0, Math.max(end, 0)).split('\n')
  for (const line of lines.reverse()) {
    const id = idOf(line)
    if (id !== undefined) return id
  }
  return undefined
}

async function catchUp(database: Database, sink: Sink, upTo: number): Promise<void> {
  for (let last = await sink.ready(upTo); last < upTo; last = sink.written()) {
    const { rows } = await database.query(
      'SELECT id, node, seq, line FROM messages WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3',
      [last, upTo, limits.auditBatchRecords],
    )
    if (rows.length === 0) throw new DomainError('unavailable', `record ${upTo} is not in the database`)
    await sink.write(
      rows.map((row) => ({
        id: Number(row.id),
        node: row.node as string,
        seq: Number(row.seq),
        line: row.line as string,
      })),
    )
  }
}

async function readCursors(database: Database): Promise<Map<string, number>> {
  const { rows } = await database.query('SELECT name, last_id FROM audit_files')
  return new Map(rows.map((row) => [row.name as string, Number(row.last_id)]))
}

async function saveCursors(database: Database, sinks: readonly Sink[]): Promise<void> {
  await database.query(
    'INSERT INTO audit_files SELECT * FROM unnest($1::text[], $2::bigint[]) ' +
      'ON CONFLICT (name) DO UPDATE SET last_id = excluded.last_id',
    [sinks.map(({ name }) => name), sinks.map((sink) => sink.written())],
  )
}
