// What is at stake: a peer that is gone is noticed, and one that is alive is not taken for gone because this
// process was busy for a while.
import { createConnection, createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { fromUtf8, utf8 } from '#shared/base/bytes.ts'
import { socketWire } from '#shared/node/socket-wire.ts'
import { encodeFrame } from '#shared/replication/frame.ts'

let near: Socket
let far: Socket
let close: () => void
beforeEach(async () => {
  const accepted = Promise.withResolvers<Socket>()
  const server = createServer(accepted.resolve)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  near = createConnection(address.port, '127.0.0.1')
  far = await accepted.promise
  far.on('error', () => undefined)
  close = () => {
    near.destroy()
    far.destroy()
    server.close()
  }
})
afterEach(() => close())

const nothing = new Uint8Array()

/** Nothing else runs meanwhile, as in a large transaction. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

test('a message is taken whole, also when a part of it came with the agreement', async () => {
  const frame = encodeFrame(utf8('hello'))
  const wire = socketWire(near, frame.slice(0, 3), 10_000)
  far.write(frame.slice(3))
  const first = await wire.messages()[Symbol.asyncIterator]().next()
  expect(fromUtf8(first.value as Uint8Array)).toBe('hello')
})

test('silence ends the connection, for the reader and for the sender', async () => {
  const wire = socketWire(near, nothing, 30)
  await expect(wire.messages()[Symbol.asyncIterator]().next()).rejects.toThrow('nothing was heard for 30 ms')
  await expect(wire.send(utf8('x'))).rejects.toThrow('the connection is closed')
})

test('what came while this process was busy is a sign of life', async () => {
  const wire = socketWire(near, nothing, 30)
  const next = wire.messages()[Symbol.asyncIterator]().next()
  far.write(encodeFrame(utf8('late')))
  block(200)
  expect(fromUtf8((await next).value as Uint8Array)).toBe('late')
})

test('a sender waits while the peer takes nothing, and is let go when the connection ends', async () => {
  const wire = socketWire(near, nothing, 60_000)
  const large = new Uint8Array(2 * 1024 * 1024)
  let sent: Promise<void> | undefined
  while (wire.backlogBytes === 0) sent = wire.send(large)
  expect(wire.backlogBytes).toBeGreaterThan(0)
  far.destroy()
  await expect(sent).rejects.toThrow('the connection was closed')
})

test('the end of the peer is the end of the messages', async () => {
  const wire = socketWire(near, nothing, 60_000)
  far.end(encodeFrame(utf8('last')))
  const messages: (string | undefined)[] = []
  for await (const message of wire.messages()) messages.push(fromUtf8(message))
  expect(messages).toEqual(['last'])
})
