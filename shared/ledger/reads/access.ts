// What the caller may do with one resource: the facts of every "need P".
import type { Query } from '../store.ts'

export type Access = {
  readonly exists: boolean
  /** An effective role owns it. */
  readonly owns: boolean
  /** Privileges that effective roles hold on it. */
  readonly privileges: ReadonlySet<string>
}

/** Cheap on both engines: two key lookups and the caller's closure. It runs in every secret read. */
export const accessQuery = (resource: string): Query<Access> => accessWhere('?1', [resource])

/** To the policy that the record of a role belongs to; nothing when it belongs to none. */
export const policyAccessQuery = (role: string): Query<Access> =>
  accessWhere('(SELECT policy FROM roles WHERE id = ?1)', [role])

/** To the host factory of a token, which is known by the token's row only. */
export const factoryAccessQuery = (tokenId: string): Query<Access> =>
  accessWhere('(SELECT factory FROM host_factory_tokens WHERE id = ?1)', [tokenId])

function accessWhere(resource: string, params: readonly string[]): Query<Access> {
  return {
    sql:
      "SELECT 'owner' AS what, CASE WHEN owner IN (SELECT id FROM closure) THEN 'yes' ELSE 'no' END AS value " +
      `FROM resources WHERE id = ${resource} ` +
      "UNION ALL SELECT 'privilege' AS what, privilege AS value FROM permissions " +
      `WHERE resource = ${resource} AND role IN (SELECT id FROM closure)`,
    params,
    read(rows) {
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
    },
  }
}
