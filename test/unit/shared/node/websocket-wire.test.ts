// What is at stake: a WebSocket carries the same stream as a socket whatever its messages cut it into, and what is no part of
// such a stream ends the link with a code that says why.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { limits } from '#shared/base/limits.ts'
import { acceptWebSocket, dialWebSocket } from '#shared/node/websocket-wire.ts'
import { encodeFrame } from '#shared/replication/frame.ts'
import type { Wire } from '#shared/replication/wire.ts'

let url: URL
let wires: Wire[]
let arrived: (wire: Wire) => void
let close: () => Promise<void>
beforeEach(async () => {
  wires = []
  arrived = (wire) => void wires.push(wire)
  const server = createServer()
  server.on('upgrade', (request, socket, head) =>
    acceptWebSocket([request, socket, head], { silenceMs: 30_000 }, (wire) => arrived(wire)),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  close = async () => {
    for (const wire of wires) wire.close()
    server.close()
    await once(server, 'close')
  }
})
afterEach(() => close())

const never = new AbortController().signal

/** A client that says what it likes, and the wire at the other end. */
async function met(): Promise<{ client: WebSocket; wire: Wire }> {
  const client = new WebSocket(url, { perMessageDeflate: false })
  client.on('error', () => undefined)
  const wire = new Promise<Wire>((resolve) => {
    arrived = (one) => {
      wires.push(one)
      resolve(one)
    }
  })
  await once(client, 'open')
  return { client, wire: await wire }
}

const next = async (messages: AsyncIterator<Uint8Array>): Promise<Uint8Array> => {
  const { value } = await messages.next()
  return value as Uint8Array
}

const closing = async (client: WebSocket): Promise<number> => {
  const [code] = (await once(client, 'close')) as [number]
  return code
}

test('messages may hold any piece of the stream', async () => {
  const { client, wire } = await met()
  const stream = Buffer.concat([1, 2, 3].map((fill) => encodeFrame(new Uint8Array(1_000).fill(fill))))
  client.send(stream.subarray(0, 2))
  client.send(stream.subarray(2, 2_500))
  client.send(new Uint8Array())
  client.send(stream.subarray(2_500))
  const messages = wire.messages()[Symbol.asyncIterator]()
  for (const fill of [1, 2, 3]) expect(await next(messages)).toEqual(new Uint8Array(1_000).fill(fill))
})

test('a large frame goes in messages that every runtime at the edge takes, and frames that wait go together', async () => {
  const { client, wire } = await met()
  const sizes: number[] = []
  client.on('message', (data: Buffer) => void sizes.push(data.length))
  const frame = new Uint8Array(3 * limits.webSocketMessageBytes + 5)
  const sent = [wire.send(frame), ...Array.from({ length: 8 }, () => wire.send(new Uint8Array(10)))]
  await Promise.all(sent)
  const total = frame.length + 4 + 8 * 14
  while (sizes.reduce((sum, size) => sum + size, 0) < total) await once(client, 'message')
  expect(Math.max(...sizes)).toBe(limits.webSocketMessageBytes)
  expect(sizes).toHaveLength(5)
})

test.each([
  ['a text message', 1003, (client: WebSocket) => client.send('hello')],
  [
    'too large a message',
    1009,
    (client: WebSocket) => client.send(new Uint8Array(limits.webSocketTakesBytes + 1)),
  ],
  [
    'a compressed message',
    1002,
    (client: WebSocket) => rawOf(client).write(Buffer.of(0xc2, 0x80, 1, 2, 3, 4)),
  ],
  ['a message without a mask', 1002, (client: WebSocket) => rawOf(client).write(Buffer.of(0x82, 0x01, 0x00))],
] as const)('%s ends the link with %i', async (_what, code, say) => {
  const { client, wire } = await met()
  const read = wire.messages()[Symbol.asyncIterator]().next()
  const closed = closing(client)
  say(client)
  await expect(read).rejects.toThrow()
  expect(await closed).toBe(code)
  await expect(wire.send(new Uint8Array(1))).rejects.toThrow('closed')
})

/** Below the protocol. */
const rawOf = (client: WebSocket): { write(bytes: Uint8Array): boolean } =>
  (client as unknown as { readonly _socket: { write(bytes: Uint8Array): boolean } })._socket

test('compression that is offered is not agreed to', async () => {
  const client = new WebSocket(url, { perMessageDeflate: true })
  await once(client, 'open')
  expect(client.extensions).toBe('')
  client.terminate()
})

test('a wire that is closed says goodbye, and one that breaks does not', async () => {
  const first = await met()
  first.wire.close()
  expect(await closing(first.client)).toBe(1000)
  const second = await met()
  const read = second.wire.messages()[Symbol.asyncIterator]().next()
  second.client.terminate()
  await expect(read).rejects.toThrow('1006')
  const third = await met()
  const ended = third.wire.messages()[Symbol.asyncIterator]().next()
  third.client.close(1000)
  expect(await ended).toMatchObject({ done: true })
})

test('who takes nothing is waited for', async () => {
  const { client, wire } = await met()
  client.pause()
  const chunk = new Uint8Array(limits.webSocketMessageBytes)
  let taken = 0
  const sending = (async () => {
    for (let i = 0; i < 64; i++) {
      await wire.send(chunk)
      taken++
    }
  })()
  while (wire.backlogBytes === 0) await new Promise((resolve) => setImmediate(resolve))
  expect(taken).toBeLessThan(64)
  client.resume()
  await sending
  expect(taken).toBe(64)
})

test('silence ends a link, and an answered ping is no silence', async () => {
  const quiet = await met()
  const options = { headers: {}, silenceMs: 300, pingMs: 50 }
  const pinging = await dialWebSocket(url, options, never)
  const silent = await dialWebSocket(url, { headers: {}, silenceMs: 300 }, never)
  const alive = pinging.messages()[Symbol.asyncIterator]().next()
  await expect(silent.messages()[Symbol.asyncIterator]().next()).rejects.toThrow('nothing was heard')
  expect(await Promise.race([alive, 'open'])).toBe('open')
  pinging.close()
  await expect(alive).rejects.toThrow()
  quiet.client.terminate()
})

test('what is no WebSocket request is answered and closed', async () => {
  const socket = connect(Number(url.port), url.hostname)
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.toString()).toMatch(/^HTTP\/1.1 400 /)
  await once(socket, 'close')
  expect(wires).toEqual([])
})

test('a dial that is given up leaves nothing behind', async () => {
  const stopping = new AbortController()
  const dialled = dialWebSocket(url, { headers: {}, silenceMs: 1_000 }, stopping.signal)
  stopping.abort()
  await expect(dialled).rejects.toThrow()
})
