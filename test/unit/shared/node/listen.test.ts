// Both ways through Node's door answer alike: the short one for plain requests, and node:http for the rest.
import { once } from 'node:events'
import { Agent, request } from 'node:https'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import type { Answer, RawRequest } from '#shared/api/request.ts'
import { limits } from '#shared/base/limits.ts'
import { type Listening, listen } from '#shared/node/listen.ts'
import { parsePlain } from '#shared/node/plain-lane.ts'
import { certificatesFor, testAuthority } from '../../../support/certificates.ts'
import { runSeed, seeded } from '../../../support/random.ts'

let listening: Listening | undefined
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await listening?.close()
  listening = undefined
})

async function serve(handle: (request: RawRequest) => Promise<Answer>): Promise<Listening> {
  listening = await listen({ host: '127.0.0.1', port: 0, handle })
  return listening
}

const echo = async (request: RawRequest): Promise<Answer> => {
  const body = request.method === 'POST' ? Buffer.from(await request.body(1000)).toString() : ''
  return {
    status: 200,
    headers: { 'X-Request-Id': request.header('x-request-id') ?? 'none' },
    body: `${request.method} ${request.path} ? ${request.query} | ${request.header('x') ?? ''} | ${body}`,
  }
}

type Wire = { readonly socket: Socket; send(bytes: string): void; answers(count: number): Promise<string[]> }

async function open(port: number): Promise<Wire> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  sockets.push(socket)
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  const whole = (): string[] => text.split(/(?=HTTP\/1\.1 )/).filter((answer) => /\r\n\r\n/.test(answer))
  return {
    socket,
    send: (bytes) => void socket.write(bytes, 'latin1'),
    async answers(count) {
      while (whole().length < count || !bodyComplete(whole()[count - 1]!)) {
        if (socket.destroyed) throw new Error(`closed after: ${text}`)
        await Promise.race([once(socket, 'data'), once(socket, 'close')])
      }
      return whole()
    },
  }
}

function bodyComplete(answer: string): boolean {
  const length = Number(/content-length: (\d+)/i.exec(answer)?.[1] ?? 0)
  return answer.length >= answer.indexOf('\r\n\r\n') + 4 + length
}

const bodyOf = (answer: string): string => answer.slice(answer.indexOf('\r\n\r\n') + 4)
const statusOf = (answer: string): string => answer.slice(9, 12)
const post = (body: string, length: number | string = body.length): string =>
  `POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\n\r\n${body}`
const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: h\r\n${more}\r\n`

describe('a plain request', () => {
  test.each([
    ['the smallest', get('/a'), '/a', { host: 'h' }],
    [
      'with headers',
      get('/a%2Fb?c=d&e', 'X-A:  b c \r\nAuthorization: Token token="x=="\r\nEmpty:\r\n'),
      '/a%2Fb?c=d&e',
      { host: 'h', 'x-a': 'b c', authorization: 'Token token="x=="', empty: '' },
    ],
    [
      'that keeps its connection',
      get('/', 'Connection: Keep-Alive\r\n'),
      '/',
      { host: 'h', connection: 'Keep-Alive' },
    ],
    ['with a body', post('a=b\r\n\r\n'), '/a', { host: 'h', 'content-length': '7' }],
    ['with a body of nothing', post(''), '/a', { host: 'h', 'content-length': '0' }],
  ])('%s', (_, text, target, fields) => {
    const plain = parsePlain(text)
    expect(plain?.target).toBe(target)
    expect(plain?.method).toBe(text.slice(0, text.indexOf(' ')))
    expect(text.slice(plain?.bodyAt)).toBe(text.slice(text.indexOf('\r\n\r\n') + 4))
    expect(Object.fromEntries(plain?.fields ?? [])).toEqual(fields)
  })

  test.each([
    ['another method', post('a').replace('POST', 'PUT')],
    ['a body of no length', get('/').replace('GET', 'POST')],
    ['half a body', post('a', 2)],
    ['more than its body', post('ab', 1)],
    ['two lengths', post('a', '1\r\nContent-Length: 1')],
    ['a list of lengths', post('a', '1, 1')],
    ['a length with a sign', post('a', '+1')],
    ['a length below nothing', post('a', '-1')],
    ['a hexadecimal length', post('a', '0x1')],
    ['a length with a point', post('a', '1.0')],
    ['a length longer than any', post('a', '0000001')],
    ['an empty length', post('', '')],
    ['a length and chunks', post('0\r\n\r\n', '5\r\nTransfer-Encoding: chunked')],
    ['a lower-case method', get('/').replace('GET', 'get')],
    ['another version', get('/').replace('1.1', '1.0')],
    ['no version', 'GET /\r\n\r\n'],
    ['an absolute target', get('http://h/')],
    ['a fragment', get('/a#b')],
    ['two spaces', get(' /')],
    ['no host', 'GET / HTTP/1.1\r\n\r\n'],
    ['two hosts', get('/', 'Host: i\r\n')],
    ['a header twice', get('/', 'X: 1\r\nx: 2\r\n')],
    ['a length of what has no body', get('/', 'Content-Length: 0\r\n')],
    ['chunks', get('/', 'Transfer-Encoding: chunked\r\n')],
    ['an expectation', get('/', 'Expect: 100-continue\r\n')],
    ['another protocol', get('/', 'Upgrade: websocket\r\n')],
    ['a connection that closes', get('/', 'Connection: close\r\n')],
    ['a connection option', get('/', 'Connection: keep-alive, x\r\n')],
    ['a space before the colon', get('/', 'X : 1\r\n')],
    ['a folded header', get('/', 'X: 1\r\n 2\r\n')],
    ['a header without a name', get('/', ': 1\r\n')],
    ['a header without a colon', get('/', 'X\r\n')],
    ['a bare line feed', get('/', 'X: 1\n')],
    ['a bare carriage return', get('/', 'X: 1\rY: 2\r\n')],
    ['a NUL', get('/', 'X: \0\r\n')],
    ['a letter outside ASCII', get('/', 'X: \xe9\r\n')],
    ['a target outside ASCII', get('/\xe9')],
    ['half a head', get('/').slice(0, -1)],
    ['a byte more', `${get('/')}x`],
    ['two requests', get('/') + get('/')],
    ['nothing', ''],
  ])('is not one with %s', (_, text) => {
    expect(parsePlain(text)).toBeUndefined()
  })
})

describe('the door', () => {
  test('answers on one connection, the short way and the long way, in any cuts of the bytes', async () => {
    const random = seeded(runSeed('listen'))
    const { port } = await serve(echo)
    const requests = [
      get('/plain?x=1', 'X: y\r\n'),
      get('/slow-header', 'Content-Length: 0\r\n'),
      'POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc',
      get('/again'),
    ]
    const expected = [
      'GET /plain ? x=1 | y | ',
      'GET /slow-header ?  |  | ',
      'POST /body ?  |  | abc',
      'GET /again ?  |  | ',
    ]
    for (let round = 0; round < 60; round++) {
      const wire = await open(port)
      const picked = Array.from({ length: random.int(1, 7) }, () => random.int(0, requests.length))
      const bytes = picked.map((i) => requests[i]!).join('')
      for (let at = 0; at < bytes.length; ) {
        const next = at + random.int(1, bytes.length)
        wire.send(bytes.slice(at, next))
        at = next
        await turn()
      }
      const answers = await wire.answers(picked.length)
      expect(answers.map(statusOf)).toEqual(picked.map(() => '200'))
      expect(answers.map(bodyOf)).toEqual(picked.map((i) => expected[i]!))
      wire.socket.destroy()
    }
  })

  test('says the same in both ways: status, headers, body', async () => {
    const bodies: (Answer['body'] | 'none')[] = [
      'text é',
      Buffer.from([0, 255, 10]),
      Buffer.alloc(100_000, 'x'),
      'none',
      '',
    ]
    for (const body of bodies) {
      for (const status of [200, 204, 404, 503]) {
        if (status === 204 && body !== 'none') continue
        const { port, close } = await serve(async () => ({
          status,
          headers: { 'Content-Type': 'text/plain', 'X-A': 'b' },
          body: body === 'none' ? undefined : body,
        }))
        const [short, long] = [await open(port), await open(port)]
        short.send(get('/'))
        long.send(get('/', 'Content-Length: 0\r\n'))
        const [[a], [b]] = [await short.answers(1), await long.answers(1)]
        expect(bodyOf(a!)).toBe(bodyOf(b!))
        expect(headLines(a!)).toEqual(headLines(b!))
        short.socket.destroy()
        long.socket.destroy()
        await close()
      }
    }
  })

  test('one answer after the other, whatever a client sends before it has the first', async () => {
    const started: string[] = []
    const release: (() => void)[] = []
    const { port } = await serve(async (request) => {
      started.push(request.path)
      await new Promise<void>((resolve) => release.push(resolve))
      return { status: 200, headers: {}, body: request.path }
    })
    const wire = await open(port)
    wire.send(get('/1'))
    while (started.length < 1) await turn()
    wire.send(get('/2'))
    wire.send(get('/3'))
    for (let answered = 0; answered < 3; answered++) {
      while (release.length === 0) await turn()
      // Time for what was sent to arrive; what was started last is answered first.
      for (let turns = 0; turns < 10; turns++) await turn()
      release.pop()!()
    }
    expect((await wire.answers(3)).map(bodyOf)).toEqual(['/1', '/2', '/3'])
  })

  test('a header that holds a line break is not sent as two', async () => {
    const { port } = await serve(async () => ({
      status: 200,
      headers: { X: 'a\r\nSet-Cookie: b' },
      body: 'c',
    }))
    for (const request of [get('/'), get('/', 'Content-Length: 0\r\n')]) {
      const wire = await open(port)
      wire.send(request)
      await expect(wire.answers(1)).rejects.toThrow(/closed after: $/)
    }
  })

  test('a body over its limit is refused, and the next request is answered', async () => {
    const { port } = await serve(async (request) => {
      const said = await request.body(2).catch((error: Error) => error.message)
      return { status: 200, headers: {}, body: typeof said === 'string' ? said : Buffer.from(said) }
    })
    const wire = await open(port)
    wire.send(post('abc'))
    expect(bodyOf((await wire.answers(1))[0]!)).toBe('the body is larger than 2 bytes')
    wire.send(post('ab'))
    expect(bodyOf((await wire.answers(2))[1]!)).toBe('ab')
  })

  test('what is malformed or too large is refused by node:http', async () => {
    const { port } = await serve(echo)
    for (const [bytes, status] of [
      ['GET / HTTP/1.1\r\n\r\n', '400'],
      ['nonsense\r\n\r\n', '400'],
      [get('/', `X: ${'y'.repeat(limits.headerBytes)}\r\n`), '431'],
    ] as const) {
      const wire = await open(port)
      wire.send(bytes)
      expect(statusOf((await wire.answers(1))[0]!)).toBe(status)
    }
  })

  test('a client that ends its side gets the answer it waits for', async () => {
    let release = (): void => undefined
    const { port } = await serve(async () => {
      await new Promise<void>((resolve) => {
        release = resolve
      })
      return { status: 200, headers: {}, body: 'late' }
    })
    const wire = await open(port)
    wire.socket.end(get('/'))
    const before = release
    while (release === before) await turn()
    for (let turns = 0; turns < 10; turns++) await turn()
    const closed = once(wire.socket, 'close')
    release()
    expect(bodyOf((await wire.answers(1))[0]!)).toBe('late')
    await closed
  })

  test('closing lets a running request end, and ends connections that wait', async () => {
    let release = (): void => undefined
    const { port, close } = await serve(async () => {
      await new Promise<void>((resolve) => {
        release = resolve
      })
      return { status: 200, headers: {}, body: 'last' }
    })
    const [idle, busy] = [await open(port), await open(port)]
    const before = release
    busy.send(get('/'))
    while (release === before) await turn()
    const idleClosed = once(idle.socket, 'close')
    const closed = close()
    await idleClosed
    release()
    const [answer] = await busy.answers(1)
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close/)
    await closed
    listening = undefined
  })

  test('a client that does not read is not read either', async () => {
    let handled = 0
    const { port } = await serve(async () => {
      handled++
      return { status: 200, headers: {}, body: Buffer.alloc(1_000_000) }
    })
    const wire = await open(port)
    wire.socket.pause()
    let held = 0
    // Each request on its own, so that none of them leaves the short way.
    for (let i = 0; i < 200 && held < 50; i++) {
      const before = handled
      wire.send(get('/'))
      for (let turns = 0; turns < 20 && handled === before; turns++) await turn()
      if (handled === before) held++
    }
    expect(held).toBe(50)
    expect(handled).toBeLessThan(100)
  })
})

/** In any order of the fields; the date may differ by the second. */
const headLines = (answer: string): string[] =>
  answer
    .slice(0, answer.indexOf('\r\n\r\n'))
    .split('\r\n')
    .map((line) => line.replace(/^Date: .*/, 'Date: now'))
    .sort()

test('over TLS the same is answered, to whoever trusts the certificate and speaks TLS', async () => {
  const { ca, cert, key } = await certificatesFor('127.0.0.1')
  listening = await listen({ host: '127.0.0.1', port: 0, handle: echo, tls: { cert, key } })
  const { port } = listening
  const agent = new Agent({ ca, keepAlive: true, maxSockets: 1 })
  const ask = (method: string, body?: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const asked = request({ port, host: '127.0.0.1', agent, method, path: '/a%2Fb?c' }, (response) => {
        let text = ''
        response.on('data', (chunk) => {
          text += String(chunk)
        })
        response.on('end', () => resolve(text))
      })
      asked.on('error', reject)
      asked.end(body)
    })
  expect(await ask('GET')).toBe('GET /a%2Fb ? c |  | ')
  expect(await ask('POST', 'text')).toBe('POST /a%2Fb ? c |  | text')
  expect(await ask('GET')).toBe('GET /a%2Fb ? c |  | ')
  agent.destroy()
  const stranger = request({ port, host: '127.0.0.1', path: '/' })
  await expect(once(stranger.end(), 'response')).rejects.toThrow(/certificate/)
  const plain = await open(port)
  plain.send('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  await once(plain.socket, 'close')
})

test.each([
  ['long', 'close'],
  ['short', 'keep-alive'],
])(
  'a client is asked for a certificate where that is wanted, the %s way: whoever signed it, and none is well too',
  async (_, connection) => {
    const { ca, cert, key } = await certificatesFor('127.0.0.1')
    const shown = await (await testAuthority()).issueClient('CN=host.app', ['spiffe://cluster.local/x'])
    const handle = async (request: RawRequest): Promise<Answer> => ({
      status: 200,
      headers: {},
      body: request.certificate?.() ?? `none, but ${request.header('x-ssl-client-certificate') ?? 'nothing'}`,
    })
    const said = async (anyClient: boolean, client: object): Promise<string> => {
      listening = await listen({ host: '127.0.0.1', port: 0, handle, tls: { cert, key, anyClient } })
      const headers = { 'X-SSL-Client-Certificate': 'forged', Connection: connection }
      const options = {
        port: listening.port,
        host: '127.0.0.1',
        ca,
        method: 'POST',
        agent: false,
        headers,
      } as const
      const [response] = await once(request({ ...options, ...client }).end(), 'response')
      const body = await text(response)
      await listening.close()
      return body
    }
    expect(await said(true, shown)).toBe(shown.cert.endsWith('\n') ? shown.cert : `${shown.cert}\n`)
    expect(await said(true, {})).toBe('none, but forged')
    expect(await said(false, shown)).toBe('none, but forged')
  },
)
