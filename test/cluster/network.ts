// The network between processes of a test: every way from one to another goes through a link of its own, which can be cut,
// can swallow what is said in either direction, and can take its time.
import { createConnection, createServer, type Socket } from 'node:net'

/** `cut`: refused and reset. `deaf`: what is said on the way there is lost; `mute`: what is answered; `hole`: both. */
export type LinkState = 'open' | 'cut' | 'deaf' | 'mute' | 'hole'

export type Link = {
  readonly port: number
  set(state: LinkState): void
  /** Of what goes through, each way, in milliseconds. */
  delay(ms: number): void
  close(): Promise<void>
}

/** To a port of this machine. */
export async function openLink(targetPort: number): Promise<Link> {
  const pairs = new Set<() => void>()
  let state: LinkState = 'open'
  let delayMs = 0
  const server = createServer((client) => {
    if (state === 'cut') return client.destroy()
    const target = createConnection(targetPort, '127.0.0.1')
    const end = (): void => {
      pairs.delete(end)
      client.destroy()
      target.destroy()
    }
    pairs.add(end)
    const carry = (from: Socket, to: Socket, lost: () => boolean): void => {
      from.setNoDelay(true)
      from.on('error', end)
      from.on('close', () => (delayMs > 0 ? setTimeout(end, delayMs) : end()))
      from.on('data', (bytes) => {
        if (lost()) return
        const pass = (): void => {
          if (!to.write(bytes)) {
            from.pause()
            to.once('drain', () => from.resume())
          }
        }
        if (delayMs > 0) setTimeout(pass, delayMs)
        else pass()
      })
    }
    carry(client, target, () => state === 'deaf' || state === 'hole')
    carry(target, client, () => state === 'mute' || state === 'hole')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the link has no port')
  const endAll = (): void => {
    for (const end of pairs) end()
  }
  return {
    port: address.port,
    set(next) {
      // Bytes were lost on connections that are open: they would go on as if nothing had been said.
      if (next === 'cut' || (next === 'open' && state !== 'open')) endAll()
      state = next
    },
    delay(ms) {
      delayMs = ms
    },
    async close() {
      endAll()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
