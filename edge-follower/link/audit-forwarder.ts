// Audit records on their way to the Leader: in order, and kept here until the Leader says that it has them.
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { decodeAuditToFollower, encodeMessage, PROTOCOL } from '#shared/replication/messages.ts'
import type { Dial, Wire } from '#shared/replication/wire.ts'
import type { AuditQueue } from '../store/audit-queue.ts'
import { backoffMs } from './backoff.ts'

export type ForwarderOptions = {
  readonly queue: AuditQueue
  readonly dial: Dial
  readonly clock: Clock
  readonly random: () => number
  readonly onStatus: (status: 'connected' | 'disconnected' | 'refused') => void
  readonly report: (message: string) => void
}

/** Runs until the signal is aborted. */
export async function forwardAudit(options: ForwarderOptions, signal: AbortSignal): Promise<void> {
  let failures = 0
  while (!signal.aborted) {
    let wire: Wire | undefined
    try {
      wire = await options.dial('/replication/audit', signal)
      options.onStatus('connected')
      await session(options, wire, signal, () => {
        failures = 0
      })
    } catch (error) {
      if (failures === 0)
        options.report(`audit is not forwarded: ${error instanceof Error ? error.message : String(error)}`)
    }
    wire?.close()
    options.onStatus('disconnected')
    await options.clock.sleep(backoffMs(failures++, options.random()), signal)
  }
}

async function session(
  options: ForwarderOptions,
  wire: Wire,
  signal: AbortSignal,
  onStored: () => void,
): Promise<void> {
  const { queue } = options
  const onAbort = (): void => wire.close()
  signal.addEventListener('abort', onAbort, { once: true })
  let sent = Number.POSITIVE_INFINITY
  let sending = false

  /** One batch is under way at a time; what comes meanwhile goes with the next. */
  const sendNext = async (): Promise<void> => {
    if (sending || !Number.isFinite(sent)) return
    const records = queue.read(sent, limits.auditBatchRecords)
    if (records.length === 0) return
    sending = true
    sent = records.at(-1)!.seq
    await wire.send(encodeMessage({ type: 'records', records }))
  }
  const stopListening = queue.onAppended(() => {
    sendNext().catch(() => wire.close())
  })
  try {
    await wire.send(encodeMessage({ type: 'hello', protocol: PROTOCOL, incarnation: queue.incarnation }))
    for await (const frame of wire.messages()) {
      const message = decodeAuditToFollower(frame)
      if (message.type === 'refused') {
        options.onStatus('refused')
        throw new Error(`the Leader refused record ${message.seq}: ${message.reason}`)
      }
      queue.acknowledge(message.seq)
      sent = message.seq
      sending = false
      onStored()
      await sendNext()
    }
  } finally {
    stopListening()
    signal.removeEventListener('abort', onAbort)
  }
}
