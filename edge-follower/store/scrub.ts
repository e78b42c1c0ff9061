// Disks forget. In the background every row is digested again and compared with the digest that came with it,
// and their sum with the content hash: a copy that is not the Leader's must not serve.
import { assert } from '#shared/base/assert.ts'
import { toHex } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { ContentHash, rowDigest } from '#shared/ledger/digest.ts'
import { format } from '#shared/ledger/position.ts'
import { columnsOf, columnType, type Row, type TableName, tableNames, tables } from '#shared/ledger/tables.ts'
import type { Sqlite } from './sqlite.ts'
import { type ReplicaState, readState } from './state.ts'

export type ScrubOptions = {
  /** A connection that only reads. */
  readonly sqlite: Sqlite
  readonly clock: Clock
  readonly sliceRows?: number
  readonly sliceBytes?: number
}

export type ScrubPass =
  /** `totalCompared` is false when data changed meanwhile: the rows were compared and their sum was not. */
  | { readonly kind: 'sound'; readonly rows: number; readonly totalCompared: boolean }
  /** `what` names a table and a position, never a value. */
  | { readonly kind: 'corrupt'; readonly what: string }
  /** Aborted, or there is no copy yet. */
  | { readonly kind: 'nothing' }

export type Scrubbing = ScrubOptions & {
  /** Called after a pass that found nothing wrong. */
  readonly onSound: () => void
  /** Called once; the scrubber ends after it. */
  readonly onCorrupt: (what: string) => void
  /** Called with why a pass could not be made; the next one is tried after the pause. */
  readonly report: (message: string) => void
}

/** Passes over the copy again and again until the signal is aborted or something is wrong. */
export async function scrub(scrubbing: Scrubbing, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const pass = await scrubOnce(scrubbing, signal)
      if (pass.kind === 'corrupt') return scrubbing.onCorrupt(pass.what)
      if (pass.kind === 'sound') scrubbing.onSound()
    } catch (error) {
      scrubbing.report(`the copy was not scrubbed: ${error instanceof Error ? error.message : String(error)}`)
    }
    await scrubbing.clock.sleep(limits.scrubPauseMs, signal)
  }
}

export async function scrubOnce(options: ScrubOptions, signal: AbortSignal): Promise<ScrubPass> {
  const { sqlite, clock } = options
  const begun = stateOfTurn(sqlite)
  if (begun === undefined) return { kind: 'nothing' }
  let state = begun
  let sum = new ContentHash()
  let rows = 0
  for (const table of inOrder) {
    let last: Row | undefined
    do {
      await clock.sleep(limits.scrubRestMs, signal)
      if (signal.aborted) return { kind: 'nothing' }
      const slice = sliceOfTurn(options, table, last)
      if (slice.kind === 'corrupt') return slice
      state = slice.state
      sum = sum.change(slice.digests, [])
      rows += slice.digests.length
      last = slice.last
    } while (last !== undefined)
  }
  // Nothing but heartbeats came: what was added up is what the newest content hash says.
  const totalCompared = state.dataVersion === begun.dataVersion
  if (totalCompared && sum.toString() !== state.contentHash) {
    return corrupt('the rows do not add up to the content hash', state)
  }
  return { kind: 'sound', rows, totalCompared }
}

type Slice = {
  readonly kind: 'slice'
  readonly state: ReplicaState
  readonly digests: readonly Uint8Array[]
  /** Undefined at the end of the table. */
  readonly last: Row | undefined
}

type Corrupt = Extract<ScrubPass, { kind: 'corrupt' }>

function corrupt(what: string, { position }: ReplicaState): Corrupt {
  return { kind: 'corrupt', what: `${what} at ${format(position)}` }
}

function sliceOfTurn(options: ScrubOptions, table: TableName, after: Row | undefined): Slice | Corrupt {
  const state = stateOfTurn(options.sqlite)
  assert(state !== undefined, 'a copy that was there stays there')
  try {
    const { rows, atEnd } = readSlice(options, table, after)
    const digests = rows.map((row) => rowDigest(table, row))
    const wrong = digests.some((digest, i) => toHex(digest) !== toHex(rows[i]!.digest as Uint8Array))
    if (wrong) return corrupt(`a row of ${table} differs from its digest`, state)
    return { kind: 'slice', state, digests, last: atEnd ? undefined : rows.at(-1) }
  } catch (error) {
    if (isDamage(error)) return corrupt(`${table} cannot be read (${error.code})`, state)
    throw error
  }
}

/** What the engine says of a page that is not what it was. */
function isDamage(error: unknown): error is { code: string } {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && /^SQLITE_(CORRUPT|NOTADB)/.test(code)
}

// Heartbeats change every second, so theirs is the last slice: it belongs to the state that the sum is compared
// with. There is one row of them, so no slice comes after it.
const inOrder = [...tableNames.filter((table) => table !== 'heartbeats'), 'heartbeats' as const]

function stateOfTurn(sqlite: Sqlite): ReplicaState | undefined {
  sqlite.readForThisTurn()
  return readState(sqlite)
}

/** The next rows in key order, bounded in number and, but for the first row, in bytes. */
function readSlice(
  options: ScrubOptions,
  table: TableName,
  last: Row | undefined,
): { rows: Row[]; atEnd: boolean } {
  const { sqlite, sliceRows = limits.scrubSliceRows, sliceBytes = limits.scrubSliceBytes } = options
  const { sizes, rows } = sliceSql(table, last !== undefined)
  const key: readonly string[] = tables[table].key
  const after = last === undefined ? [] : key.map((column) => last[column] ?? null)
  let fitting = 0
  let bytes = 0
  const sized = sqlite.all(sizes, [...after, sliceRows])
  for (const row of sized) {
    bytes += row.bytes as number
    if (fitting > 0 && bytes > sliceBytes) break
    fitting++
  }
  const atEnd = sized.length < sliceRows && fitting === sized.length
  return { rows: sqlite.all(rows, [...after, fitting]), atEnd }
}

/** `octet_length` is known without reading the cell: only rows that fit are brought into memory. */
function sliceSql(table: TableName, continued: boolean): { sizes: string; rows: string } {
  const key = tables[table].key.join(', ')
  const params = tables[table].key.map((_, i) => `?${i + 1}`)
  const where = continued ? `WHERE (${key}) > (${params.join(', ')}) ` : ''
  const rest = `FROM ${table} ${where}ORDER BY ${key} LIMIT ?${continued ? params.length + 1 : 1}`
  const lengths = columnsOf(table)
    .filter((column) => /text|bytes/.test(columnType(table, column)))
    .map((column) => `COALESCE(octet_length(${column}), 0)`)
  return {
    sizes: `SELECT ${lengths.join(' + ') || '8'} AS bytes ${rest}`,
    rows: `SELECT ${columnsOf(table).join(', ')}, digest ${rest}`,
  }
}
