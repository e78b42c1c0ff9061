// The audit as files: one of JSON objects, one of RFC 5424 lines (cluster 12.1, 12.4). They follow the database.
//
// The database says what there is; each file ends with the number of its last record. A crash can leave a torn
// last line: it is cut off at the next start, and the file goes on after the last whole record.
import { type FileHandle, open } from 'node:fs/promises'
import { jsonRecord, parseLine } from '#shared/audit/rfc5424.ts'
import { limits } from '#shared/base/limits.ts'
import type { Database } from '../ledger/connection.ts'

type Stored = { readonly id: number; readonly node: string; readonly seq: number; readonly line: string }

export type Sinks = {
  /** Writes what the database has and the files have not. One call at a time; more are joined. */
  follow(): Promise<void>
  close(): Promise<void>
}

export type SinkFiles = { readonly json: string; readonly text: string }

export async function openSinks(
  database: Database,
  files: SinkFiles,
  report: (message: string) => void,
): Promise<Sinks> {
  const json = await openSink(files.json, jsonLine, (line) => (JSON.parse(line) as { ID: number }).ID)
  const text = await openSink(files.text, textLine, (line) =>
    Number(/\[meta sequenceId="(\d+)"\]/.exec(line)?.[1]),
  )
  let running: Promise<void> | undefined
  let again = false

  async function run(): Promise<void> {
    do {
      again = false
      for (const sink of [json, text]) await catchUp(database, sink)
    } while (again)
  }

  return {
    follow() {
      again = running !== undefined
      running ??= run()
        .catch((error: unknown) =>
          report(
            `the audit files cannot be written: ${error instanceof Error ? error.message : String(error)}`,
          ),
        )
        .finally(() => {
          running = undefined
        })
      return running
    },
    async close() {
      await running
      await Promise.all([json.file.close(), text.file.close()])
    },
  }
}

type Sink = { readonly file: FileHandle; readonly render: (record: Stored) => string; last: number }

async function openSink(path: string, render: Sink['render'], idOf: (line: string) => number): Promise<Sink> {
  const file = await open(path, 'a+', 0o600)
  const last = await lastLine(file)
  return { file, render, last: last === undefined ? 0 : idOf(last) }
}

/** Cuts off a line that has no end, and returns the last whole one. */
async function lastLine(file: FileHandle): Promise<string | undefined> {
  const { size } = await file.stat()
  const length = Math.min(size, limits.auditLineBytes * 2)
  const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length)
  const end = buffer.lastIndexOf(0x0a)
  if (end + 1 < length) await file.truncate(size - (length - end - 1))
  if (end < 0) return undefined
  const start = buffer.subarray(0, end).lastIndexOf(0x0a) + 1
  return buffer.toString('utf8', start, end)
}

async function catchUp(database: Database, sink: Sink): Promise<void> {
  for (;;) {
    const { rows } = await database.query(
      'SELECT id, node, seq, line FROM messages WHERE id > $1 ORDER BY id LIMIT $2',
      [sink.last, limits.auditBatchRecords],
    )
    if (rows.length === 0) return
    const records = rows.map((row) => ({
      id: Number(row.id),
      node: row.node as string,
      seq: Number(row.seq),
      line: row.line as string,
    }))
    await sink.file.appendFile(records.map((record) => `${sink.render(record)}\n`).join(''))
    sink.last = records.at(-1)!.id
  }
}

function jsonLine({ id, node, seq, line }: Stored): string {
  return JSON.stringify({ ...jsonRecord(parseLine(line)!, { NODE: node, SEQ: seq }), ID: id })
}

/** The line with the relay's own element, as the reference's syslog adds it. */
function textLine({ id, line }: Stored): string {
  const at = line.indexOf(' [')
  return at < 0 ? line : `${line.slice(0, at + 1)}[meta sequenceId="${id}"]${line.slice(at + 1)}`
}
