// What a Worker is to a Leader that dials: takes its WebSockets at the Leader's own paths, and hands each as a wire to whoever
// waits for the Leader, now or later.
import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { acceptWebSocket } from '#shared/node/websocket-wire.ts'
import type { Dial, Wire } from '#shared/replication/wire.ts'

export type EdgeDoor = {
  readonly port: number
  /** Links that were asked for, with their answers: `edge-1 /replication/stream 101`. */
  readonly asked: readonly string[]
  /** Resolves when this Follower waits for a change stream. */
  awaited(name: string, until: AbortSignal | undefined): Promise<void>
  /** The next link of this Follower that the Leader dials. */
  dial(name: string): Dial
  close(): Promise<void>
}

/** Longer than the longest heartbeat of a test. */
const SILENCE_MS = 60_000

export async function edgeDoor(isKnown: (name: string, bearer: string) => boolean): Promise<EdgeDoor> {
  const asked: string[] = []
  const waiting = new Map<string, (wire: Wire) => void>()
  /** Of each key the newest request: it has not been answered yet. */
  const held = new Map<string, Parameters<typeof acceptWebSocket>[0]>()
  const changed = new EventEmitter()
  const open = new Set<Duplex>()
  const server = createServer((_request, response) => response.writeHead(404).end())

  function meet(key: string): void {
    const [request, take] = [held.get(key), waiting.get(key)]
    if (request === undefined || take === undefined) return
    held.delete(key)
    waiting.delete(key)
    acceptWebSocket(request, { silenceMs: SILENCE_MS }, take)
  }

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    open.add(socket)
    socket.on('error', () => undefined)
    const [, name = '', bearer = ''] =
      /^Bearer ([^.]+)\.(\S+)$/.exec(request.headers.authorization ?? '') ?? []
    const key = `${name} ${request.url}`
    const isIn = isKnown(name, bearer)
    asked.push(`${key} ${isIn ? 101 : 401}`)
    socket.on('close', () => {
      open.delete(socket)
      if (held.get(key)?.[0] === request) held.delete(key)
    })
    if (!isIn) return void socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n')
    held.set(key, [request, socket, head])
    meet(key)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    asked,
    async awaited(name, until) {
      while (!waiting.has(`${name} /replication/stream`) && !until?.aborted) {
        const change = once(changed, 'waits', until === undefined ? {} : { signal: until })
        // Aborted: the loop ends.
        await change.catch(() => undefined)
      }
    },
    dial: (name) => (path, signal) =>
      new Promise((resolve, reject) => {
        const key = `${name} ${path}`
        const stop = (): void => {
          if (waiting.get(key) === resolve) waiting.delete(key)
          reject(new Error('it is not waited for any more'))
        }
        if (signal.aborted) return stop()
        signal.addEventListener('abort', stop, { once: true })
        waiting.set(key, resolve)
        changed.emit('waits')
        meet(key)
      }),
    async close() {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
