// A policy text up to its transaction: read and resolved, with the ids whose rows the load can touch.
import { fromUtf8, isStorable } from '../base/bytes.ts'
import { makeId, splitId } from '../id/resource-id.ts'
import type { LoadMode, Touched } from '../ledger/reads/policy.ts'
import { PolicyError } from './errors.ts'
import { readPolicy } from './read.ts'
import { type Resolved, resolvePolicy } from './resolve.ts'
import { definedRows } from './rows.ts'

export type Loaded = {
  readonly text: string
  readonly resolved: Resolved
  readonly warnings: readonly string[]
}

/** The error travels as a value: whether the caller may know of it is decided later (policy 5). */
export type LoadRead =
  | Loaded
  | { readonly error: PolicyError }
  | { readonly blank: true }
  | { readonly deletes: true }

export function readLoad(body: Uint8Array, account: string, policy: string, mode: LoadMode): LoadRead {
  const text = fromUtf8(body)
  if (text === undefined) return { error: new PolicyError('The policy is not UTF-8 text') }
  if (!isStorable(text)) return { error: new PolicyError('The policy holds the character U+0000') }
  if (text.trim() === '') return { blank: true }
  try {
    const resolved = resolvePolicy(readPolicy(text), account, policy)
    // Rows are made once here as well, for the errors they may have.
    definedRows(resolved, policy, 0)
    const deletes = resolved.revokes.length + resolved.denies.length + resolved.deletes.length
    if (mode === 'POST' && deletes > 0) return { deletes: true }
    return { text, resolved, warnings: warningsOf(resolved) }
  } catch (error) {
    if (error instanceof PolicyError) return { error }
    throw error
  }
}

const nothing: Resolved = { records: [], grants: [], permits: [], revokes: [], denies: [], deletes: [] }

/** Of a node that loads no policies: whoever may load one is told so, whatever it says. */
export const notRead: LoadRead = { text: '', resolved: nothing, warnings: [] }

export function touchedBy(read: LoadRead, policy: string, mode: LoadMode): Touched {
  const resolved = 'resolved' in read ? read.resolved : nothing
  const { records, grants, permits, revokes, denies, deletes } = resolved
  const publicKeys = 'resolved' in read ? definedRows(resolved, policy, 0).publicKeys.map(({ id }) => id) : []
  return {
    policy,
    mode,
    planned: read !== notRead,
    declared: records.map(({ id }) => id),
    referenced: [
      policy,
      ...records.flatMap(({ owner, layers }) => [owner, ...layers]),
      ...grants.flatMap(({ role, member }) => [role, member]),
      ...permits.flatMap(({ role, resource }) => [role, resource]),
    ],
    grantedRoles: [
      ...grants.map(({ role }) => role),
      ...revokes.map(({ role }) => role),
      ...records.flatMap(({ layers }) => layers),
    ],
    permittedResources: [
      ...permits.map(({ resource }) => resource),
      ...denies.map(({ resource }) => resource),
    ],
    publicKeys,
    deleted: doomedBy(deletes, records, policy),
    remover: { privilege: 'update', of: [policy] },
  }
}

/**
 * Deletions run last, so they also reach what this very text gives to a deleted record. Owners come first. A record
 * that is given to an owner outside the text may go with it, which only the rows can tell: what depends on it is
 * read as well. The owners that records have by themselves, the policy and admin, do not go this way.
 */
function doomedBy(deletes: readonly string[], records: Resolved['records'], policy: string): string[] {
  if (deletes.length === 0) return []
  const declared = new Set(records.map(({ id }) => id))
  const byItself = new Set([...declared, policy, makeId(splitId(policy).account ?? '', 'user', 'admin')])
  const doomed = new Set(deletes)
  for (const { id, owner } of records) if (doomed.has(owner) || !byItself.has(owner)) doomed.add(id)
  return [...doomed]
}

const SUSPICIOUS = new Set(
  (
    'id owner body user annotations restricted_to permit deny role privileges resource grant revoke member host-factory ' +
    'layers layer variable kind mime_type delete record group host webservice'
  ).split(' '),
)

/** An annotation named like an attribute is probably meant as one (policy 8). */
function warningsOf({ records }: Resolved): string[] {
  const names = new Set(records.flatMap(({ annotations }) => annotations.map(([name]) => name)))
  return [...names]
    .filter((name) => SUSPICIOUS.has(name))
    .map(
      (name) =>
        `Annotation '${name}' matches a known policy attribute. It is stored as an annotation and does not act as the attribute.`,
    )
}

export const policyId = (account: string, identifier: string): string => makeId(account, 'policy', identifier)
