// A signed receipt for every write: what was acknowledged, by whom, at which position (cluster 6.4).
import type { Clock } from '#shared/base/time.ts'
import { format, type Position } from '#shared/ledger/position.ts'
import { type SigningKey, signCompact } from '#shared/token/access-token.ts'

/** Compact JWS over position, request id and time, under the node's token key. */
export async function createReceipts(
  key: SigningKey,
  clock: Clock,
): Promise<(position: Position, requestId: string) => Promise<string>> {
  const sign = await signCompact(key)
  return (position, requestId) =>
    sign({ position: format(position), request_id: requestId, at: clock.wall() })
}
