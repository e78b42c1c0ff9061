// Reading at the Leader: a whole batch as one prepared statement, which is also one snapshot and one round trip
// (0.18 ms instead of 1.3 ms for three statements in a transaction).
import { LRUCache } from 'lru-cache'
import { fromHex } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import { sha256Hex } from '#shared/base/native-crypto.ts'
import { closureCte, doomedCte, expandMacros } from '#shared/ledger/reads/closure.ts'
import type { ReadRequest, ReadStore, Seed, Snapshot, Statement } from '#shared/ledger/store.ts'
import type { Cell, Row } from '#shared/ledger/tables.ts'
import type { Database, Session } from './connection.ts'

export function createReader(database: Database): ReadStore {
  const closures = createClosures()
  return {
    async read(request) {
      try {
        return (await readWith(database, request, closures)) ?? (await readAnew(database, request, closures))
      } catch (cause) {
        if (cause instanceof DomainError) throw cause
        throw new DomainError('unavailable', 'the database cannot be read', { cause })
      }
    },
  }
}

/** The batch on one session: the writer reads its facts with it, inside its transaction. */
export async function readFolded(session: Session, request: ReadRequest): Promise<Snapshot> {
  return snapshotOf(request, await ask(session, 'computed', request, request.caller ?? null))
}

/** With the closure that is remembered of the caller; undefined when there is none, or it is not true any more. */
async function readWith(
  session: Session,
  request: ReadRequest,
  closures: Closures,
): Promise<Snapshot | undefined> {
  const held = request.caller === undefined ? undefined : closures.of(request.caller)
  if (held === undefined) return undefined
  const row = await ask(session, 'given', request, held.ids)
  return versionOf(row) === held.trueAt ? snapshotOf(request, row) : undefined
}

async function readAnew(session: Session, request: ReadRequest, closures: Closures): Promise<Snapshot> {
  const row = await ask(session, 'computed', request, request.caller ?? null)
  if (request.caller !== undefined) closures.remember(request.caller, row)
  return snapshotOf(request, row)
}

type FoldedRow = Readonly<Record<string, unknown>>

async function ask(
  session: Session,
  closure: ClosureFrom,
  { statements }: ReadRequest,
  first: string | null,
): Promise<FoldedRow> {
  const seed = seedOf(statements)
  const { name, text } = folded(closure, statements, seed)
  const own = statements.flatMap(({ params }) => params)
  const { rows } = await session.prepared(name, text, [first, ...(seed?.params ?? []), ...own])
  return rows[0]!
}

function snapshotOf(request: ReadRequest, row: FoldedRow): Snapshot {
  return {
    rows: request.statements.map((statement, i) => parseRows(statement, row[`r${i}`] as string)),
    position: { epoch: Number(row.epoch), seq: Number(row.seq) },
    ageMs: 0,
    callerKnown: row.known === 1,
  }
}

/** The text that reads a batch: every table that its rows depend on is named in it. */
export const foldedText = (statements: readonly Statement[]): string =>
  folded('computed', statements, seedOf(statements)).text

/** The first parameter is the caller, or the ids of his closure as an array of Postgres. */
type ClosureFrom = 'computed' | 'given'

const closureTexts: Record<ClosureFrom, string> = {
  computed: closureCte('postgres', '$1'),
  given: 'closure(id) AS (SELECT id COLLATE "C" FROM unnest($1::text[]) AS t(id))',
}

/**
 * Closures by role. Each is true until a commit changes roles or memberships, whose number (`roles_seq`) is read in the
 * statement that uses it: one that has become untrue is seen before anything is decided with it (P5).
 */
type Closures = {
  /** Undefined for one that is not remembered, or known to be untrue. */
  of(role: string): Remembered | undefined
  remember(role: string, row: FoldedRow): void
}

/** `ids`: as Postgres writes an array. */
type Remembered = { readonly ids: string; readonly trueAt: string }

const versionOf = (row: FoldedRow): string => `${row.epoch}.${row.roles_seq}`

function createClosures(): Closures {
  const remembered = new LRUCache<string, Remembered>({
    max: limits.closuresRemembered,
    maxSize: limits.closureBytesRemembered,
    sizeCalculation: ({ ids }) => ids.length,
  })
  let newest = ''
  return {
    of(role) {
      const held = remembered.get(role)
      return held?.trueAt === newest ? held : undefined
    },
    remember(role, row) {
      newest = versionOf(row)
      if (row.known === 1) remembered.set(role, { ids: row.held as string, trueAt: newest })
    },
  }
}

type Folded = { readonly name: string; readonly text: string }

// Shapes of batches are written in the source, so there are as many as there are routes.
const foldedTexts = new Map<string, Folded>()

const seedOf = (statements: readonly Statement[]): Seed | undefined =>
  statements.find(({ doomed }) => doomed !== undefined)?.doomed

function folded(closure: ClosureFrom, statements: readonly Statement[], seed: Seed | undefined): Folded {
  const batch = [...(seed === undefined ? [] : [seed]), ...statements]
  const shape = [closure, ...batch.map(({ sql, params }) => `${params.length} ${sql}`)].join('\n')
  let found = foldedTexts.get(shape)
  if (found === undefined) {
    const text = fold(closure, statements, seed)
    found = { name: sha256Hex(text).slice(0, 32), text }
    foldedTexts.set(shape, found)
  }
  return found
}

function fold(closure: ClosureFrom, statements: readonly Statement[], seed: Seed | undefined): string {
  let offset = 1
  /** In Postgres's words, with parameters of its own among those of the whole. */
  const placed = (sql: string, params: Statement['params']): string => {
    const first = offset
    offset += params.length
    return sql.replace(/\?(\d+)/g, (_, n: string) => `$${first + Number(n)}`)
  }
  const relations = [closureTexts[closure]]
  if (seed !== undefined) relations.push(placed(doomedCte('postgres', seed.sql), seed.params))
  const columns = statements.map(({ sql, params }, i) => {
    const own = placed(expandMacros('postgres', sql), params)
    return `(SELECT COALESCE(json_agg(t), '[]'::json) FROM (${own}) t) AS r${i}`
  })
  const known = 'CASE WHEN EXISTS (SELECT 1 FROM closure) THEN 1 ELSE 0 END AS known'
  const held = closure === 'given' ? [] : ['(SELECT array_agg(id)::text FROM closure) AS held']
  return (
    `WITH RECURSIVE ${relations.join(', ')} SELECT s.epoch, s.seq, s.roles_seq, ` +
    `${[known, ...held, ...columns].join(', ')} ` +
    'FROM ledger_state s'
  )
}

function parseRows(statement: Statement, text: string): Row[] {
  const rows = JSON.parse(text) as Record<string, Cell>[]
  for (const row of rows) {
    for (const column of statement.bytes ?? []) {
      const cell = row[column]
      // bytea in JSON is `\x` and hex digits.
      if (typeof cell === 'string') row[column] = fromHex(cell.slice(2))
    }
  }
  return rows
}
