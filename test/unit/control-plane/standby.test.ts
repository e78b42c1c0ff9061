// What is at stake: a node that does not lead says what it is and gives nothing away, and the port for balancers answers
// one question.
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { afterEach, describe, expect, test } from 'vitest'
import { answerOfStandby, healthOnly, type StandbyIo } from '#control-plane/standby.ts'
import { type Listening, listen } from '#shared/node/listen.ts'

const io: StandbyIo = {
  health: () => ({ ok: true, body: { ok: true, role: 'standby', cluster: { ok: true } } }),
  info: () => ({ role: 'standby' }),
  remoteHealth: async (name, role) =>
    name === 'node-1' ? { ok: role === 'master', body: { asked: role ?? null } } : undefined,
}

let listening: Listening | undefined
afterEach(async () => {
  await listening?.close()
  listening = undefined
})

async function serve(only: boolean, given: StandbyIo = io): Promise<string> {
  const handle = (request: Parameters<typeof answerOfStandby>[0]) => answerOfStandby(request, given)
  listening = await listen({ host: '127.0.0.1', port: 0, handle: only ? healthOnly(handle) : handle })
  return `http://127.0.0.1:${listening.port}`
}

describe('a Standby', () => {
  test('is not well for balancers, and well for who asks for a Standby', async () => {
    const url = await serve(false)
    const forBalancers = await fetch(`${url}/health`)
    expect([forBalancers.status, await forBalancers.json()]).toEqual([
      502,
      { ok: false, role: 'standby', cluster: { ok: true } },
    ])
    expect(forBalancers.headers.get('conjur-health')).toBeNull()
    const forMonitors = await fetch(`${url}/health?role=standby`, { method: 'HEAD' })
    expect([forMonitors.status, forMonitors.headers.get('conjur-health')]).toEqual([200, 'OK'])
    for (const role of ['master', 'leader', 'follower', ''])
      expect((await fetch(`${url}/health?role=${role}`)).status, role).toBe(502)
  })

  test('that is unwell is so for everybody', async () => {
    const url = await serve(false, {
      ...io,
      health: () => ({ ok: false, body: { ok: false, role: 'standby' } }),
    })
    for (const query of ['', '?role=standby']) expect((await fetch(`${url}/health${query}`)).status).toBe(502)
  })

  test('says what it is, and how others are', async () => {
    const url = await serve(false)
    expect(await (await fetch(`${url}/info`)).json()).toEqual({ role: 'standby' })
    for (const [path, status, body] of [
      ['/remote_health/node-1', 502, { asked: null }],
      ['/remote_health/node-1?role=leader', 200, { asked: 'master' }],
      ['/remote_health/node-9', 404, { error: { code: 'not_found' } }],
    ] as const) {
      const response = await fetch(url + path)
      expect([response.status, await response.json()], path).toMatchObject([status, body])
    }
  })

  test.each([
    ['GET', '/'],
    ['GET', '/secrets/acme/variable/pw'],
    ['POST', '/health'],
    ['POST', '/authn/acme/admin/authenticate'],
  ])('serves nothing else: %s %s', async (method, path) => {
    const response = await fetch((await serve(false)) + path, { method })
    expect([response.status, await response.json()]).toMatchObject([503, { error: { code: 'not_leading' } }])
  })

  test('a query that nobody can have meant is refused', async () => {
    expect((await fetch(`${await serve(false)}/health?a=%00`)).status).toBe(400)
  })
})

describe('the port for balancers', () => {
  test('answers /health to GET and HEAD', async () => {
    const url = await serve(true)
    for (const method of ['GET', 'HEAD']) {
      expect((await fetch(`${url}/health`, { method })).status).toBe(502)
      expect((await fetch(`${url}/health?role=standby`, { method })).status).toBe(200)
    }
  })

  test.each([
    ['GET', '/', 404],
    ['GET', '/info', 404],
    ['GET', '/health/', 404],
    ['GET', '/remote_health/node-1', 404],
    ['POST', '/health', 405],
    ['PUT', '/health', 405],
    ['POST', '/info', 404],
  ])('answers nothing to %s %s', async (method, path, status) => {
    // Not with fetch: this is no answer of the API's routes (test/support/seen.ts).
    const asked = request((await serve(true)) + path, { method })
    asked.on('error', () => undefined)
    asked.end(method === 'GET' ? '' : 'x'.repeat(10_000))
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    expect([response.statusCode, await text(response)]).toEqual([status, ''])
  })
})
