// Policy loads without a server: the routes themselves, on SQLite in memory, with what must hold after every load.
import Database from 'better-sqlite3'
import type { Outcome } from '#shared/api/outcome.ts'
import type { RouteRequest } from '#shared/api/request.ts'
import { V2_TYPE } from '#shared/api/respond.ts'
import type { AnyRoute } from '#shared/api/route.ts'
import { branchRoutes } from '#shared/api/routes/branches.ts'
import { effectivePolicyRoutes } from '#shared/api/routes/effective-policy.ts'
import { policyRoutes } from '#shared/api/routes/policies.ts'
import { type ApiSettings, defaultApiSettings } from '#shared/api/settings.ts'
import type { AuditEvent } from '#shared/audit/event.ts'
import { concat, fromUtf8, utf8 } from '#shared/base/bytes.ts'
import type { Json } from '#shared/base/json.ts'
import { wall } from '#shared/base/time.ts'
import { identifierOf } from '#shared/id/resource-id.ts'
import { type Change, deleteSql, keyParams, keyText, putParams, putSql } from '#shared/ledger/change.ts'
import { closureCte, doomedCte, expandMacros } from '#shared/ledger/reads/closure.ts'
import type { LoadMode } from '#shared/ledger/reads/policy.ts'
import { createIndexSql, createTableSql } from '#shared/ledger/schema.ts'
import { searchWords } from '#shared/ledger/search.ts'
import { type Batch, type FactsOf, readFacts, type Statement, statementsOf } from '#shared/ledger/store.ts'
import {
  type Cell,
  columnsOf,
  type Row,
  type RowOf,
  type TableName,
  tableNames,
} from '#shared/ledger/tables.ts'
import { accountChanges } from '#shared/policy/bootstrap.ts'
import { readLoad } from '#shared/policy/load.ts'
import type { Keyring } from '#shared/secret/keyring.ts'

export const ADMIN = 'acme:user:admin'
export const ROOT = 'acme:policy:root'

export type LoadAnswer = {
  readonly status: number
  readonly body: Json | undefined
  readonly changes: readonly Change[]
  readonly audit: readonly AuditEvent[]
}

type LoadOptions = { readonly policy?: string; readonly as?: string; readonly query?: Record<string, string> }

/** Not secret at all: the record's id stands before the text, so that a value under another's id is seen. */
export const plainKeyring: Keyring = {
  seal: (record, plain) => concat(utf8(`${record}\n`), plain),
  open(record, sealed) {
    const prefix = utf8(`${record}\n`)
    if (!prefix.every((byte, i) => sealed[i] === byte)) throw new Error(`not sealed as ${record}`)
    return sealed.subarray(prefix.length)
  },
}

const noDigest = new Uint8Array(32)

/** SQLite's tables with the Leader's indexes: loads are planned as they are there. */
const leaderSchema = tableNames.flatMap((table) => [
  createTableSql('sqlite', table),
  ...createIndexSql('postgres', table),
])

/** A database with everything that was prepared on it: making one costs more than a load. */
type Store = { readonly database: Database.Database; readonly prepared: Map<string, Database.Statement> }

const idle: Store[] = []

function newStore(): Store {
  const database = new Database(':memory:')
  for (const sql of leaderSchema) database.exec(sql)
  return { database, prepared: new Map() }
}

/** `using account = new Account()` gives its store to the next one. */
export class Account {
  now = wall(1_000)
  readonly #store = idle.pop() ?? newStore()
  readonly #database = this.#store.database
  readonly #settings: ApiSettings
  #drawn = 0

  constructor(settings: Partial<ApiSettings> = {}) {
    this.#settings = { ...defaultApiSettings, ...settings }
    this.apply(accountChanges('acme', utf8('key of admin'), this.now))
  }

  [Symbol.dispose](): void {
    for (const table of tableNames) this.#prepared(`DELETE FROM ${table}`).run()
    idle.push(this.#store)
  }

  #prepared(sql: string): Database.Statement {
    const { database, prepared } = this.#store
    const held = prepared.get(sql) ?? database.prepare(sql)
    prepared.set(sql, held)
    return held
  }

  load(mode: LoadMode, text: string | Uint8Array, options: LoadOptions = {}): LoadAnswer {
    const outcome = this.#decide(mode, text, options)
    this.#mustBeRealDifferences(outcome.changes)
    this.apply(outcome.changes)
    return answerOf(outcome)
  }

  /** What the load would do; nothing is different afterwards. */
  dryRun(mode: LoadMode, text: string | Uint8Array, options: LoadOptions = {}): LoadAnswer {
    const outcome = this.#decide(mode, text, { ...options, query: { dryRun: 'true' } })
    const { tried } = outcome
    if (tried === undefined) return answerOf(outcome)
    const watched = (): FactsOf<Batch> => this.#facts(tried.watch, options.as ?? ADMIN)
    this.#database.exec('BEGIN')
    const before = watched()
    this.apply(tried.changes)
    const after = watched()
    this.#database.exec('ROLLBACK')
    return answerOf(tried.report(before, after))
  }

  /** The effective policy as YAML, or as JSON. */
  effective(options: LoadOptions & { readonly json?: boolean } = {}): {
    status: number
    text: string
    value: Json
  } {
    const { body, status } = this.#decide('GET', '', options)
    const text = body.kind === 'bytes' ? (fromUtf8(body.bytes) ?? '') : ''
    return { status, text, value: body.kind === 'json' ? body.value : null }
  }

  #facts(batch: Batch, as: string): FactsOf<Batch> {
    return readFacts(
      batch,
      statementsOf(batch).map((statement) => this.#query(statement, as)),
    )
  }

  #decide(
    method: LoadMode | 'GET',
    text: string | Uint8Array,
    options: LoadOptions & { readonly json?: boolean },
  ): Outcome {
    const { policy = 'root', as = ADMIN, query = {}, json = false } = options
    const route = [...policyRoutes, ...effectivePolicyRoutes].find((row) => row.method === method)!
    const request = {
      params: { account: 'acme', kind: 'policy', id: policy },
      query: new Map(Object.entries(query)),
      header: () => (json ? 'application/json' : undefined),
      body: typeof text === 'string' ? utf8(text) : text,
    }
    return this.#ask(route, request, as)
  }

  /** As V2 does it; the status. */
  deleteBranch(branch: string): number {
    const route = branchRoutes.find(({ method }) => method === 'DELETE')!
    const params = { account: 'acme', id: branch }
    const request = { params, query: new Map(), header: () => V2_TYPE, body: new Uint8Array() }
    const outcome = this.#ask(route, request, ADMIN)
    this.#mustBeRealDifferences(outcome.changes)
    this.apply(outcome.changes)
    return outcome.status
  }

  #ask(route: AnyRoute, request: RouteRequest, as: string): Outcome {
    const input = route.input(request, this.#settings, readLoad)
    this.now = wall(this.now + 1)
    const caller = { role: as, tokenIssuedAt: undefined, clientIp: '10.0.0.7', requestId: 'r' }
    const context = {
      caller,
      now: this.now,
      random: (length: number) => new Uint8Array(length).fill(++this.#drawn),
      keyring: plainKeyring,
      settings: this.#settings,
    }
    return route.decide(this.#facts(route.facts(input, caller, this.now), as), input, context, undefined)
  }

  apply(changes: readonly Change[]): void {
    const all = this.#database.transaction(() => {
      for (const change of changes) {
        if (change.op === 'put')
          this.#run(putSql(change.table), putParams(change.table, change.row, noDigest))
        else this.#run(deleteSql(change.table), keyParams(change.table, change.key))
      }
    })
    all()
  }

  rows<N extends TableName>(table: N): RowOf<N>[] {
    const columns = columnsOf(table).join(', ')
    return this.#prepared(`SELECT ${columns} FROM ${table}`).all().map(plainBytes) as RowOf<N>[]
  }

  /** Explains how SQLite would look up each statement of a load: for tests that no table is read whole. */
  plans(mode: LoadMode, text: string, policy = 'root'): { sql: string; steps: string[] }[] {
    const route = policyRoutes.find(({ method }) => method === mode)!
    const params = { account: 'acme', kind: 'policy', id: policy }
    const request = { params, query: new Map(), header: () => undefined, body: utf8(text) }
    const caller = { role: ADMIN, tokenIssuedAt: undefined, clientIp: '10.0.0.7', requestId: 'r' }
    const batch = route.facts(route.input(request, this.#settings, readLoad), caller, this.now)
    return statementsOf(batch).map((statement) => {
      const { sql, bound } = withClosure(statement, ADMIN)
      const steps = this.#database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(bound) as { detail: string }[]
      return { sql: statement.sql, steps: steps.map(({ detail }) => detail) }
    })
  }

  /** What every load must leave behind; a list of what does not hold. */
  faults(): string[] {
    const roles = new Set(this.rows('roles').map(({ id }) => id))
    const resources = new Map(this.rows('resources').map((row) => [row.id, row]))
    const annotations = Map.groupBy(this.rows('annotations'), ({ resource }) => resource)
    const found: string[] = []
    const must = (holds: boolean, fault: string): void => {
      if (!holds) found.push(fault)
    }
    for (const { id, owner, words } of resources.values()) {
      must(roles.has(owner), `${id} is owned by ${owner}, which is gone`)
      must(words === searchWords(id, annotations.get(id) ?? []), `the words of ${id} are stale`)
    }
    for (const { role, member } of this.rows('memberships')) {
      must(roles.has(role) && roles.has(member), `membership of ${member} in ${role} is left over`)
    }
    for (const { resource, role } of this.rows('permissions')) {
      must(roles.has(role) && resources.has(resource), `permission of ${role} on ${resource} is left over`)
    }
    for (const id of annotations.keys()) must(resources.has(id), `annotations of ${id} are left over`)
    for (const { role } of this.rows('credentials'))
      must(roles.has(role), `credentials of ${role} are left over`)
    for (const { resource } of this.rows('secrets')) {
      must(resources.has(resource), `values of ${resource} are left over`)
    }
    for (const { policy, version } of this.rows('policy_versions')) {
      must(resources.has(policy), `version ${version} of ${policy} is left over`)
    }
    for (const { factory } of this.rows('host_factory_tokens')) {
      must(roles.has(factory), `a token of ${factory} is left over`)
    }
    for (const table of ['roles', 'resources', 'memberships', 'permissions', 'annotations'] as const) {
      for (const row of this.rows(table)) {
        must(
          row.policy === null || resources.has(row.policy),
          `${keyText(table, row as Row)} is of no policy`,
        )
      }
    }
    return found
  }

  #query(statement: Statement, as: string): Row[] {
    const { sql, bound } = withClosure(statement, as)
    return this.#prepared(sql).all(bound).map(plainBytes)
  }

  #run(sql: string, params: readonly Cell[]): void {
    this.#prepared(sql).run(numbered(params))
  }

  /** A change is reported once, a deletion is of a row that is there, a put changes something. */
  #mustBeRealDifferences(changes: readonly Change[]): void {
    if (changes.length === 0) return
    const held = new Map(
      tableNames.flatMap((table) => this.rows(table).map((row) => [keyOf(table, row as Row), row as Row])),
    )
    const seen = new Set<string>()
    for (const change of changes) {
      const key = keyOf(change.table, change.op === 'put' ? change.row : change.key)
      if (seen.has(key)) throw new Error(`${key} changes twice`)
      seen.add(key)
      const before = held.get(key)
      if (change.op === 'delete' && before === undefined)
        throw new Error(`${key} is deleted and was not there`)
      if (change.op === 'put' && before !== undefined && sameCells(before, change.row)) {
        throw new Error(`${key} is put and was there`)
      }
    }
  }
}

const answerOf = ({ status, body, changes, audit }: Outcome): LoadAnswer => ({
  status,
  body: body.kind === 'json' ? body.value : undefined,
  changes,
  audit,
})

const keyOf = (table: TableName, row: Row): string => `${table} ${keyText(table, row)}`

const sameCells = (a: Row, b: Row): boolean =>
  Object.keys(a).every((column) => String(a[column]) === String(b[column]))

function withClosure(
  { sql, params, doomed }: Statement,
  role: string,
): { sql: string; bound: Record<number, Cell> } {
  const first = params.length
  const all = [...params, ...(doomed?.params ?? []), role]
  const relations = [closureCte('sqlite', `?${all.length}`)]
  if (doomed !== undefined) {
    const moved = doomedCte('sqlite', doomed.sql).replace(
      /\?(\d+)/g,
      (_, n: string) => `?${first + Number(n)}`,
    )
    relations.push(moved)
  }
  const provided = `WITH RECURSIVE ${relations.join(', ')}`
  const own = /^\s*WITH(?: RECURSIVE)?\b/
  const text = own.test(sql) ? sql.replace(own, `${provided},`) : `${provided} ${sql}`
  return { sql: expandMacros('sqlite', text), bound: numbered(all) }
}

const numbered = (params: readonly Cell[]): Record<number, Cell> =>
  Object.fromEntries(params.map((param, i) => [i + 1, param]))

/** better-sqlite3 returns Buffers; the rules know only bytes. */
function plainBytes(row: unknown): Row {
  const cells = row as Record<string, Cell>
  for (const column in cells) {
    const cell = cells[column]
    if (cell instanceof Uint8Array) cells[column] = new Uint8Array(cell)
  }
  return cells
}

/** `variable db/pw`: short forms for expectations. */
export const short = (id: string): string => `${id.split(':')[1]} ${identifierOf(id)}`
