// Audit records on their way to the Leader: in order, and kept here until the Leader says that it has them.
import type { ChainedLine } from '#shared/audit/chain.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { backoffMs } from '#shared/replication/backoff.ts'
import { decodeAuditToFollower, encodeMessage, PROTOCOL } from '#shared/replication/messages.ts'
import type { Dial, Wire } from '#shared/replication/wire.ts'
import type { AuditQueue } from '../store/audit-queue.ts'
import { type ForwardingEvent, startForwarding, stepForwarding } from './audit-forwarding.ts'

/** `refused`: the Leader has found a gap or a fork; an operator has to look, and records stay here until then. */
export type ForwarderStatus = 'connected' | 'disconnected' | 'refused'

export type ForwarderOptions = {
  readonly queue: AuditQueue
  readonly dial: Dial
  readonly clock: Clock
  readonly random: () => number
  /** What carries the link notices by itself when it breaks: nothing is sent on it while there is nothing to tell. */
  readonly quiet?: boolean
  readonly onStatus: (status: ForwarderStatus) => void
  readonly report: (message: string) => void
}

/** Runs until the signal is aborted. */
export async function forwardAudit(options: ForwarderOptions, signal: AbortSignal): Promise<void> {
  let failures = 0
  let reported: string | undefined
  // Only a batch that was taken is a success: a Leader that greets and then refuses is not asked without pause.
  const onTaken = (): void => {
    failures = 0
    reported = undefined
  }
  while (!signal.aborted) {
    let status: ForwarderStatus = 'disconnected'
    let wire: Wire | undefined
    try {
      wire = await options.dial('/replication/audit', signal)
      try {
        const refusal = await talk(options, wire, signal, onTaken)
        if (refusal !== undefined) {
          status = 'refused'
          throw new Error(refusal)
        }
      } finally {
        wire.close()
      }
    } catch (error) {
      const message = `audit is not forwarded: ${error instanceof Error ? error.message : String(error)}`
      if (!signal.aborted && message !== reported) options.report(message)
      reported = message
    }
    options.onStatus(status)
    await options.clock.sleep(backoffMs(failures++, wire !== undefined, options.random()), signal)
  }
}

/** One connection, until it ends; returns why the Leader refused, if it did. */
async function talk(
  options: ForwarderOptions,
  wire: Wire,
  signal: AbortSignal,
  onTaken: () => void,
): Promise<string | undefined> {
  const { queue, clock } = options
  const ended = new AbortController()
  const until = AbortSignal.any([signal, ended.signal])
  until.addEventListener('abort', () => wire.close(), { once: true })
  const resumed = wire.resumed === true
  let state = { ...startForwarding(queue.acknowledged()), greeted: resumed }

  async function sendAfter(after: number): Promise<void> {
    const records = queue.read(after, limits.auditBatchRecords)
    const batch = bounded(records)
    const full = batch.length < records.length || records.length === limits.auditBatchRecords
    // Known before it is on its way: the answer may be faster than the next turn.
    await handle({ kind: 'sent', upTo: batch.at(-1)?.seq, full })
    if (batch.length > 0) await wire.send(encodeMessage({ type: 'records', records: batch }))
  }

  async function handle(event: ForwardingEvent): Promise<void> {
    const [next, effects] = stepForwarding(state, event)
    state = next
    for (const effect of effects) {
      if (effect.kind === 'send') await sendAfter(effect.after)
      else if (effect.kind === 'pause') void pause()
      else {
        queue.acknowledge(effect.upTo)
        onTaken()
      }
    }
  }

  async function pause(): Promise<void> {
    await clock.sleep(limits.auditBatchWaitMs, until)
    if (!until.aborted) await handle({ kind: 'paused' }).catch(() => wire.close())
  }

  /** Both sides take silence for a broken link; and the Leader shows how much waits here. */
  async function showLife(): Promise<void> {
    while (!until.aborted) {
      await wire.send(encodeMessage({ type: 'ping', queued: queue.pending().records }))
      if (options.quiet === true) return
      await clock.sleep(limits.auditPingMs, until)
    }
  }

  const stopListening = queue.onAppended(() => {
    // A wire that takes nothing any more ends the talk, and its records are sent on the next one.
    handle({ kind: 'appended' }).catch(() => wire.close())
  })
  try {
    if (resumed) {
      options.onStatus('connected')
      // What was under way is sent once more: the Leader knows it by its number.
      await handle({ kind: 'appended' })
    } else {
      await wire.send(encodeMessage({ type: 'hello', protocol: PROTOCOL, incarnation: queue.incarnation }))
    }
    for await (const frame of wire.messages()) {
      const message = decodeAuditToFollower(frame)
      if (message.type === 'refused') return `the Leader refused record ${message.seq}: ${message.reason}`
      if (message.type === 'pong') continue
      if (!state.greeted) {
        options.onStatus('connected')
        showLife().catch(() => wire.close())
      }
      await handle({ kind: 'stored', seq: message.seq })
    }
    return undefined
  } finally {
    stopListening()
    ended.abort()
  }
}

/** A batch is bounded in bytes too, because lines carry what clients wrote; one line always goes. */
function bounded(records: ChainedLine[]): ChainedLine[] {
  let bytes = 0
  const over = records.findIndex((record, i) => {
    bytes += record.line.length
    return i > 0 && bytes > limits.partTargetBytes
  })
  return over < 0 ? records : records.slice(0, over)
}
