// What is at stake: nobody can make a node ask whom its operator did not name, or wait, or swallow what it is given.
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import { createRemoteHealth } from '#shared/api/remote-health.ts'
import { limits } from '#shared/base/limits.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

async function other(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return createRemoteHealth([{ name: 'other', url: `http://127.0.0.1:${address.port}` }])
}
const saying = (status: number, body: string): RequestListener => {
  return (_request, response) => response.writeHead(status).end(body)
}

describe('another node', () => {
  test.each([
    [200, true],
    [502, false],
  ])('that answers %i is told as it is', async (status, ok) => {
    const remote = await other(saying(status, '{"ok":1,"role":"x"}'))
    expect(await remote('other', undefined)).toEqual({ ok, body: { ok: 1, role: 'x' } })
  })

  test('is asked for its health, and for a role that there is', async () => {
    const asked: (string | undefined)[] = []
    const remote = await other((request, response) => {
      asked.push(request.url)
      response.end('{}')
    })
    for (const role of [undefined, 'standby', 'master', 'x&y=/../']) await remote('other', role)
    expect(asked).toEqual(['/health', '/health?role=standby', '/health?role=master', '/health'])
  })

  test('that nobody named is not asked', async () => {
    const remote = await other(saying(200, '{}'))
    for (const name of ['', 'Other', '127.0.0.1', '../other', '__proto__', 'constructor'])
      expect(await remote(name, undefined), name).toBeUndefined()
  })

  test('is asked once, however many want to know', async () => {
    let asked = 0
    let answer = (): void => undefined
    const remote = await other((_request, response) => {
      asked++
      answer = () => void response.end('{"ok":true}')
    })
    const wanted = Array.from({ length: 50 }, () => remote('other', undefined))
    while (asked === 0) await new Promise(setImmediate)
    answer()
    expect(await Promise.all(wanted)).toEqual(Array(50).fill({ ok: true, body: { ok: true } }))
    expect(asked).toBe(1)
  })

  test.each<[string, RequestListener, string]>([
    ['answers with no health', saying(200, '"ok"'), 'its answer, with status 200, is no health'],
    ['answers with no JSON', saying(503, '<html>'), 'its answer, with status 503, is no health'],
    [
      'answers too much',
      saying(200, `{"a":"${'x'.repeat(limits.remoteHealthBytes)}"}`),
      'its answer, with status 200, is no health',
    ],
    [
      'answers too deep',
      saying(200, `{"a":${'['.repeat(1_000)}${']'.repeat(1_000)}}`),
      'its answer, with status 200, is no health',
    ],
    [
      'sends us elsewhere',
      (_request, response) => response.writeHead(302, { Location: 'http://127.0.0.1:1/' }).end(),
      'it cannot be reached',
    ],
    ['hangs up', (request) => request.socket.destroy(), 'it cannot be reached'],
    ['says nothing', () => undefined, 'no answer within 2000 ms'],
    ['does not end', (_request, response) => response.write('{"a":'), 'no answer within 2000 ms'],
  ])('that %s is not well', async (_, listener, error) => {
    const remote = await other(listener)
    expect(await remote('other', undefined)).toEqual({ ok: false, body: { ok: false, error } })
  })
})
