// The engine is asked over HTTP, and whatever it does an answer comes of it (http-api 14).
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { secretEngineAt } from '#shared/api/secret-engine.ts'
import { limits } from '#shared/base/limits.ts'

let server: Server | undefined
afterEach(async () => {
  server?.closeAllConnections()
  server?.close()
})

async function engine(listener: RequestListener): Promise<string> {
  server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const part of request) text += part
  return text
}

const order = { requestId: 'r-1', body: { key: 'not for the log' } }
const said: string[] = []
const ask = (url: string) => secretEngineAt(url, (message) => said.push(message))!(order)

test('its secrets are asked for with the body and the id of the request', async () => {
  const seen: unknown[] = []
  const url = await engine(async (request, response) => {
    seen.push(request.method, request.url, request.headers['x-request-id'], await textOf(request))
    response.end('{"a":1}')
  })
  expect(await ask(`${url}/base/`)).toEqual({ kind: 'made', text: '{"a":1}' })
  expect(seen).toEqual(['POST', '/base/secrets', 'r-1', JSON.stringify(order.body)])
})

test.each([400, 404, 500])('its %i is a refusal', async (status) => {
  const url = await engine((_, response) => response.writeHead(status).end('{"code":1}'))
  expect(await ask(url)).toEqual({ kind: 'refused', text: '{"code":1}' })
})

test.each<[string, RequestListener]>([
  ['sends us elsewhere', (_, response) => response.writeHead(307, { Location: 'http://127.0.0.1:1/' }).end()],
  ['hangs up', (request) => request.socket.destroy()],
  ['answers without end', (_, response) => response.end('x'.repeat(limits.secretEngineBytes + 1))],
  ['answers what is no text', (_, response) => response.end(Buffer.from([0xff]))],
])('one that %s has not answered', async (_, listener) => {
  said.length = 0
  expect(await ask(await engine(listener))).toEqual({ kind: 'failed', status: 502 })
  expect(said).toEqual([expect.stringMatching(/^the secret engine made no secret: /)])
  expect(said.join()).not.toContain('not for the log')
})

test('one that is not there has not answered', async () => {
  const url = await engine(() => undefined)
  server!.close()
  await once(server!, 'close')
  expect(await ask(url)).toEqual({ kind: 'failed', status: 502 })
})

test('requests that wait for it are bounded', async () => {
  const url = await engine(async (request, response) => {
    await textOf(request)
    held.push(() => response.end('{}'))
    if (held.length === limits.secretEngineRequests) full.resolve()
  })
  const held: (() => void)[] = []
  const full = Promise.withResolvers<void>()
  const asking = secretEngineAt(url, () => undefined)!
  const waiting = Array.from({ length: limits.secretEngineRequests }, () => asking(order))
  await full.promise
  expect(await asking(order)).toEqual({ kind: 'failed', status: 503 })
  for (const release of held) release()
  expect((await Promise.all(waiting)).every(({ kind }) => kind === 'made')).toBe(true)
  const after = asking(order)
  while (held.length === limits.secretEngineRequests) await new Promise((resolve) => setImmediate(resolve))
  held.at(-1)!()
  expect(await after).toEqual({ kind: 'made', text: '{}' })
})

test('without a URL there is none', () => {
  expect(secretEngineAt(undefined, () => undefined)).toBeUndefined()
})
