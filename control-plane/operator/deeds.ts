// What happened to the cluster and is to stand in the audit, once each (cluster 12.3, 13): pure. Its lines are the same
// whenever they are made, so that who makes them again adds none.
import { clusterEvent } from '#shared/audit/cluster-event.ts'
import type { AuditEvent } from '#shared/audit/event.ts'
import type { View } from '../coordination/keys.ts'
import type { FailoverRecord, Note } from '../coordination/orders.ts'

/** `id`: of this deed and no other. */
export type Deed =
  | { readonly kind: 'record'; readonly id: string; readonly record: FailoverRecord }
  | { readonly kind: 'note'; readonly id: string; readonly note: Note }

/** Of those that no Leader has accounted for, the oldest first. */
export function deedsOf({ reigns, signatures, notes }: View): Deed[] {
  const records = [...reigns].flatMap(([epoch, { record }]): Deed[] =>
    record === undefined || signatures.has(epoch) ? [] : [{ kind: 'record', id: `epoch-${epoch}`, record }],
  )
  const sorted = [...notes.values()].sort((a, b) => a.at - b.at)
  return [...records, ...sorted.map((note): Deed => ({ kind: 'note', id: note.id, note }))]
}

/** `at`: milliseconds of the wall clock. */
export type Accounted = { readonly at: number; readonly events: readonly AuditEvent[] }

export function accountOf(deed: Deed, cluster: string): Accounted {
  if (deed.kind === 'note') {
    const { operation, by, node, why, at, error } = deed.note
    const event = clusterEvent({ operation, user: by, object: node ?? cluster, why, error })
    return { at, events: [event] }
  }
  const { epoch, how, order, leader, old, because, times } = deed.record
  const user = order?.by ?? leader.node
  const out = old === null || old === leader.node ? [] : [old]
  const left = how === 'switchover' ? ('demote' as const) : ('evict' as const)
  return {
    at: Date.parse(times.opened ?? times.triggered ?? '') || 0,
    events: [
      clusterEvent({ operation: 'promote', user, object: leader.node, epoch, why: because }),
      ...out.map((object) => clusterEvent({ operation: left, user, object, epoch, why: because })),
    ],
  }
}
