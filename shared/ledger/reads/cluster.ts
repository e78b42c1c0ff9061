// Nodes that the policy expects in a cluster (cluster 7.1).
import type { Query } from '../store.ts'

/** Whether a policy `conjur/cluster/<name>` has this host, and its layer is granted to it. */
export const clusterHostQuery = (account: string, node: string): Query<boolean> => ({
  sql:
    'SELECT m.role AS role FROM memberships m JOIN roles h ON h.id = m.member ' +
    "WHERE substr(m.role, 1, length(?1)) = ?1 AND m.member = replace(m.role, ?2, ?3) || '/' || ?4 LIMIT 1",
  params: [
    `${account}:layer:conjur/cluster/`,
    `${account}:layer:conjur/cluster/`,
    `${account}:host:conjur/cluster/`,
    node,
  ],
  read: (rows) => rows.length > 0,
})
