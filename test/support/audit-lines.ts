// Audit lines as nodes make them, and streams of them.
import type { Outbox } from '#control-plane/ledger/change-log.ts'
import { type ChainEnd, type ChainedLine, chainStart, extend } from '#shared/audit/chain.ts'
import { fetchEvent } from '#shared/audit/event.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'

export const actor = { user: 'acme:host:app', clientIp: '10.0.0.7' }

/** The outbox of a Leader that writes nothing. */
export const noLines: Outbox = {
  read: async () => ({ groups: [], more: false }),
  trim: async () => undefined,
  continueAfter: async () => false,
  subscribe: () => () => undefined,
}

/** The record of a read; `procid` tells it apart. */
export function fetchLine(
  procid: string,
  resource = 'acme:variable:db/pw',
  timestamp = 1_767_600_000_000,
): string {
  return formatEvent(fetchEvent(actor, { resource }), { timestamp, procid })
}

/** Numbered and chained after `end`. */
export function chained(lines: readonly string[], end: ChainEnd = chainStart): ChainedLine[] {
  let at = end
  return lines.map((line) => {
    const prevHash = at.hash
    at = extend(at, line)
    return { seq: at.seq, prevHash, line }
  })
}
