// Where the log of a node ends, looked at without changing anything: for people who compare (cluster 8).
import type { Held } from '../failover/hands.ts'
import { diskOf } from './data.ts'
import type { Instance } from './instance.ts'
import { callPeer, type NodeTls } from './peer.ts'
import { systemIdOf, timelineOf } from './recovery.ts'
import type { Address } from './settings.ts'
import { type History, type LogEnd, timelineAt } from './timeline.ts'

const END = `SELECT (CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
  ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint AS received`

export type OwnLog = LogEnd & Held

/** Undefined: there is no data here. */
export async function lookHere(instance: Instance, node: string): Promise<OwnLog | undefined> {
  if (!instance.holds()) return undefined
  const [row] = await instance.asker.ask(END)
  const received = Number(row!.received)
  const timeline = await timelineOf(instance, received)
  const disk = await diskOf(instance.room, node)
  return { systemId: await systemIdOf(instance), timeline, end: received, disk, received }
}

export type PeerLog = LogEnd & { readonly history: History; readonly inRecovery: boolean }

/** Of another node, by the protocol of replication. Errors: what the connection says. */
export async function lookThere(
  address: Address,
  tls: NodeTls | undefined,
  name: string,
  signal: AbortSignal,
): Promise<PeerLog> {
  const peer = await callPeer(address, tls, name, signal)
  try {
    const found = await peer.identify()
    const history = await peer.history(found.timeline)
    return { ...found, history, timeline: timelineAt(history, found.end) }
  } finally {
    peer.close()
  }
}
