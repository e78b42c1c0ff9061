// What the caller may do with one resource: the facts of every "need P".
import type { Query } from '../store.ts'
import type { Row } from '../tables.ts'

export type Access = {
  readonly exists: boolean
  /** An effective role owns it. */
  readonly owns: boolean
  /** Privileges that effective roles hold on it. */
  readonly privileges: ReadonlySet<string>
}

/** More of the resource `r`, read with it: columns of the first row, and where they come from. */
export type Beside = { readonly columns: readonly string[]; readonly join: string }

/** One row for the resource, and one for each privilege; `resource`: an expression. `accessOf` reads them. */
export const accessSql = (resource: string, { columns, join }: Beside = { columns: [], join: '' }): string =>
  `SELECT ${["'owner' AS what", "CASE WHEN r.owner IN (SELECT id FROM closure) THEN 'yes' ELSE 'no' END AS value", ...columns].join(', ')} ` +
  `FROM resources r ${join} WHERE r.id = ${resource} ` +
  `UNION ALL SELECT ${["'privilege' AS what", 'p.privilege AS value', ...columns.map(() => 'NULL')].join(', ')} ` +
  `FROM permissions p WHERE p.resource = ${resource} AND p.role IN (SELECT id FROM closure)`

// Texts are made once: stores find what they have prepared by them.
const toResource = accessSql('?1')
const toPolicyOfRole = accessSql('(SELECT policy FROM roles WHERE id = ?1)')
const toFactoryOfToken = accessSql('(SELECT factory FROM host_factory_tokens WHERE id = ?1)')

/** Cheap on both engines: two key lookups and the caller's closure. */
export const accessQuery = (resource: string): Query<Access> => ({
  sql: toResource,
  params: [resource],
  read: accessOf,
})

/** To the policy that the record of a role belongs to; nothing when it belongs to none. */
export const policyAccessQuery = (role: string): Query<Access> => ({
  sql: toPolicyOfRole,
  params: [role],
  read: accessOf,
})

/** To the host factory of a token, which is known by the token's row only. */
export const factoryAccessQuery = (tokenId: string): Query<Access> => ({
  sql: toFactoryOfToken,
  params: [tokenId],
  read: accessOf,
})

export function accessOf(rows: readonly Row[]): Access {
  let exists = false
  let owns = false
  const privileges = new Set<string>()
  for (const { what, value } of rows) {
    if (what === 'privilege') privileges.add(value as string)
    else {
      exists = true
      owns = value === 'yes'
    }
  }
  return { exists, owns, privileges }
}
