// What is at stake: the address that audit and restrictions see is the client's, and nobody but a balancer can say which.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect as tlsConnect } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import type { RawRequest } from '#shared/api/request.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { limits } from '#shared/base/limits.ts'
import { type Listening, listen, type TlsFiles } from '#shared/node/listen.ts'
import { parseProxyHeader } from '#shared/node/proxy-header.ts'
import { certificatesFor } from '../../../support/certificates.ts'

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

function header(command: number, family: number, addresses: Buffer, length = addresses.length): Buffer {
  const head = Buffer.from([command, family, length >> 8, length & 0xff])
  return Buffer.concat([signature, head, addresses])
}
const ports = Buffer.from([0x30, 0x39, 0x01, 0xbb])
const ipv4 = (a: number, b: number, c: number, d: number): Buffer =>
  header(0x21, 0x11, Buffer.concat([Buffer.from([a, b, c, d, 127, 0, 0, 1]), ports]))
const ipv6 = (address: string): Buffer =>
  header(0x21, 0x21, Buffer.concat([Buffer.from(address, 'hex'), Buffer.alloc(16), ports]))
const local = header(0x20, 0x00, Buffer.alloc(0))

describe('a PROXY header', () => {
  test.each<[string, Buffer, string | undefined]>([
    ['of IPv4', ipv4(10, 1, 2, 3), '10.1.2.3'],
    ['of IPv6', ipv6('20010db8000000000000000000000007'), '2001:db8::7'],
    ['of IPv4 in IPv6', ipv6('00000000000000000000ffff0a010203'), '10.1.2.3'],
    ['of the balancer itself', local, undefined],
    ['of a UNIX socket', header(0x21, 0x31, Buffer.alloc(216)), undefined],
    [
      'with more behind the addresses',
      header(0x21, 0x11, Buffer.concat([ipv4(10, 1, 2, 3).subarray(16), Buffer.alloc(40)])),
      '10.1.2.3',
    ],
  ])('%s', (_, bytes, client) => {
    expect(parseProxyHeader(bytes)).toEqual({ kind: 'read', bytes: bytes.length, client })
    expect(parseProxyHeader(Buffer.concat([bytes, Buffer.from('GET')]))).toMatchObject({
      bytes: bytes.length,
      client,
    })
    for (let part = 0; part < bytes.length; part++)
      expect(parseProxyHeader(bytes.subarray(0, part))).toEqual({ kind: 'unfinished' })
  })

  test.each<[string, Buffer]>([
    ['another protocol', Buffer.from('GET / HTTP/1.1\r\n')],
    ['version 1', Buffer.from('PROXY TCP4 10.1.2.3 127.0.0.1 12345 443\r\n')],
    ['a version that there is not', header(0x31, 0x11, Buffer.alloc(12))],
    ['a command that there is not', header(0x22, 0x11, Buffer.alloc(12))],
    ['too short for its addresses', header(0x21, 0x11, Buffer.alloc(11))],
    ['too long', header(0x21, 0x11, Buffer.alloc(12), limits.proxyHeaderBytes)],
  ])('is not %s', (_, bytes) => {
    expect(parseProxyHeader(bytes)).toEqual({ kind: 'malformed' })
  })
})

const sockets: Socket[] = []
let listening: Listening | undefined
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await listening?.close()
  listening = undefined
})

async function serve(balancer: string, tls?: TlsFiles): Promise<number> {
  const handle = async (request: RawRequest) => ({ status: 200, headers: {}, body: `from ${request.peer};` })
  const balancers = parseRanges([balancer], 'balancers')
  listening = await listen({ host: '127.0.0.1', port: 0, handle, balancers, tls })
  return listening.port
}

async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  sockets.push(socket)
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

/** What is written goes to the socket, after these bytes or in one with them. */
function behind(socket: Socket, before: Buffer, together: boolean): Duplex {
  let first = together
  if (!together) socket.write(before)
  const duplex = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      socket.write(first ? Buffer.concat([before, chunk]) : chunk, done)
      first = false
    },
  })
  socket.on('data', (chunk) => duplex.push(chunk))
  socket.on('close', () => duplex.push(null))
  return duplex
}

/** What is said until there are so many answers, or the connection is closed. */
async function heard(socket: Socket, answers = 1): Promise<string[]> {
  let text = ''
  const found = (): string[] => text.match(/from [^;]*;/g) ?? []
  socket.on('data', (chunk) => {
    text += String(chunk)
  })
  while (found().length < answers && !socket.destroyed)
    await Promise.race([once(socket, 'data'), once(socket, 'close')])
  return found()
}

const get = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n'
/** Goes to node:http, not the short way. */
const post = 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n'

describe('a connection of a balancer', () => {
  test.each([
    ['the short way', get],
    ['the long way', post],
  ])('is its client’s, %s, in any cuts of the bytes', async (_, request) => {
    const port = await serve('127.0.0.1')
    const bytes = Buffer.concat([ipv4(10, 1, 2, 3), Buffer.from(request)])
    for (const cut of [bytes.length, 1, 12, 16, 28, 30]) {
      const socket = await dial(port)
      socket.write(bytes.subarray(0, cut))
      await new Promise(setImmediate)
      if (cut < bytes.length) socket.write(bytes.subarray(cut))
      expect(await heard(socket)).toEqual(['from 10.1.2.3;'])
      const again = heard(socket)
      socket.write(get)
      expect(await again).toEqual(['from 10.1.2.3;'])
    }
  })

  test('is its client’s over TLS too, whether the greeting comes with the header or after it', async () => {
    const { ca, cert, key } = await certificatesFor('localhost', '127.0.0.1')
    const port = await serve('127.0.0.1', { cert, key })
    for (const together of [false, true]) {
      const socket = await dial(port)
      const secure = tlsConnect({ socket: behind(socket, ipv4(10, 1, 2, 3), together), ca })
      sockets.push(secure)
      await once(secure, 'secureConnect')
      for (const request of [get, post, get]) {
        const answered = heard(secure)
        secure.write(request)
        expect(await answered).toEqual(['from 10.1.2.3;'])
      }
    }
  })

  test('that says it is the balancer’s own is', async () => {
    const socket = await dial(await serve('127.0.0.1'))
    socket.write(Buffer.concat([local, Buffer.from(get)]))
    expect(await heard(socket)).toEqual(['from 127.0.0.1;'])
  })

  test('without a header is closed, and nothing is answered', async () => {
    const port = await serve('127.0.0.1')
    for (const bytes of [get, 'PROXY TCP4 10.1.2.3 127.0.0.1 12345 443\r\n']) {
      const socket = await dial(port)
      socket.write(bytes)
      expect(await heard(socket)).toEqual([])
    }
  })

  test('that ends within its header is closed', async () => {
    const socket = await dial(await serve('127.0.0.1'))
    socket.end(ipv4(10, 1, 2, 3).subarray(0, 20))
    expect(await heard(socket)).toEqual([])
  })
})

test('a header of anybody else is not believed: it is no HTTP', async () => {
  const port = await serve('10.0.0.0/8')
  const spoofed = await dial(port)
  spoofed.write(Buffer.concat([ipv4(10, 1, 2, 3), Buffer.from(get)]))
  expect(await heard(spoofed)).toEqual([])
  const plain = await dial(port)
  plain.write(get)
  expect(await heard(plain)).toEqual(['from 127.0.0.1;'])
})
