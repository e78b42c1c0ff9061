// A record that gets another owner or more annotations by a call of its own. A text changes only what its own policy
// defined (policy 5); this changes the record whichever policy did, and who defined it stays.
import { type Change, put, remove } from '../ledger/change.ts'
import { searchWords } from '../ledger/search.ts'
import type { RowOf } from '../ledger/tables.ts'

/** A record's own rows. */
export type HeldRecord = {
  readonly resources: readonly RowOf<'resources'>[]
  /** None when it is no role. */
  readonly roles: readonly RowOf<'roles'>[]
  readonly annotations: readonly RowOf<'annotations'>[]
  /** Memberships of owners in its role. */
  readonly ownerships: readonly RowOf<'memberships'>[]
}

/** `owner`: undefined to leave it. `annotations` are added to those that are there. */
export function amendments(
  held: HeldRecord,
  owner: string | undefined,
  annotations: readonly (readonly [name: string, value: string])[],
): Change[] {
  const before = held.resources[0]!
  const rows = new Map(held.annotations.map((row) => [row.name, row]))
  const said = annotations
    .filter(([name, value]) => rows.get(name)?.value !== value)
    .map(([name, value]) => ({ policy: before.policy, ...rows.get(name), resource: before.id, name, value }))
  for (const row of said) rows.set(row.name, row)
  const after = { ...before, owner: owner ?? before.owner, words: searchWords(before.id, [...rows.values()]) }
  return [
    ...(after.owner === before.owner && after.words === before.words ? [] : [put('resources', after)]),
    ...(owner === undefined || held.roles.length === 0 ? [] : movedOwnership(held, owner)),
    ...said.map((row) => put('annotations', row)),
  ]
}

/** The membership of the owner goes with the record (policy 1). */
function movedOwnership({ resources, ownerships }: HeldRecord, owner: string): Change[] {
  const { id, policy } = resources[0]!
  const row = { role: id, member: owner, ownership: 1, admin_option: 1, policy }
  return [
    ...ownerships
      .filter(({ member }) => member !== owner)
      .map(({ member }) => remove('memberships', { role: id, member, ownership: 1 })),
    ...(ownerships.some(({ member }) => member === owner) ? [] : [put('memberships', row)]),
  ]
}
