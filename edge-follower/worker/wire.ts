// A Wire over a WebSocket: its binary messages carry the bytes of the same frames that go over a socket, cut anywhere.
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { encodeFrame, FrameReader } from '#shared/replication/frame.ts'
import type { Wire } from '#shared/replication/wire.ts'
import type { EdgeSocket } from './platform-types.ts'

export type SocketWire = Wire & {
  /** What the platform has received. */
  readonly take: (message: string | ArrayBuffer) => void
  /** The socket is gone; `broken`: not closed by the peer. */
  readonly gone: (broken?: Error) => void
  /** A wire could go on from here without what is in memory. */
  readonly isBetweenMessages: () => boolean
}

// RFC 6455 7.4.1
const NORMAL = 1000
const UNSUPPORTED_DATA = 1003
const POLICY_VIOLATION = 1008

type Socket = Pick<EdgeSocket, 'send' | 'close'>

/**
 * `silenceMs`: a socket on which nothing arrives for so long is closed; undefined: the other end looks after that, and
 * nothing is pending here.
 */
export function socketWire(
  socket: Socket,
  clock: Clock,
  silenceMs: number | undefined,
  resumed = false,
): SocketWire {
  const reader = new FrameReader(limits.partBytes * 2)
  const over = new AbortController()
  let received: Uint8Array[] = []
  let bytes = 0
  let heardAt = clock.monotonic()
  let broken: Error | undefined
  let wake = Promise.withResolvers<void>()

  function gone(error?: Error): void {
    if (over.signal.aborted) return
    broken = error
    over.abort()
    wake.resolve()
  }

  function close(code: number, reason: string): void {
    try {
      socket.close(code, reason)
    } catch {
      // It is closed already, or was never open: nothing more is to be said on it.
    }
  }

  function fail(reason: string, code = POLICY_VIOLATION): void {
    close(code, reason)
    gone(new Error(reason))
  }

  async function watch(mostMs: number): Promise<void> {
    while (!over.signal.aborted) {
      await clock.sleep(mostMs / 3, over.signal)
      if (clock.monotonic() - heardAt > mostMs) fail(`nothing was heard for ${mostMs} ms`)
    }
  }
  if (silenceMs !== undefined) void watch(silenceMs)

  return {
    // The platform does not tell what it has not sent yet.
    backlogBytes: 0,
    async send(message) {
      if (over.signal.aborted) throw new Error('the connection is closed')
      const frame = encodeFrame(message)
      for (let at = 0; at < frame.length; at += limits.webSocketMessageBytes)
        socket.send(frame.subarray(at, at + limits.webSocketMessageBytes))
    },
    async *messages() {
      for (;;) {
        const batch = received
        received = []
        bytes = 0
        yield* batch
        if (received.length > 0) continue
        if (over.signal.aborted) break
        await wake.promise
        wake = Promise.withResolvers()
      }
      if (broken !== undefined) throw broken
    },
    close(reason = 'the wire is closed') {
      close(NORMAL, reason)
      gone()
    },
    take(message) {
      if (over.signal.aborted) return
      heardAt = clock.monotonic()
      if (typeof message === 'string') return fail('messages must be binary', UNSUPPORTED_DATA)
      bytes += message.byteLength
      if (bytes > limits.webSocketBacklogBytes) return fail('more came than could be stored in time')
      try {
        received.push(...reader.take(new Uint8Array(message)))
      } catch (error) {
        return fail(error instanceof Error ? error.message : String(error))
      }
      wake.resolve()
    },
    gone,
    isBetweenMessages: () => reader.isBetweenMessages,
    resumed,
  }
}
