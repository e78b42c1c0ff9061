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
export function accessQuery(resource: string): Query<Access> {
  return {
    sql:
      "SELECT 'owner' AS what, CASE WHEN owner IN (SELECT id FROM closure) THEN 'yes' ELSE 'no' END AS value " +
      'FROM resources WHERE id = ?1 ' +
      "UNION ALL SELECT 'privilege' AS what, privilege AS value FROM permissions " +
      'WHERE resource = ?1 AND role IN (SELECT id FROM closure)',
    params: [resource],
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
