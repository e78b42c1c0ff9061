// A Wire over a socket that both sides have agreed to use for frames.
import type { Duplex } from 'node:stream'
import { limits } from '../base/limits.ts'
import { encodeFrame, FrameReader } from '../replication/frame.ts'
import type { Wire } from '../replication/wire.ts'

/**
 * `silenceMs`: a socket on which nothing arrives for so long is destroyed. `onLife`: told how to say that there was a sign of
 * life that is no byte of the stream.
 */
export function socketWire(
  socket: Duplex,
  head: Uint8Array,
  silenceMs: number,
  onLife?: (heard: () => void) => void,
): Wire {
  const reader = new FrameReader(limits.partBytes * 2)
  let timer: NodeJS.Timeout | undefined
  const heard = (): void => {
    clearTimeout(timer)
    if (socket.destroyed) return
    timer = setTimeout(() => setImmediate(decide, timer), silenceMs)
  }
  // After a long stop of this process the timer is due before the bytes that have come meanwhile were looked at;
  // one turn later they are here. Bytes that wait to be read are a sign of life too.
  const decide = (due: NodeJS.Timeout | undefined): void => {
    if (due !== timer || socket.destroyed) return
    if (socket.readableLength > 0) heard()
    else socket.destroy(new Error(`nothing was heard for ${silenceMs} ms`))
  }
  heard()
  onLife?.(heard)
  socket.on('close', () => clearTimeout(timer))
  // Errors end the iteration of messages; without a listener they would end the process.
  socket.on('error', () => undefined)
  return {
    get backlogBytes() {
      return socket.writableLength
    },
    async send(message) {
      if (socket.destroyed || socket.writableEnded) throw new Error('the connection is closed')
      if (socket.write(encodeFrame(message))) return
      await new Promise<void>((resolve, reject) => {
        const done = (): void => {
          socket.off('drain', done)
          socket.off('close', failed)
          resolve()
        }
        const failed = (): void => reject(new Error('the connection was closed'))
        socket.once('drain', done)
        socket.once('close', failed)
      })
    },
    async *messages() {
      if (head.length > 0) yield* reader.take(head)
      for await (const chunk of socket) {
        heard()
        yield* reader.take(chunk as Uint8Array)
      }
    },
    close() {
      socket.destroy()
    },
  }
}
