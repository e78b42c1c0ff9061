// The Leader's side of the audit stream (cluster 12.6).
import { DomainError } from '#shared/base/errors.ts'
import { decodeAuditToLeader, encodeMessage, PROTOCOL } from '#shared/replication/messages.ts'
import type { Wire } from '#shared/replication/wire.ts'
import type { AuditStore } from './store.ts'

export type AuditReceiver = {
  /** Serves one Follower queue until its wire ends; `node` is who the entrance says it is. */
  receive(node: string, wire: Wire): Promise<void>
  /** Records that wait at a Follower, as its connected queues last said; undefined when none is connected. */
  queued(node: string): number | undefined
}

export type ReceiverOptions = {
  readonly store: AuditStore
  /** A gap or a fork: somebody's history is not what it was. */
  readonly alarm: (what: 'gap' | 'fork', node: string, seq: number) => void
}

export function createAuditReceiver({ store, alarm }: ReceiverOptions): AuditReceiver {
  /** Bounded by the connections: what was said on a wire is forgotten with it. */
  const waiting = new Map<Wire, { readonly node: string; readonly records: number }>()

  async function serve(node: string, wire: Wire): Promise<void> {
    let incarnation: string | undefined
    for await (const frame of wire.messages()) {
      const message = decodeAuditToLeader(frame)
      if (message.type === 'hello') {
        if (message.protocol !== PROTOCOL) {
          await wire.send(encodeMessage({ type: 'refused', reason: 'VERSION_UNSUPPORTED', seq: 0 }))
          return wire.close('VERSION_UNSUPPORTED')
        }
        incarnation = message.incarnation
        const seq = await store.held({ node, incarnation })
        await wire.send(encodeMessage({ type: 'stored', seq }))
      } else if (message.type === 'ping') {
        waiting.set(wire, { node, records: message.queued })
        await wire.send(encodeMessage({ type: 'pong' }))
      } else {
        if (incarnation === undefined) throw new DomainError('bad_request', 'audit records came before hello')
        const received = await store.receive({ node, incarnation }, message.records)
        if (received.kind !== 'stored') {
          alarm(received.kind, node, received.seq)
          await wire.send(encodeMessage({ type: 'refused', reason: received.kind, seq: received.seq }))
          return wire.close(received.kind)
        }
        await wire.send(encodeMessage({ type: 'stored', seq: received.seq }))
      }
    }
  }

  return {
    receive: (node, wire) => serve(node, wire).finally(() => waiting.delete(wire)),
    queued(node) {
      const said = [...waiting.values()].filter((queue) => queue.node === node)
      return said.length === 0 ? undefined : said.reduce((sum, { records }) => sum + records, 0)
    },
  }
}
