// Reading at the Leader: a whole batch as one prepared statement, which is also one snapshot and one round trip
// (0.18 ms instead of 1.3 ms for three statements in a transaction).
import { fromHex } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { sha256Hex } from '#shared/base/native-crypto.ts'
import { closureCte, doomedCte, expandLists } from '#shared/ledger/reads/closure.ts'
import type { ReadRequest, ReadStore, Seed, Snapshot, Statement } from '#shared/ledger/store.ts'
import type { Cell, Row } from '#shared/ledger/tables.ts'
import type { Database, Session } from './connection.ts'

export function createReader(database: Database): ReadStore {
  return {
    async read(request) {
      try {
        return await readFolded(database, request)
      } catch (cause) {
        if (cause instanceof DomainError) throw cause
        throw new DomainError('unavailable', 'the database cannot be read', { cause })
      }
    },
  }
}

/** The batch on one session: the writer reads its facts with it, inside its transaction. */
export async function readFolded(session: Session, request: ReadRequest): Promise<Snapshot> {
  const { statements } = request
  const seed = seedOf(statements)
  const { name, text } = folded(statements, seed)
  const own = statements.flatMap((statement) => statement.params)
  const params = [request.caller ?? null, ...(seed?.params ?? []), ...own]
  const { rows } = await session.prepared(name, text, params)
  const row = rows[0]!
  return {
    rows: statements.map((statement, i) => parseRows(statement, row[`r${i}`] as string)),
    position: { epoch: Number(row.epoch), seq: Number(row.seq) },
    ageMs: 0,
    callerKnown: row.known === 1,
  }
}

type Folded = { readonly name: string; readonly text: string }

// Shapes of batches are written in the source, so there are as many as there are routes.
const foldedTexts = new Map<string, Folded>()

const seedOf = (statements: readonly Statement[]): Seed | undefined =>
  statements.find(({ doomed }) => doomed !== undefined)?.doomed

function folded(statements: readonly Statement[], seed: Seed | undefined): Folded {
  const shape = [...(seed === undefined ? [] : [seed]), ...statements]
    .map(({ sql, params }) => `${params.length} ${sql}`)
    .join('\n')
  let found = foldedTexts.get(shape)
  if (found === undefined) {
    const text = fold(statements, seed)
    found = { name: sha256Hex(text).slice(0, 32), text }
    foldedTexts.set(shape, found)
  }
  return found
}

function fold(statements: readonly Statement[], seed: Seed | undefined): string {
  let offset = 1
  /** In Postgres's words, with parameters of its own among those of the whole. */
  const placed = (sql: string, params: Statement['params']): string => {
    const first = offset
    offset += params.length
    return sql.replace(/\?(\d+)/g, (_, n: string) => `$${first + Number(n)}`)
  }
  const relations = [closureCte('$1')]
  if (seed !== undefined) relations.push(placed(doomedCte('postgres', seed.sql), seed.params))
  const columns = statements.map(({ sql, params }, i) => {
    const own = placed(expandLists('postgres', sql), params)
    return `(SELECT COALESCE(json_agg(t), '[]'::json) FROM (${own}) t) AS r${i}`
  })
  const known = 'CASE WHEN EXISTS (SELECT 1 FROM closure) THEN 1 ELSE 0 END AS known'
  return (
    `WITH RECURSIVE ${relations.join(', ')} SELECT s.epoch, s.seq, ${[known, ...columns].join(', ')} ` +
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
