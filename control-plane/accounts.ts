// A Leader accounts for what happened to its cluster (cluster 7.4, 13; 12.3): the audit has it once, however often it is
// told, and the record of a failover is signed.
import { type ChainEnd, type ChainedLine, chainStart, extend } from '#shared/audit/chain.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'
import { DomainError } from '#shared/base/errors.ts'
import { type SigningKey, signCompact } from '#shared/token/access-token.ts'
import type { AuditStore } from './audit/store.ts'
import type { Signature } from './coordination/orders.ts'
import { textOf } from './failover/record.ts'
import { accountOf, type Deed } from './operator/deeds.ts'

/** Of the JWS, so that no token and no receipt is taken for a record. */
export const RECORD_TYPE = 'failover-record'

/** Resolves when the audit has it; with the signature of a record. */
export type Account = (deed: Deed) => Promise<Signature | undefined>

export async function createAccounts(
  audit: AuditStore,
  key: SigningKey,
  node: string,
  cluster: string,
): Promise<Account> {
  const sign = await signCompact(key, RECORD_TYPE)
  return async (deed) => {
    // A stream of its own: numbered and chained, the same lines are stored once, also by two Leaders one after the other.
    const stream = { node: `cluster ${cluster}`, incarnation: deed.id }
    const received = await audit.receive(stream, linesOf(deed, cluster))
    if (received.kind !== 'stored')
      throw new DomainError('conflict', `the audit has something else about ${deed.id}`)
    if (deed.kind === 'note') return undefined
    return { node, kid: key.kid, jws: await sign(JSON.parse(textOf(deed.record)) as object) }
  }
}

function linesOf(deed: Deed, cluster: string): ChainedLine[] {
  const { at, events } = accountOf(deed, cluster)
  let end: ChainEnd = chainStart
  return events.map((event) => {
    const line = formatEvent(event, { timestamp: at, procid: deed.id })
    const prevHash = end.hash
    end = extend(end, line)
    return { seq: end.seq, prevHash, line }
  })
}
