// A Worker by itself: its settings, and who is let in.
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { temporaryFolder } from '../support/copy.ts'
import { edgeNode } from '../support/edge.ts'
import { type Env, freePorts, type NodeProcess } from '../support/nodes.ts'

const vars = { HOLDFAST_NAME: 'edge-7' }
const bearer = toHex(new Uint8Array(32).fill(7))
const secrets = { HOLDFAST_DATA_KEY: toBase64(new Uint8Array(32).fill(9)), HOLDFAST_BEARER: bearer }

let stop = async (): Promise<void> => undefined
afterEach(() => stop())

async function started(given: { vars?: Env; secrets?: Env } = {}): Promise<NodeProcess> {
  const folder = temporaryFolder()
  const [port] = await freePorts(1)
  const node = edgeNode({
    directory: folder.path,
    port: port!,
    vars: { ...vars, ...given.vars },
    secrets: { ...secrets, ...given.secrets },
  })
  stop = async () => {
    await node.kill()
    folder.remove()
  }
  node.start()
  await node.answered()
  return node
}

describe('a setting that is wrong is named, with what to do', () => {
  test.each([
    [
      'HOLDFAST_DATA_KEY',
      { secrets: { HOLDFAST_DATA_KEY: 'short' } },
      'wrangler secret put HOLDFAST_DATA_KEY',
    ],
    ['HOLDFAST_BEARER', { secrets: { HOLDFAST_BEARER: 'short' } }, 'wrangler secret put HOLDFAST_BEARER'],
    ['HOLDFAST_LEADER_URL', { vars: { HOLDFAST_LINK: 'object' } }, 'set it in [vars]'],
    [
      'HOLDFAST_LEADER_URL',
      { vars: { HOLDFAST_LINK: 'object', HOLDFAST_LEADER_URL: 'http://leader.example' } },
      'begin with https',
    ],
    ['HOLDFAST_LINK', { vars: { HOLDFAST_LINK: 'nobody' } }, '"leader"'],
    ['HOLDFAST_REGIONS', { vars: { HOLDFAST_REGIONS: 'weur=1,mars=1' } }, 'there is no region mars'],
    ['HOLDFAST_NAME', { vars: { HOLDFAST_NAME: 'edge.7', HOLDFAST_REGIONS: 'me=1' } }, 'letters, digits'],
    ['trusted_proxies', { vars: { HOLDFAST_TRUSTED_PROXIES: 'x' } }, 'x'],
  ])('%s', async (variable, given, words) => {
    const node = await started(given)
    const answer = await fetch(`${node.url}/whoami`)
    const text = await answer.text()
    expect([answer.status, text]).toEqual([503, expect.stringContaining(variable)])
    expect(JSON.parse(text).error.message).toContain(words)
    expect(text).not.toContain('short')
  })
})

test('without a copy it is not ready, and says why', async () => {
  const node = await started()
  const health = await fetch(`${node.url}/health`)
  expect([health.status, await health.json()]).toMatchObject([
    502,
    { ok: false, role: 'follower', services: { possum: 'no snapshot yet' } },
  ])
  // Also who is nobody here may be somebody to one that has a copy.
  const asked = await fetch(`${node.url}/secrets/acme/variable/x`)
  expect([asked.status, await asked.text()]).toEqual([
    503,
    expect.stringContaining('has not taken a snapshot'),
  ])
})

describe('who dials in', () => {
  const dialled = async (node: NodeProcess, authorization: string, path = 'stream'): Promise<WebSocket> =>
    new WebSocket(`${node.url.replace('http', 'ws')}/replication/${path}`, {
      headers: { Authorization: authorization },
    })
  const refused = async (socket: WebSocket): Promise<number> => {
    socket.on('error', () => undefined)
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode: number }]
    socket.terminate()
    return response.statusCode
  }

  test('is let in with the bearer of this Follower only', async () => {
    const node = await started()
    const wrong = ['', `Bearer edge-7.${bearer}x`, `Bearer edge-8.${bearer}`, `Basic ${bearer}`, bearer]
    for (const authorization of wrong)
      expect(await refused(await dialled(node, authorization)), authorization).toBe(401)
    for (const path of ['stream', 'audit']) {
      const socket = await dialled(node, `Bearer edge-7.${bearer}`, path)
      const [first] = (await once(socket, 'message')) as [Buffer]
      expect(JSON.parse(first.subarray(4).toString())).toMatchObject({ type: 'hello' })
      socket.terminate()
    }
  })

  test('is greeted again on a new connection, and the old one ends', async () => {
    const node = await started()
    const old = await dialled(node, `Bearer edge-7.${bearer}`)
    await once(old, 'message')
    const ended = once(old, 'close')
    const next = await dialled(node, `Bearer edge-7.${bearer}`)
    const [[hello]] = (await Promise.all([once(next, 'message'), ended])) as [[Buffer], unknown]
    expect(hello.toString()).toContain('hello')
    next.terminate()
  })

  test('says what it says in binary messages', async () => {
    const node = await started()
    const socket = await dialled(node, `Bearer edge-7.${bearer}`)
    await once(socket, 'message')
    socket.send('{"type":"ping"}')
    const [code] = (await once(socket, 'close')) as [number]
    expect(code).toBe(1003)
  })

  test('is told that this object dials itself', async () => {
    const node = await started({
      vars: { HOLDFAST_LINK: 'object', HOLDFAST_LEADER_URL: 'http://127.0.0.1:1' },
    })
    expect(await refused(await dialled(node, `Bearer edge-7.${bearer}`))).toBe(409)
  })
})
