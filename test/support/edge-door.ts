// What a Worker is to a Leader that dials: takes its WebSockets at the Leader's own paths, and hands each as a wire to whoever
// waits for the Leader. Who waits for none sends it away, as an object does that is not running.
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { acceptWebSocket } from '#shared/node/websocket-wire.ts'
import type { Dial, Wire } from '#shared/replication/wire.ts'

export type EdgeDoor = {
  readonly port: number
  /** Links that were asked for, with their answers: `edge-1 /replication/stream 101`. */
  readonly asked: readonly string[]
  /** The next link of this Follower that the Leader dials. */
  dial(name: string): Dial
  close(): Promise<void>
}

/** Longer than the longest heartbeat of a test. */
const SILENCE_MS = 60_000

type Waiting = (wire: Wire) => void

export async function edgeDoor(isKnown: (name: string, bearer: string) => boolean): Promise<EdgeDoor> {
  const asked: string[] = []
  const waiting = new Map<string, Waiting>()
  const open = new Set<Duplex>()
  const server = createServer((_request, response) => response.writeHead(404).end())
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    socket.on('error', () => undefined)
    const [, name = '', bearer = ''] =
      /^Bearer ([^.]+)\.(\S+)$/.exec(request.headers.authorization ?? '') ?? []
    const key = `${name} ${request.url}`
    const take = waiting.get(key)
    const status = isKnown(name, bearer) ? (take === undefined ? 503 : 101) : 401
    asked.push(`${key} ${status}`)
    if (take === undefined || status !== 101) return void socket.end(`HTTP/1.1 ${status} No\r\n\r\n`)
    waiting.delete(key)
    acceptWebSocket([request, socket, head], { silenceMs: SILENCE_MS }, take)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    asked,
    dial: (name) => (path, signal) =>
      new Promise((resolve, reject) => {
        const key = `${name} ${path}`
        const stop = (): void => {
          if (waiting.get(key) === resolve) waiting.delete(key)
          reject(new Error('it is not waited for any more'))
        }
        if (signal.aborted) return stop()
        waiting.set(key, resolve)
        signal.addEventListener('abort', stop, { once: true })
      }),
    async close() {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
