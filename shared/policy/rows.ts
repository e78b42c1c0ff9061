// Resolved records → the rows that a document defines (policy 1, 3).
import { limits } from '../base/limits.ts'
import { kindOf, makeId } from '../id/resource-id.ts'
import type { RowOf } from '../ledger/tables.ts'
import { PolicyError } from './errors.ts'
import { bounded, type Resolved, type ResolvedRecord } from './resolve.ts'

export type PublicKey = { readonly id: string; readonly owner: string; readonly line: string }

export type DefinedRows = {
  readonly roles: RowOf<'roles'>[]
  /** `words` is filled in when all annotations are known. */
  readonly resources: RowOf<'resources'>[]
  readonly memberships: RowOf<'memberships'>[]
  readonly permissions: RowOf<'permissions'>[]
  readonly annotations: RowOf<'annotations'>[]
  readonly publicKeys: PublicKey[]
}

/** `policy`: the document that is loaded; every row carries it. */
export function definedRows(resolved: Resolved, policy: string, now: number): DefinedRows {
  const rows: DefinedRows = {
    roles: [],
    resources: [],
    memberships: [],
    permissions: [],
    annotations: [],
    publicKeys: resolved.records.flatMap(publicKeysOf),
  }
  for (const record of resolved.records) addRecord(rows, record, policy, now)
  for (const { id, owner } of rows.publicKeys) {
    rows.resources.push({ id, owner, policy, created_at: now, words: '' })
  }
  for (const { role, member, admin } of resolved.grants) {
    rows.memberships.push({ role, member, ownership: 0, admin_option: admin ? 1 : 0, policy })
  }
  for (const { role, privilege, resource } of resolved.permits) {
    rows.permissions.push({ resource, role, privilege, policy })
  }
  return rows
}

function addRecord(rows: DefinedRows, record: ResolvedRecord, policy: string, now: number): void {
  const { id, owner } = record
  if (record.role) rows.roles.push({ id, policy, created_at: now })
  if (record.resource) rows.resources.push({ id, owner, policy, created_at: now, words: '' })
  if (record.role && record.resource) {
    rows.memberships.push({ role: id, member: owner, ownership: 1, admin_option: 1, policy })
  }
  for (const [name, value] of record.annotations) rows.annotations.push({ resource: id, name, value, policy })
  for (const layer of record.layers) {
    rows.memberships.push({ role: layer, member: id, ownership: 0, admin_option: 0, policy })
  }
}

/** `<algorithm> <base64> <name>`: the name is the rest of the line. */
function publicKeysOf({ id, owner, publicKeys }: ResolvedRecord): PublicKey[] {
  return publicKeys.map((line) => {
    const parts = /^\s*\S+\s+\S+\s+(\S.*?)\s*$/.exec(line)
    if (parts === null) throw new PolicyError('Invalid public key format')
    const [account = '', , ...user] = id.split(':')
    const key = makeId(account, 'public_key', `${kindOf(id)}/${user.join(':')}/${parts[1]}`)
    bounded('id', key, limits.idBytes)
    return { id: key, owner, line }
  })
}
