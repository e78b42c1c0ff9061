// Deletions made explicit: no database cascades, so every row that goes is a change (P1, policy 1).
import { splitId } from '../id/resource-id.ts'
import { keyText } from '../ledger/change.ts'
import { type DoomedTable, dependsOn } from '../ledger/reads/policy.ts'
import type { Row } from '../ledger/tables.ts'
import { PolicyError } from './errors.ts'
import type { Resolved } from './resolve.ts'
import type { DefinedRows } from './rows.ts'
import { policyTables, type Tables } from './tables.ts'

/** PUT: rows this policy defined and the text no longer does; records take with them what depends on them. */
export function removeUndeclared(after: Tables, policy: string, defined: DefinedRows): void {
  const gone: string[] = []
  for (const table of policyTables) {
    const kept = new Set(defined[table].map((row) => keyText(table, row as Row)))
    for (const [key, row] of after[table]) {
      if (row.policy !== policy || kept.has(key)) continue
      if (table === 'roles' || table === 'resources') gone.push(row.id as string)
      else after[table].delete(key)
    }
  }
  cascade(after, gone)
}

/** After everything else, so that within one document a deletion always wins. Throws `PolicyError`. */
export function runDeletions(
  after: Tables,
  policy: string,
  { denies, revokes, deletes }: Pick<Resolved, 'denies' | 'revokes' | 'deletes'>,
): void {
  for (const { resource, role, privilege } of denies) {
    const key = keyText('permissions', { resource, role, privilege })
    if (after.permissions.get(key)?.policy === policy) after.permissions.delete(key)
  }
  for (const { role, member } of revokes) {
    const key = [0, 1]
      .map((ownership) => keyText('memberships', { role, member, ownership }))
      .find((candidate) => after.memberships.get(candidate)?.policy === policy)
    if (key !== undefined) after.memberships.delete(key)
  }
  for (const id of deletes) mustBeDeletable(id)
  cascade(after, deletes)
}

/** An account without its admin or its root policy is closed to everybody (conformance note 30). */
function mustBeDeletable(id: string): void {
  const { kind, identifier } = splitId(id)
  if ((kind === 'user' && identifier === 'admin') || (kind === 'policy' && identifier === 'root')) {
    throw new PolicyError(`The ${kind} '${identifier}' may not be deleted`)
  }
}

/** Deletes records and, recursively, what they own, what they defined, and every row about them. */
function cascade(after: Tables, ids: readonly string[]): void {
  if (ids.length === 0) return
  const below = childrenIn(after)
  const gone = new Set<string>()
  const waiting = [...ids]
  while (waiting.length > 0) {
    const id = waiting.pop()!
    if (gone.has(id)) continue
    gone.add(id)
    for (const child of below.get(id) ?? []) waiting.push(child)
  }
  for (const [table, columns] of Object.entries(dependsOn) as [DoomedTable, readonly string[]][]) {
    for (const [key, row] of after[table]) {
      if (columns.some((column) => gone.has(row[column] as string))) after[table].delete(key)
    }
  }
}

/** By id: the records it owns and those it defined. */
function childrenIn({ resources, roles }: Tables): ReadonlyMap<string, readonly string[]> {
  const below = new Map<string, string[]>()
  const add = (parent: Row[string] | undefined, id: string): void => {
    if (typeof parent !== 'string' || parent === id) return
    const children = below.get(parent)
    if (children === undefined) below.set(parent, [id])
    else children.push(id)
  }
  for (const row of resources.values()) {
    add(row.owner, row.id as string)
    add(row.policy, row.id as string)
  }
  for (const row of roles.values()) add(row.policy, row.id as string)
  return below
}
