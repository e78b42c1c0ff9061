// The door to providers on Node, at real servers: whom it reaches, whom it believes, and how long and how much it listens.
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, createServer as createTcp } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import type { OutgoingFailure } from '#shared/authn/outgoing.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { limits } from '#shared/base/limits.ts'
import { outgoingThrough } from '#shared/node/outgoing.ts'
import { type Certificates, certificatesFor } from '../../../support/certificates.ts'

const ask = outgoingThrough(parseRanges(['127.0.0.0/8', '::1'], 'test'))
const askPublic = outgoingThrough([])

const servers: { close(): unknown; closeAllConnections?(): void }[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections?.()
  }
})

async function listening(server: Server): Promise<number> {
  servers.push(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}
const http = async (take: RequestListener): Promise<string> =>
  `http://127.0.0.1:${await listening(createServer(take))}`
const https = async ({ cert, key }: Certificates, take: RequestListener): Promise<number> =>
  listening(createHttps({ cert, key }, take) as unknown as Server)

const failure = (kind: OutgoingFailure['kind'], message: string | RegExp) =>
  expect.objectContaining({
    name: 'OutgoingFailure',
    kind,
    message: typeof message === 'string' ? message : expect.stringMatching(message),
  })
const well: RequestListener = (_, response) => void response.end('well')

test('what is asked and answered', async () => {
  const url = await http((request, response) => {
    response.writeHead(201, { 'X-Secret': 'not told' })
    request.pipe(response)
    response.write(`${request.method} ${request.url} ${request.headers['content-length']} `)
  })
  const headers = { 'Content-Type': 'text/plain' }
  expect(await ask({ method: 'POST', url: `${url}/a?b=1`, headers, body: 'ü' })).toEqual({
    status: 201,
    text: 'POST /a?b=1 2 ü',
  })
})

describe('whom it reaches', () => {
  const notAllowed = failure('not_allowed', /^its address is no public one: authn_private_networks/)

  test('no private address, written out or behind a name, unless it is allowed', async () => {
    let asked = 0
    const url = await http((_, response) => {
      asked++
      response.end('well')
    })
    const { port } = new URL(url)
    for (const host of ['127.0.0.1', '2130706433', '[::ffff:127.0.0.1]', 'localhost', 'LOCALHOST'])
      await expect(askPublic({ method: 'GET', url: `http://${host}:${port}/` })).rejects.toEqual(notAllowed)
    expect(asked).toBe(0)
    for (const host of ['127.0.0.1', 'localhost'])
      expect(await ask({ method: 'GET', url: `http://${host}:${port}/` })).toEqual({
        status: 200,
        text: 'well',
      })
    const other = outgoingThrough(parseRanges(['10.0.0.0/8'], 'test'))
    await expect(other({ method: 'GET', url })).rejects.toEqual(notAllowed)
  })

  test('nobody that it is sent on to', async () => {
    const elsewhere = await http(() => expect.unreachable())
    const url = await http((_, response) => void response.writeHead(302, { Location: elsewhere }).end())
    expect(await ask({ method: 'GET', url })).toEqual({ status: 302, text: '' })
  })

  test('not by the proxy that the environment names', async () => {
    const proxy = await http(() => expect.unreachable())
    process.env.http_proxy = proxy
    try {
      expect(await ask({ method: 'GET', url: await http(well) })).toEqual({ status: 200, text: 'well' })
    } finally {
      delete process.env.http_proxy
    }
  })

  test('nobody: a failure without an address', async () => {
    const url = await http(well)
    const server = servers.pop() as Server
    await once(server.close(), 'close')
    await expect(ask({ method: 'GET', url })).rejects.toEqual(
      failure('failed', 'it cannot be asked (ECONNREFUSED)'),
    )
    await expect(ask({ method: 'GET', url: 'http://no-such-name.invalid/' })).rejects.toEqual(
      failure('failed', /^it cannot be asked \((ENOTFOUND|EAI_AGAIN)\)$/),
    )
  })
})

describe('whom it believes', () => {
  test('a server under the authority that it is given, and under no other', async () => {
    const [own, other] = [await certificatesFor('127.0.0.1'), await certificatesFor('127.0.0.1')]
    const url = `https://127.0.0.1:${await https(own, well)}/`
    expect(await ask({ method: 'GET', url, ca: own.ca })).toEqual({ status: 200, text: 'well' })
    expect((await ask({ method: 'GET', url, ca: `own:\n${own.ca}\nother:\n${other.ca}` })).text).toBe('well')
    for (const ca of [undefined, other.ca])
      await expect(ask({ method: 'GET', url, ca })).rejects.toEqual(
        failure(
          'failed',
          /^it cannot be asked \((UNABLE_TO_\w+|SELF_SIGNED_\w+|DEPTH_\w+|CERT_SIGNATURE_FAILURE)\)$/,
        ),
      )
    // A connection that stands open after a good check is nobody else's.
    await expect(ask({ method: 'GET', url, ca: other.ca })).rejects.toMatchObject({ kind: 'failed' })
  })

  test('a server of the name that was asked', async () => {
    const certificates = await certificatesFor('idp.example')
    const url = `https://127.0.0.1:${await https(certificates, well)}/`
    await expect(ask({ method: 'GET', url, ca: certificates.ca })).rejects.toEqual(
      failure('failed', 'it cannot be asked (ERR_TLS_CERT_ALTNAME_INVALID)'),
    )
  })

  test('an authority that is none is named', async () => {
    const own = await certificatesFor('127.0.0.1')
    const url = `https://127.0.0.1:${await https(own, well)}/`
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
    for (const ca of ['', 'PEM', own.key])
      await expect(ask({ method: 'GET', url, ca })).rejects.toEqual(
        failure('failed', 'its ca-cert holds no certificate in PEM'),
      )
    await expect(ask({ method: 'GET', url, ca: own.ca + broken })).rejects.toEqual(
      failure('failed', 'certificate 2 of its ca-cert cannot be read'),
    )
  })
})

describe('how much it listens', () => {
  test('to a text of the largest size, and to none that is larger', async () => {
    const url = await http((request, response) => {
      response.end('a'.repeat(limits.providerBytes + Number(request.url!.slice(1))))
    })
    expect((await ask({ method: 'GET', url: `${url}/0` })).text).toHaveLength(limits.providerBytes)
    await expect(ask({ method: 'GET', url: `${url}/1` })).rejects.toEqual(
      failure('failed', 'its answer is too large'),
    )
  })

  test('to no endless one', async () => {
    const closed = Promise.withResolvers<void>()
    const url = await http((_, response) => {
      const more = (): void => {
        while (response.write('a'.repeat(65_536)));
        response.once('drain', more)
      }
      response.on('close', closed.resolve)
      more()
    })
    await expect(ask({ method: 'GET', url })).rejects.toEqual(failure('failed', 'its answer is too large'))
    await closed.promise
  })

  test('to nothing that is compressed, or no text', async () => {
    const url = await http((_, response) => {
      response.writeHead(200, { 'Content-Encoding': 'gzip' })
      response.end(gzipSync(Buffer.alloc(100 * 1024 * 1024)))
    })
    await expect(ask({ method: 'GET', url })).rejects.toEqual(failure('failed', 'its answer is no text'))
  })

  test.each([
    ['nothing', ''],
    ['another protocol', 'SSH-2.0-OpenSSH\r\n'],
    ['half an answer', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'],
    ['a change of the protocol', 'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'],
    ['a long header', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(100_000)}\r\n\r\n`],
  ])('to %s', async (_, said) => {
    const server = createTcp((socket) => {
      socket.on('error', () => undefined)
      socket.once('data', () => void socket.end(said))
    })
    servers.push(server)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    await expect(ask({ method: 'GET', url })).rejects.toEqual(
      failure('failed', /^it (cannot be asked|ended the connection)/),
    )
  })

  test('so long in all, to who says nothing and to who says a little now and then', async () => {
    const silent = await http(() => undefined)
    const slow = await http((_, response) => {
      const timer = setInterval(() => response.write('a'), 100)
      response.on('close', () => clearInterval(timer))
    })
    const late = failure('timeout', `no answer within ${limits.providerMs} ms`)
    await Promise.all([silent, slow].map((url) => expect(ask({ method: 'GET', url })).rejects.toEqual(late)))
  })
})

test('one provider is asked so much at once, and others as before', async () => {
  const waiting: (() => void)[] = []
  const slow = await http((_, response) => void waiting.push(() => response.end('well')))
  const other = await http(well)
  const ended = Promise.all(
    Array.from({ length: limits.providerRequestsEach }, () => ask({ method: 'GET', url: slow })),
  )
  const more = { method: 'GET', url: `${slow}/more` } as const
  await expect(ask(more)).rejects.toEqual(failure('failed', 'too many ask it at once'))
  expect((await ask({ method: 'GET', url: other })).text).toBe('well')
  const [server] = servers as Server[]
  server!.on('request', () => waiting.splice(0).forEach((answer) => void answer()))
  waiting.splice(0).forEach((answer) => void answer())
  expect(await ended).toHaveLength(limits.providerRequestsEach)
  expect(await ask(more)).toMatchObject({ text: 'well' })
})

test('a connection that stood open and was closed is made anew, once', async () => {
  let answers = 0
  const server = createTcp((socket) => {
    socket.on('error', () => undefined)
    let requests = 0
    socket.on('data', () => {
      // As a server does that closes an idle connection while the next request is on its way.
      if (++requests > 1) return void socket.resetAndDestroy()
      answers++
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\nwell')
    })
  })
  servers.push(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const request = { method: 'GET', url } as const
  for (let n = 1; n <= 3; n++) {
    expect((await ask(request)).text).toBe('well')
    expect(answers).toBe(n)
    // The connection goes back to the pool after this turn.
    await new Promise(setImmediate)
  }
})
