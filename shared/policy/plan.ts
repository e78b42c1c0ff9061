// The rows of a document, the rows that are there, and a mode → what changes (policy 5).
//
// The plan works on a copy of all rows the load can touch: it replaces, shadows, inserts and deletes there in the
// order of the specification, and what differs at the end are the changes. Nothing is reported that is not so.

import { kindOf, notFoundWords } from '../id/resource-id.ts'
import { type Change, keyText } from '../ledger/change.ts'
import type { LoadMode, policyBatch } from '../ledger/reads/policy.ts'
import { searchWords } from '../ledger/search.ts'
import type { FactsOf } from '../ledger/store.ts'
import { type Row, type RowOf, type TableName, tables } from '../ledger/tables.ts'
import { removeUndeclared, runDeletions } from './cascade.ts'
import { PolicyError } from './errors.ts'
import type { Resolved } from './resolve.ts'
import type { DefinedRows } from './rows.ts'
import { type PolicyTable, policyTables, type Tables } from './tables.ts'

export type PolicyFacts = FactsOf<ReturnType<typeof policyBatch>>

/** Seals and draws: what a plan needs besides rows. */
export type PlanTools = {
  readonly newApiKey: (role: string) => { readonly key: string; readonly sealed: Uint8Array }
  readonly sealSecret: (resource: string, version: number, value: string) => Uint8Array
  readonly openSecret: (resource: string, version: number, sealed: Uint8Array) => string
  /** Hash of the password that the operator gives a user; undefined: none. */
  readonly passwordOf: (user: string) => string | undefined
  /** How many values of a public key are kept. */
  readonly secretVersions: number
}

export type Reported = {
  readonly operation: 'add' | 'change' | 'remove'
  readonly table: TableName
  readonly row: Row
}

export type Plan = {
  readonly changes: readonly Change[]
  /** What the audit says of them. */
  readonly reported: readonly Reported[]
  /** API keys of new users and hosts, by role. */
  readonly created: ReadonlyMap<string, string>
  /** False when the text deletes the policy it was loaded into, or its owner: no version of it can be kept. */
  readonly policyRemains: boolean
}

/** Throws `PolicyError` for a reference to what is not there. */
export function plan(
  mode: LoadMode,
  policy: string,
  resolved: Resolved,
  defined: DefinedRows,
  facts: PolicyFacts,
  tools: PlanTools,
): Plan {
  const before = tablesOf(facts)
  const after = copy(before)
  const created = new Map<string, string>()
  if (mode === 'PUT') removeUndeclared(after, policy, defined)
  checkReferences(after, resolved, defined)
  for (const table of policyTables) mergeRows(after, table, defined[table], mode, policy)
  createCredentials(after, policy, resolved, mode, tools, created)
  storePublicKeys(after, policy, defined, tools)
  if (mode !== 'POST') {
    moveOwnerships(before, after)
    runDeletions(after, policy, resolved)
  }
  writeWords(before, after, resolved, defined)
  for (const role of created.keys()) if (!after.roles.has(role)) created.delete(role)
  return { ...difference(before, after), created, policyRemains: after.resources.has(policy) }
}

function tablesOf(facts: PolicyFacts): Tables {
  const found = emptyTables()
  const add = (table: TableName, ...lists: readonly (readonly object[])[]): void => {
    for (const list of lists) for (const row of list) found[table].set(keyText(table, row as Row), row as Row)
  }
  add('roles', facts.roles, facts.ownRoles, facts.doomedRoles)
  add('resources', facts.resources, facts.ownResources, facts.doomedResources)
  add('memberships', facts.memberships, facts.ownMemberships, facts.doomedMemberships)
  add('permissions', facts.permissions, facts.ownPermissions, facts.doomedPermissions)
  add('annotations', facts.annotations, facts.ownAnnotations, facts.doomedAnnotations)
  add('credentials', facts.credentials, facts.doomedCredentials)
  add('secrets', facts.secrets, facts.doomedSecrets)
  add('policy_versions', facts.doomedVersions)
  add('host_factory_tokens', facts.doomedTokens)
  add('authenticators', facts.doomedAuthenticators)
  add('issuers', facts.doomedIssuers)
  return found
}

const names = Object.keys(tables) as TableName[]

const emptyTables = (): Tables =>
  Object.fromEntries(names.map((name) => [name, new Map<string, Row>()])) as unknown as Tables

const copy = (from: Tables): Tables =>
  Object.fromEntries(names.map((name) => [name, new Map(from[name])])) as unknown as Tables

function checkReferences(after: Tables, resolved: Resolved, defined: DefinedRows): void {
  const roles = new Set([...after.roles.keys(), ...defined.roles.map(({ id }) => id)])
  const resources = new Set([...after.resources.keys(), ...defined.resources.map(({ id }) => id)])
  const wanted = (known: ReadonlySet<string>, id: string): void => {
    if (!known.has(id)) throw new PolicyError(notFoundWords(id))
  }
  for (const { owner, layers } of resolved.records) {
    wanted(roles, owner)
    for (const layer of layers) wanted(roles, layer)
  }
  for (const { role, member } of resolved.grants) {
    wanted(roles, role)
    wanted(roles, member)
  }
  for (const { role, resource } of resolved.permits) {
    wanted(roles, role)
    wanted(resources, resource)
  }
}

/** Rows of other policies are shadowed: never changed, and no error. POST changes nothing that is there. */
function mergeRows(
  after: Tables,
  table: PolicyTable,
  rows: DefinedRows[PolicyTable],
  mode: LoadMode,
  policy: string,
): void {
  const said = new Set<string>()
  for (const row of rows as readonly Row[]) {
    // An ownership goes with its record: one that was shadowed or left as it is keeps its owner.
    if (row.ownership === 1 && after.resources.get(row.role as string)?.owner !== row.member) continue
    const key = keyText(table, row)
    // A text may say a thing twice; the first one counts (policy 4.6).
    if (said.has(key)) continue
    said.add(key)
    const held = after[table].get(key)
    if (held === undefined) after[table].set(key, row)
    else if (held.policy === policy && mode !== 'POST') {
      // When a record was made stays; its words are computed at the end.
      const kept = 'created_at' in held ? { created_at: held.created_at! } : {}
      const words = 'words' in held ? { words: held.words! } : {}
      after[table].set(key, { ...row, ...kept, ...words })
    }
  }
}

/** An owner that changed takes the ownership membership from the one before (policy 1). */
function moveOwnerships(before: Tables, after: Tables): void {
  for (const [id, resource] of after.resources) {
    const held = before.resources.get(id)
    if (held === undefined || held.owner === resource.owner) continue
    after.memberships.delete(keyText('memberships', { role: id, member: held.owner!, ownership: 1 }))
  }
}

function createCredentials(
  after: Tables,
  policy: string,
  resolved: Resolved,
  mode: LoadMode,
  tools: PlanTools,
  created: Map<string, string>,
): void {
  for (const { id, role, restrictedTo } of resolved.records) {
    const kind = kindOf(id)
    if (!role || (kind !== 'user' && kind !== 'host')) continue
    if (after.roles.get(id)?.policy !== policy) continue
    const held = after.credentials.get(id) as RowOf<'credentials'> | undefined
    const password = (kind === 'user' ? tools.passwordOf(id) : undefined) ?? held?.password ?? null
    if (held === undefined) {
      const { key, sealed } = tools.newApiKey(id)
      created.set(id, key)
      after.credentials.set(id, {
        role: id,
        api_key: sealed,
        password,
        restricted_to: JSON.stringify(unique(restrictedTo)),
        expires_at: null,
        rotated_at: null,
      })
      continue
    }
    const before = JSON.parse(held.restricted_to) as string[]
    const next = JSON.stringify(mode === 'POST' ? unique([...before, ...restrictedTo]) : unique(restrictedTo))
    if (next !== held.restricted_to || password !== held.password)
      after.credentials.set(id, { ...held, restricted_to: next, password })
  }
}

const unique = (texts: readonly string[]): string[] => [...new Set(texts)]

/** Each line is the newest value of its key; an unchanged one adds no version. Shadowed keys keep theirs. */
function storePublicKeys(after: Tables, policy: string, defined: DefinedRows, tools: PlanTools): void {
  const held = Map.groupBy(after.secrets.values() as Iterable<RowOf<'secrets'>>, ({ resource }) => resource)
  for (const versions of held.values()) versions.sort((a, b) => a.version - b.version)
  for (const { id, line } of defined.publicKeys) {
    if (after.resources.get(id)?.policy !== policy) continue
    const versions = held.get(id) ?? []
    const newest = versions.at(-1)
    if (newest !== undefined && tools.openSecret(id, newest.version, newest.sealed) === line) continue
    const version = (newest?.version ?? 0) + 1
    const row = { resource: id, version, sealed: tools.sealSecret(id, version, line), expires_at: null }
    after.secrets.set(keyText('secrets', row), row)
    versions.push(row)
    for (const old of versions.splice(0, Math.max(0, versions.length - tools.secretVersions))) {
      after.secrets.delete(keyText('secrets', old))
    }
    held.set(id, versions)
  }
}

/** Of what the text declares, and of records that it leaves but for an annotation. */
function writeWords(before: Tables, after: Tables, resolved: Resolved, defined: DefinedRows): void {
  const ids = new Set([...resolved.records, ...defined.publicKeys].map(({ id }) => id))
  for (const [key, { resource }] of before.annotations) {
    if (!after.annotations.has(key)) ids.add(resource as string)
  }
  const annotations = new Map<string, { name: string; value: string }[]>()
  for (const { resource, name, value } of after.annotations.values() as Iterable<RowOf<'annotations'>>) {
    const list = annotations.get(resource)
    if (list === undefined) annotations.set(resource, [{ name, value }])
    else list.push({ name, value })
  }
  for (const id of ids) {
    const row = after.resources.get(id)
    if (row === undefined) continue
    const words = searchWords(id, annotations.get(id) ?? [])
    if (words !== row.words) after.resources.set(id, { ...row, words })
  }
}

/** Deletions first: a row that moved may take a key that another one leaves. */
function difference(before: Tables, after: Tables): Pick<Plan, 'changes' | 'reported'> {
  const changes: Change[] = []
  const reported: Reported[] = []
  for (const table of names) {
    for (const [key, row] of before[table]) {
      if (after[table].has(key)) continue
      changes.push({ op: 'delete', table, key: keyOf(table, row) })
      reported.push({ operation: 'remove', table, row })
    }
  }
  for (const table of names) {
    for (const [key, row] of after[table]) {
      const held = before[table].get(key)
      if (held !== undefined && sameRow(held, row)) continue
      changes.push({ op: 'put', table, row })
      // Search words follow the annotations, which are reported themselves.
      const onlyWords = held !== undefined && sameRow(held, { ...row, words: held.words ?? null })
      if (!onlyWords) reported.push({ operation: held === undefined ? 'add' : 'change', table, row })
    }
  }
  return { changes, reported }
}

function keyOf(table: TableName, row: Row): Row {
  return Object.fromEntries(tables[table].key.map((column) => [column, row[column]!]))
}

function sameRow(a: Row, b: Row): boolean {
  return a === b || Object.keys(a).every((column) => a[column] === b[column])
}
