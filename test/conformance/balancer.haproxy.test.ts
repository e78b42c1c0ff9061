// What is at stake: clients and Followers know one address, and behind it they reach the Leader and nobody else, also when
// that is another one. With the configuration that we ship, on a real HAProxy.
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ControlNodes, startControlNodes } from '../support/control-nodes.ts'
import { findHaproxy, startBalancer } from '../support/haproxy.ts'
import { runCommand } from '../support/joining.ts'
import { freePorts, NodeProcess } from '../support/nodes.ts'

const haproxy = findHaproxy()
/** Addresses of this machine that stand for others. */
const BALANCER = '127.0.0.2'
const CLIENT = '127.0.0.5'

type Said = { readonly status: number; readonly text: string; readonly sha256: string }

describe.skipIf(haproxy === undefined)('one address (skipped where there is no haproxy)', () => {
  let cluster: ControlNodes
  let front: number
  let balancer: Awaited<ReturnType<typeof startBalancer>>
  let follower: NodeProcess
  let enrolled: NodeProcess
  let folder: string
  let token: string

  beforeAll(async () => {
    const [frontPort, nodePort, followerPort, enrolledPort] = await freePorts(4)
    front = frontPort!
    const nodeAddress = `127.0.0.1:${nodePort}`
    const url = `https://127.0.0.1:${front}`
    cluster = await startControlNodes(3, { url, nodeAddress, balancer: BALANCER })
    const options = { port: front, nodePort: nodePort!, source: BALANCER, backends: cluster.nodes }
    balancer = await startBalancer(haproxy!, options)
    folder = mkdtempSync(join(tmpdir(), 'holdfast-edge-'))
    const follows = (name: string, port: number) => ({
      HOLDFAST_ACCOUNT: 'acme',
      HOLDFAST_NAME: name,
      HOLDFAST_HOST: '127.0.0.1',
      HOLDFAST_PORT: String(port),
      HOLDFAST_DATA_DIR: join(folder, name),
      HOLDFAST_DATA_KEY_FILE: cluster.dataKeyFile,
    })
    enrolled = new NodeProcess(['follower'], follows('edge-2', enrolledPort!), enrolledPort!)
    follower = new NodeProcess(
      ['follower'],
      {
        ...follows('edge-1', followerPort!),
        HOLDFAST_BEARER_FILE: cluster.bearerFile,
        HOLDFAST_LEADER_URL: url,
        HOLDFAST_LEADER_CA_FILE: cluster.caFile,
      },
      followerPort!,
    )
  })
  afterAll(async () => {
    await follower?.kill('SIGTERM')
    await enrolled?.kill('SIGTERM')
    await balancer?.stop()
    await cluster?.close()
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
  })

  /** As a client from another machine; rejects when the connection is not served. */
  function ask(port: number, method: string, path: string, body = '', more: object = {}): Promise<Said> {
    return new Promise((resolve, reject) => {
      const headers = token === undefined ? {} : { Authorization: `Token token="${token}"` }
      const options = { host: '127.0.0.1', port, localAddress: CLIENT, ca: cluster.tls.ca, agent: false }
      const asked = request({ ...options, method, path, headers, ...more }, (response) => {
        const { fingerprint256 } = (response.socket as TLSSocket).getPeerCertificate()
        const sha256 = fingerprint256.replaceAll(':', '').toLowerCase()
        let text = ''
        response.on('data', (chunk) => {
          text += String(chunk)
        })
        response.on('end', () => resolve({ status: response.statusCode!, text, sha256 }))
        response.on('error', reject)
      })
      asked.on('error', reject)
      asked.end(body)
    })
  }
  const through = (method: string, path: string, body?: string, more?: object): Promise<Said> =>
    ask(front, method, path, body, more)
  const healthOf = async (port: number): Promise<Response> => fetch(`http://127.0.0.1:${port}/health`)

  /** Until it is true; the time limit of the test ends it otherwise. */
  async function until(isSo: () => Promise<boolean>): Promise<void> {
    while (!(await isSo().catch(() => false))) await new Promise((resolve) => setTimeout(resolve, 20))
  }
  /** What the address stands for now, in the words of whoever answers there. */
  const answering = async (): Promise<string> => {
    const { text } = await through('GET', '/info')
    return JSON.parse(text).configuration.conjur.hostname
  }
  const secret = '/secrets/acme/variable/pw'

  test('while nobody leads, nobody is reached', async () => {
    await until(() =>
      through('GET', '/health').then(
        () => false,
        () => true,
      ),
    )
    for (const { healthPort } of cluster.nodes) expect((await healthOf(healthPort)).status).toBe(502)
  })

  test('it is the Leader’s, with his certificate, and the client stays who it is', async () => {
    await cluster.nodes[0]!.lead(1)
    await until(async () => (await answering()) === 'node-1')
    const { text, sha256 } = await through('GET', '/info')
    const info = JSON.parse(text)
    expect(info).toMatchObject({
      role: 'master',
      configuration: {
        conjur: {
          cluster_name: 'production',
          cluster_leader: 'node-1',
          cluster_machine_name: 'node-1',
          certificates: [
            { use: 'client-facing', sha256 },
            { use: 'internal', sha256 },
          ],
          balancers: [BALANCER],
        },
      },
    })
    const health = async () => JSON.parse((await through('GET', '/health')).text)
    // On a machine that is busy, Postgres may take longer than health waits for it.
    await until(async () => 'pg_current_xlog_location' in (await health()).database.replication_status)
    expect(await health()).toMatchObject({
      ok: true,
      // Its Standbys are not there.
      degraded: true,
      database: {
        replication_status: {
          pg_stat_replication: [],
          pg_current_xlog_location: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/),
          pg_current_xlog_location_bytes: expect.any(Number),
        },
      },
      cluster: { message: 'leader; does not stream: node-2, node-3', quorum: true, sync_standby: 'node-2' },
    })
    const key = readFileSync(join(cluster.nodes[0]!.folder, 'admin.key'), 'utf8').trim()
    const login = { headers: { 'Accept-Encoding': 'base64' } }
    token = (await through('POST', '/authn/acme/admin/authenticate', key, login)).text
    expect(JSON.parse((await through('GET', '/whoami')).text)).toMatchObject({ client_ip: CLIENT })
  })

  test('writes go to the Leader, and no other takes one', async () => {
    expect((await through('POST', '/policies/acme/policy/root', '- !variable pw\n')).status).toBe(201)
    expect((await through('POST', secret, 'one')).status).toBe(201)
    for (const { port } of cluster.nodes.slice(1)) {
      const refused = await ask(port, 'POST', secret, 'two')
      expect([refused.status, JSON.parse(refused.text).error.code]).toEqual([503, 'not_leading'])
    }
    expect((await through('GET', secret)).text).toBe('one')
  })

  test('Followers come through it, with a bearer and with a certificate', async () => {
    const session = {
      HOLDFAST_URL: `https://127.0.0.1:${front}`,
      HOLDFAST_ACCOUNT: 'acme',
      HOLDFAST_API_KEY_FILE: join(cluster.nodes[0]!.folder, 'admin.key'),
      NODE_EXTRA_CA_CERTS: cluster.caFile,
    }
    const seed = await runCommand(['seed', 'follower', 'edge-2'], '', session)
    expect(seed).toMatchObject({ code: 0, err: '' })
    const at = ['--data-dir', join(folder, 'edge-2')]
    expect(await runCommand(['unpack', 'seed', '-', ...at], seed.out, {})).toMatchObject({ code: 0 })
    for (const node of [follower, enrolled]) {
      node.start()
      await node.ready()
      expect(await (await fetch(`${node.url}/info`)).json()).toMatchObject({
        configuration: { conjur: { cluster_name: 'production', cluster_leader: 'node-1' } },
      })
    }
    expect(await (await fetch(`${enrolled.url}/info`)).json()).toMatchObject({
      configuration: {
        conjur: { certificates: [{ use: 'internal', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }] },
      },
    })
  })

  test('when another one leads, who talks to the old one is cut off, and all come to the new one by themselves', async () => {
    const [old, next] = cluster.nodes
    const held = tlsConnect({ host: '127.0.0.1', port: front, ca: cluster.tls.ca })
    await once(held, 'secureConnect')
    const cut = once(held, 'close')
    // The old one's process lives on, and so would its connections.
    old!.fence()
    held.resume()
    await cut
    const fenced = await healthOf(old!.healthPort)
    expect(fenced.status).toBe(502)
    expect(await fenced.json()).toMatchObject({ role: 'standby', cluster: { status: 'fenced' } })
    const late = await ask(old!.port, 'POST', secret, 'late')
    expect([late.status, JSON.parse(late.text).error.code]).toEqual([503, 'outcome_unknown'])

    for (const node of cluster.nodes) node.tell({ leader: next!.name, epoch: 2 })
    await next!.lead(2)
    await until(async () => (await answering()) === 'node-2')
    expect((await through('POST', secret, 'two')).status).toBe(201)
    const headers = { Authorization: `Token token="${token}"` }
    for (const { url } of [follower, enrolled]) {
      await until(async () => (await (await fetch(url + secret, { headers })).text()) === 'two')
      expect(await (await fetch(`${url}/health`)).json()).toMatchObject({
        ok: true,
        replication: { connected: true, epoch: 2, distrust: null },
      })
    }
  })

  test('each node says how another one is', async () => {
    const { text, status } = await ask(cluster.nodes[2]!.port, 'GET', '/remote_health/node-2')
    expect([status, JSON.parse(text)]).toMatchObject([
      200,
      { role: 'master', cluster: { name: 'production', epoch: 2, leader: 'node-2' } },
    ])
    const old = await through('GET', '/remote_health/node-1')
    expect([old.status, JSON.parse(old.text)]).toMatchObject([502, { cluster: { status: 'fenced' } }])
    await cluster.nodes[2]!.kill()
    const gone = await through('GET', '/remote_health/node-3')
    expect([gone.status, JSON.parse(gone.text)]).toEqual([502, { ok: false, error: 'it cannot be reached' }])
    expect((await through('GET', '/remote_health/127.0.0.1')).status).toBe(404)
  })
})
