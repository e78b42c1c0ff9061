// The Leader's side of the audit stream (cluster 12.6).
import { DomainError } from '#shared/base/errors.ts'
import { decodeAuditToLeader, encodeMessage, PROTOCOL } from '#shared/replication/messages.ts'
import type { Wire } from '#shared/replication/wire.ts'
import type { AuditStore } from './store.ts'

export type ReceiverOptions = {
  readonly store: AuditStore
  /** A gap or a fork: somebody's history is not what it was. */
  readonly alarm: (what: 'gap' | 'fork', node: string, seq: number) => void
}

/** Serves one Follower queue until its wire ends; `node` is who the entrance says it is. */
export async function receiveAudit(options: ReceiverOptions, node: string, wire: Wire): Promise<void> {
  let incarnation: string | undefined
  for await (const frame of wire.messages()) {
    const message = decodeAuditToLeader(frame)
    if (message.type === 'hello') {
      if (message.protocol !== PROTOCOL) {
        await wire.send(encodeMessage({ type: 'refused', reason: 'VERSION_UNSUPPORTED', seq: 0 }))
        return wire.close('VERSION_UNSUPPORTED')
      }
      incarnation = message.incarnation
      const seq = await options.store.held({ node, incarnation })
      await wire.send(encodeMessage({ type: 'stored', seq }))
      continue
    }
    if (incarnation === undefined) throw new DomainError('bad_request', 'audit records came before hello')
    const received = await options.store.receive({ node, incarnation }, message.records)
    if (received.kind !== 'stored') {
      options.alarm(received.kind, node, received.seq)
      await wire.send(encodeMessage({ type: 'refused', reason: received.kind, seq: received.seq }))
      return wire.close(received.kind)
    }
    await wire.send(encodeMessage({ type: 'stored', seq: received.seq }))
  }
}
