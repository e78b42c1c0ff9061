// Ports of the ledger: reading at one position, and submitting a decision to the one writer.
import type { Change } from './change.ts'
import type { Position } from './position.ts'
import type { Cell, Row } from './tables.ts'

/**
 * SQL in the narrow dialect both engines share (P4): parameters `?1`, `?2`…; integers for flags and times; no
 * booleans in results. These names are provided by the door of each engine:
 * - `closure`: a relation with one column `id`: the caller's role and every role it holds, directly or not
 *   (policy 7). Empty when the caller's role does not exist. Use it as a table: `SELECT id FROM closure`.
 * - `list(?n)`: a relation with one column `value`, from a parameter that is a JSON array of texts:
 *   `WHERE id IN (SELECT value FROM list(?1))`.
 * - `held_by(name)`, `members_of(name)`: as the second part of the recursive relation `name`, the roles that those in
 *   it hold, their members: `WITH RECURSIVE name(id) AS (SELECT … UNION held_by(name))`.
 */
export type Statement = {
  readonly sql: string
  readonly params: readonly Cell[]
  /** Result columns that hold bytes: Postgres returns a batch as JSON and must know. */
  readonly bytes?: readonly string[]
  /** The statement may use `doomed`. It is about changes, so where nobody commits it is not run and has no rows. */
  readonly doomed?: Seed
  /** A store that knows when its data changed may answer with the rows of the last time: the same ones. */
  readonly kept?: true
}

/** For what many requests ask of few records: of the same rows the same fact. A text that is kept is read in one way. */
export const kept = <T>(query: Query<T>): Query<T> => ({ ...query, kept: true })

/**
 * Records that are to go, as a statement that yields `id`. `doomed` is a relation with one column `id`: these, and
 * what goes with them because they own or define it. Found once for all statements of a batch, which share one seed.
 */
export type Seed = Pick<Statement, 'sql' | 'params'>

/** A statement and how its rows become a fact. */
export type Query<T> = Statement & { readonly read: (rows: readonly Row[]) => T }

/** The facts that a decision needs, by name. */
export type Batch = { readonly [name: string]: Query<unknown> }
export type FactsOf<B extends Batch> = { readonly [N in keyof B]: B[N] extends Query<infer T> ? T : never }

export type ReadRequest = {
  readonly statements: readonly Statement[]
  /** The role whose closure the statements mean; undefined for an anonymous caller (an empty closure). */
  readonly caller: string | undefined
}

export type Snapshot = {
  /** Rows of each statement, in order. All belong to exactly this position. */
  readonly rows: readonly (readonly Row[])[]
  readonly position: Position
  /** Time since the data was known to be the Leader's newest; 0 at the Leader. */
  readonly ageMs: number
  /** False when the caller's role does not exist (any more). */
  readonly callerKnown: boolean
}

export interface ReadStore {
  /** One read transaction. SQLite answers at once, Postgres with a promise: `await` serves both. */
  read(request: ReadRequest): Snapshot | Promise<Snapshot>
}

/** What the writer needs of a decision, whatever else it carries. */
export type Decision = {
  readonly changes: readonly Change[]
  /** RFC 5424 lines, stored in the transaction's audit outbox: durable with the commit (I9). */
  readonly records: readonly string[]
}

export type Command<D extends Decision> = ReadRequest & {
  /** Runs inside the writer's transaction, on rows read there. Pure and synchronous. */
  readonly decide: (snapshot: Snapshot) => D
  /**
   * Commands of one lane run one at a time and may wait `limits.policyLoadWaitMs` for each other; after that
   * `submit` rejects with `policy_conflict`. Policy loads of one account share a lane.
   */
  readonly lane?: string
}

export type Committed<D extends Decision> = {
  readonly decision: D
  /** The position of the commit; of the data read, when nothing changed. */
  readonly position: Position
  /** True when the decision had changes and they have a position of their own. */
  readonly changed: boolean
}

/** To be tried and taken back: `watch` is read before the changes and after them, with the caller's closure of then. */
export type Rehearsal = {
  readonly changes: readonly Change[]
  readonly watch: readonly Statement[]
}

export type Rehearsed<R extends Rehearsal> = {
  readonly decision: R
  readonly position: Position
  /** Rows of each watched statement. */
  readonly before: Snapshot['rows']
  readonly after: Snapshot['rows']
}

export interface Ledger {
  /**
   * Runs facts and decision inside the writer's transaction; resolves when changes and audit records are
   * durable. Rejects with `DomainError`: `unavailable` (nothing was stored, or `outcome unknown` in the
   * message), `policy_conflict`, `stale_epoch`. An error thrown by `decide` rolls back this command alone.
   */
  submit<D extends Decision>(command: Command<D>): Promise<Committed<D>>
  /**
   * The same in a transaction that is rolled back, while nobody writes. Rejects with `unavailable`, and with
   * `policy_conflict` when a write is under way for too long.
   */
  rehearse<R extends Rehearsal>(command: Trial<R>): Promise<Rehearsed<R>>
}

export type Trial<R extends Rehearsal> = ReadRequest & { readonly decide: (snapshot: Snapshot) => R }

export function statementsOf(batch: Batch): Statement[] {
  return Object.values(batch)
}

export function readFacts<B extends Batch>(batch: B, rows: Snapshot['rows']): FactsOf<B> {
  const facts: Record<string, unknown> = {}
  Object.keys(batch).forEach((name, i) => {
    facts[name] = factOf(batch[name]!, rows[i] ?? [])
  })
  return facts as FactsOf<B>
}

const known = new WeakMap<readonly Row[], { readonly sql: string; readonly fact: unknown }>()

function factOf(query: Query<unknown>, rows: readonly Row[]): unknown {
  if (!query.kept) return query.read(rows)
  let entry = known.get(rows)
  if (entry?.sql !== query.sql) {
    entry = { sql: query.sql, fact: query.read(rows) }
    known.set(rows, entry)
  }
  return entry.fact
}
