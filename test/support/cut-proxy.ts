// A TCP connection in the middle that a test can cut after a number of bytes towards one of its ends.
import { createConnection, createServer, type Socket } from 'node:net'

export type CutProxy = {
  readonly url: string
  /** Asked at every new connection: bytes to let through before it is cut; `undefined` lets all through. */
  bytesUntilCut: () => number | undefined
  readonly connections: () => number
  /** From now on nothing goes in that direction, also over new connections; the other one goes on. Until `cut`. */
  hold(): void
  /** Cuts what is connected now. */
  cut(): void
  close(): Promise<void>
}

/** `towards`: in which direction bytes are counted; `hold` and `bytesUntilCut` speak of these alone. */
export async function cutProxy(
  targetPort: number,
  towards: 'client' | 'target' = 'client',
): Promise<CutProxy> {
  const open = new Set<Socket>()
  let connections = 0
  let holding = false
  const sources = new Set<Socket>()
  const server = createServer((client) => {
    connections++
    let left = proxy.bytesUntilCut() ?? Number.POSITIVE_INFINITY
    const target = createConnection(targetPort, '127.0.0.1')
    const both = [client, target]
    const [source, sink] = towards === 'client' ? [target, client] : [client, target]
    const end = (): void => {
      for (const socket of both) {
        socket.destroy()
        open.delete(socket)
      }
      sources.delete(source)
    }
    sources.add(source)
    for (const socket of both) {
      open.add(socket)
      socket.on('error', end)
      socket.on('close', end)
    }
    sink.pipe(source)
    source.on('data', (bytes: Buffer) => {
      const more = sink.write(bytes.subarray(0, Math.min(bytes.length, left)))
      left -= bytes.length
      // The last bytes are delivered, and then the connection breaks.
      if (left <= 0) sink.end(end)
      else if (!more) {
        source.pause()
        sink.once('drain', () => holding || source.resume())
      }
    })
    if (holding) source.pause()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')
  const cut = (): void => {
    holding = false
    for (const socket of open) socket.destroy()
  }
  const proxy: CutProxy = {
    url: `http://127.0.0.1:${address.port}`,
    bytesUntilCut: () => undefined,
    connections: () => connections,
    hold() {
      holding = true
      for (const source of sources) source.pause()
    },
    cut,
    async close() {
      cut()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return proxy
}
