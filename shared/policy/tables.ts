// The rows that a load works on, by table and key.
import type { Row, TableName } from '../ledger/tables.ts'

export type Tables = { readonly [T in TableName]: Map<string, Row> }

/** Tables whose rows a policy text defines; each row carries the policy. */
export const policyTables = ['roles', 'resources', 'memberships', 'permissions', 'annotations'] as const
export type PolicyTable = (typeof policyTables)[number]
