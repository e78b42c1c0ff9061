// Control nodes that know one another by nothing but the authority of the first: it is made before there is a ledger, the
// first Leader takes it in, and a Standby that joins with a seed streams and may lead.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createEtcdStore } from '#control-plane/coordination/etcd.ts'
import { callPeer } from '#control-plane/postgres/peer.ts'
import { toBase64 } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { storeUserOf } from '#shared/enrolment/names.ts'
import { bootClock, systemClock } from '#shared/node/clock.ts'
import { type Identity, identityFiles, readIdentity } from '#shared/node/identity.ts'
import { obtainIdentity, unpackSeed } from '#shared/node/join.ts'
import { type Etcd, findEtcd, startMembers } from '../support/etcd.ts'
import { runCommand } from '../support/joining.ts'
import { Client, freePorts, NodeProcess } from '../support/nodes.ts'

const binary = findEtcd()

type Replica = { readonly state: string }

describe.skipIf(binary === undefined)('control nodes (skipped where there is no etcd)', () => {
  const names = ['node-1', 'node-2'] as const
  let directory: string
  let ports: readonly number[]
  let etcd: Etcd | undefined
  const nodes: NodeProcess[] = []
  const folderOf = (name: string): string => join(directory, name)
  const nodeAddresses = (): string => `127.0.0.1:${ports[4]},127.0.0.1:${ports[5]}`

  function nodeOf(i: 0 | 1, etcdPort: number): NodeProcess {
    const env = {
      HOLDFAST_ACCOUNT: 'acme',
      HOLDFAST_CLUSTER: 'main',
      HOLDFAST_NAME: names[i],
      HOLDFAST_NODES: `node-1=127.0.0.1:${ports[2]},node-2=127.0.0.1:${ports[3]}`,
      HOLDFAST_ETCD: `https://localhost:${etcdPort}`,
      HOLDFAST_DATA_DIR: folderOf(names[i]),
      HOLDFAST_DATA_KEY_FILE: join(directory, 'data.key'),
      HOLDFAST_HOST: '127.0.0.1',
      HOLDFAST_PORT: String(ports[i]),
      HOLDFAST_HEALTH_PORT: '0',
      HOLDFAST_NODE_PORT: String(ports[4 + i]),
      HOLDFAST_NODE_ADDRESSES: nodeAddresses(),
      HOLDFAST_SYNC_REQUIRED: 'false',
      HOLDFAST_TTL: '5',
    }
    const node = new NodeProcess(['node'], env, ports[i]!)
    nodes.push(node)
    return node
  }

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-members-'))
    for (const name of names) mkdirSync(folderOf(name), { mode: 0o700 })
    writeFileSync(join(directory, 'data.key'), `${toBase64(randomBytes(32))}\n`, { mode: 0o600 })
    ports = await freePorts(6)
  })
  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.kill('SIGTERM')))
    await etcd?.close()
    rmSync(directory, { recursive: true, force: true })
  })

  test('the first makes the cluster, the second joins with a seed and takes its log', async () => {
    const init = ['ca', 'init', '--data-dir', folderOf('node-1'), '--name', 'node-1', '--account', 'acme']
    const names = ['--node-addresses', nodeAddresses(), '--altnames', 'localhost,127.0.0.1']
    expect(await runCommand([...init, ...names], '', {})).toMatchObject({ code: 0, err: '' })
    expect(await runCommand([...init, ...names], '', {})).toMatchObject({ code: 1 })
    const files = identityFiles(folderOf('node-1'))
    const made = (await readIdentity(folderOf('node-1')))!
    const tls = { ca: made.authorities, cert: made.certificate, key: made.key }
    const { clusterId } = made.membership
    ;[etcd] = await startMembers(binary!, 1, tls, { 'client-cert-allowed-hostname': storeUserOf(clusterId) })

    const first = nodeOf(0, etcd!.port)
    first.start()
    await first.ready()
    expect(existsSync(files.authorityKey)).toBe(false)

    const second = nodeOf(1, etcd!.port)
    second.start()
    const keyFile = join(folderOf('node-1'), 'admin.key')
    const admin = await new Client(first.url, 'acme').login('admin', readFileSync(keyFile, 'utf8').trim())
    const policy = `
- !policy
  id: conjur/cluster/main
  body:
  - !layer
  - !host node-2
  - !grant { role: !layer, member: !host node-2 }
`
    expect((await admin.loadPolicy('root', policy)).status).toBe(201)
    const altnames = ['--altnames', 'localhost,127.0.0.1']
    const seed = await runCommand(['seed', 'standby', 'node-2', ...altnames], '', sessionAtFirst())
    expect(seed).toMatchObject({ code: 0, err: '' })
    const unpack = ['unpack', 'seed', '-', '--data-dir', folderOf('node-2')]
    expect(await runCommand(unpack, seed.out, {})).toMatchObject({ code: 0, err: '' })
    const streams = (found: readonly Replica[]): boolean => found.some(({ state }) => state === 'streaming')
    expect(await replicas(first, streams)).toHaveLength(1)
    expect((await readIdentity(folderOf('node-2')))!.presented.name?.roleClass).toBe('control')
  })

  test('a Follower’s certificate is none for the coordination store, nor for Postgres', async () => {
    const seed = await runCommand(['seed', 'follower', 'edge-1'], '', sessionAtFirst())
    const folder = join(directory, 'edge-1')
    await unpackSeed(seed.out, folder, Date.now())
    const report = (): void => undefined
    const { signal } = new AbortController()
    const joining = { dataDirectory: folder, version: 'test', clock: systemClock, report }
    const edge = (await obtainIdentity({ ...joining, kinds: ['follower'] }, signal))!
    const read = async ({ authorities: ca, certificate: cert, key }: Identity) => {
      const store = createEtcdStore({
        endpoints: [`https://localhost:${etcd!.port}`],
        tls: { ca, cert, key },
        clusterId: 'main',
        ttlMs: 5_000,
        requestTimeoutMs: 2_000,
        clock: bootClock,
        report,
      })
      const view = await store.read()
      await store.close()
      return view?.leader?.node
    }
    expect(await read((await readIdentity(folderOf('node-1')))!)).toBe('node-1')
    expect(await read(edge)).toBeUndefined()
    const tls = { ca: edge.authorities, cert: edge.certificate, key: edge.key }
    await expect(callPeer({ host: '127.0.0.1', port: ports[2]! }, tls, 'x', signal)).rejects.toThrow()
  })

  test('one that is put out takes it no more', async () => {
    expect(await runCommand(['ca', 'revoke', 'node-2'], '', sessionAtFirst())).toMatchObject({ code: 0 })
    expect(await replicas(nodes[0]!, (found) => found.length === 0)).toEqual([])
  })

  const sessionAtFirst = () => ({
    HOLDFAST_URL: nodes[0]!.url,
    HOLDFAST_ACCOUNT: 'acme',
    HOLDFAST_API_KEY_FILE: join(folderOf('node-1'), 'admin.key'),
  })

  /** What the Leader says of those that take its log, when that is so. */
  async function replicas(
    leader: NodeProcess,
    until: (found: readonly Replica[]) => boolean,
  ): Promise<readonly Replica[]> {
    for (;;) {
      const health = (await (await fetch(`${leader.url}/health`)).json()) as {
        database: { replication_status: { pg_stat_replication: readonly Replica[] } }
      }
      const found = health.database.replication_status?.pg_stat_replication ?? []
      if (until(found)) return found
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
})
