// The contract on a real etcd with mutual TLS, and what only a real one can show.
import { Etcd3 } from 'etcd3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createEtcdStore, type EtcdOptions } from '#control-plane/coordination/etcd.ts'
import { transactions } from '#control-plane/coordination/keys.ts'
import { systemClock } from '#shared/node/clock.ts'
import { certificatesFor } from '../support/certificates.ts'
import { type CutProxy, cutProxy } from '../support/cut-proxy.ts'
import { type Etcd, findEtcd, startEtcd, startMembers } from '../support/etcd.ts'
import { manualClock } from '../support/manual-clock.ts'
import { coordinationCases } from './coordination.cases.ts'

const binary = findEtcd()
const TTL = 3_000
let etcd: Etcd
let clusters = 0

/** Everything under a prefix of its own. */
function settings(clusterId: string, port = etcd.port): EtcdOptions {
  return {
    endpoints: [`https://localhost:${port}`],
    tls: etcd.tls,
    clusterId,
    ttlMs: TTL,
    requestTimeoutMs: 1_500,
    clock: systemClock,
    report: () => undefined,
  }
}

async function forgetAllButNewest(): Promise<void> {
  const { ca, cert, key } = etcd.tls
  const client = new Etcd3({
    hosts: `https://localhost:${etcd.port}`,
    credentials: {
      rootCertificate: Buffer.from(ca),
      certChain: Buffer.from(cert),
      privateKey: Buffer.from(key),
    },
  })
  const { header } = await client.kv.range({ key: Buffer.from('/') })
  await client.kv.compact({ revision: header.revision })
  client.close()
}

if (binary === undefined)
  test.skip('left out: no etcd on the path nor in HOLDFAST_ETCD (Debian and Ubuntu: apt-get install etcd-server)', () =>
    undefined)
else {
  beforeAll(async () => {
    etcd = await startEtcd(binary)
  })
  afterAll(() => etcd.close())

  test('another certificate is used from then on, and leases outlive it', async () => {
    const store = createEtcdStore(settings(`cluster-${++clusters}`))
    expect((await store.grant('node')).outcome).toBe('granted')
    store.renew(await certificatesFor('localhost'))
    expect((await store.keep('node')).outcome).toBe('unknown')
    store.renew(etcd.tls)
    expect((await store.keep('node')).outcome).toBe('kept')
    expect(await store.transact(transactions.attend('node-1'))).toBe('done')
    await store.close()
  })

  coordinationCases('etcd', async () => {
    const clusterId = `cluster-${++clusters}`
    const opened: { close(): Promise<void> }[] = []
    return {
      async node() {
        const proxy: CutProxy = await cutProxy(etcd.port)
        const store = createEtcdStore(settings(clusterId, Number(new URL(proxy.url).port)))
        opened.push(store, proxy)
        return { store, hold: proxy.hold, cut: proxy.cut }
      },
      pass: () => undefined,
      compact: forgetAllButNewest,
      kill: etcd.kill,
      restart: etcd.start,
      async close() {
        for (const each of opened) await each.close()
      },
    }
  })

  describe('coordination store: etcd alone', () => {
    test('clusters do not see each other, also where one name begins with the other', async () => {
      const stores = ['apart', 'apart-2'].map((id) => createEtcdStore(settings(id)))
      for (const [i, store] of stores.entries()) {
        await store.grant('node')
        expect(await store.transact(transactions.attend(`node-${i}`))).toBe('done')
      }
      for (const [i, store] of stores.entries()) {
        expect((await store.read())!.present).toEqual(new Map([[`node-${i}`, {}]]))
        await store.close()
      }
      expect(() => createEtcdStore(settings('a/b'))).toThrow('no name of a cluster')
    })

    test('only those with a certificate of ours are let in, and only such an etcd is asked', async () => {
      const foreign = await certificatesFor('localhost')
      const reports: string[] = []
      const report = (message: string): void => void reports.push(message)
      const stranger = createEtcdStore({ ...settings('tls'), tls: { ...foreign, ca: etcd.tls.ca }, report })
      const deceived = createEtcdStore({ ...settings('tls'), tls: { ...etcd.tls, ca: foreign.ca }, report })
      expect(await stranger.read()).toBeUndefined()
      expect(await deceived.read()).toBeUndefined()
      expect(reports).toHaveLength(2)
      await Promise.all([stranger.close(), deceived.close()])
      const { port } = etcd
      expect(() => createEtcdStore({ ...settings('tls'), endpoints: [`https://127.0.0.1:${port}`] })).toThrow(
        'give a name that stands in the certificate',
      )
      expect(() => createEtcdStore({ ...settings('tls'), endpoints: [`http://localhost:${port}`] })).toThrow(
        'https only',
      )
    })

    test('an etcd that hangs is waited for until our own deadline and no longer', async () => {
      const clock = manualClock()
      const store = createEtcdStore({ ...settings('hanging'), requestTimeoutMs: 60_000, clock })
      await store.grant('leader')
      etcd.pause()
      try {
        const asked = [
          store.keep('leader'),
          store.read(),
          store.transact(transactions.withdraw('a')),
        ] as const
        clock.advance(59_999)
        await new Promise((resolve) => setImmediate(resolve))
        expect(await Promise.race([...asked, Promise.resolve('waiting')])).toBe('waiting')
        clock.advance(1)
        expect(await Promise.all(asked)).toMatchObject([{ outcome: 'unknown' }, undefined, 'unknown'])
      } finally {
        etcd.wake()
      }
      await store.close()
    })

    test('the life of a lease counts from before the request was sent', async () => {
      const clock = manualClock()
      const store = createEtcdStore({ ...settings('sent'), clock })
      clock.advance(5_000)
      const granted = store.grant('leader')
      clock.advance(300)
      expect(await granted).toEqual({ outcome: 'granted', sentAt: 5_000 })
      const kept = store.keep('leader')
      clock.advance(300)
      expect(await kept).toEqual({ outcome: 'kept', sentAt: 5_300 })
      await store.close()
    })

    test('a member that cannot be reached is passed over, for questions and for watches', async () => {
      const gone = await cutProxy(etcd.port)
      await gone.close()
      const reports: string[] = []
      const store = createEtcdStore({
        ...settings('members'),
        endpoints: [
          gone.url.replace('http://127.0.0.1', 'https://localhost'),
          `https://localhost:${etcd.port}`,
        ],
        report: (message) => void reports.push(message),
      })
      const first = Promise.withResolvers<void>()
      store.watch(() => first.resolve())
      await first.promise
      expect((await store.grant('node')).outcome).toBe('granted')
      expect(reports).toHaveLength(1)
      await store.close()
    })

    test('without a majority nobody is told anything, and with it again all goes on', async () => {
      const members = await startMembers(binary, 3, await certificatesFor('localhost', '127.0.0.1'))
      const reports: string[] = []
      const store = createEtcdStore({
        ...settings('majority'),
        tls: members[0]!.tls,
        ttlMs: 60_000,
        endpoints: members.map(({ port }) => `https://localhost:${port}`),
        report: (message) => void reports.push(message),
      })
      try {
        const present: boolean[] = []
        store.watch((view) => void present.push(view.present.has('a')))
        await until(() => present.length > 0)
        await until(async () => (await store.grant('node')).outcome === 'granted')
        await members[0]!.kill()
        await until(async () => (await store.transact(transactions.attend('a'))) === 'done')
        await until(() => present.at(-1) === true)
        await members[1]!.kill()
        // The last one answers, but not for the others; it ends its watch rather than be silent.
        await until(() => reports.some((report) => report.includes('watch') && report.includes('no leader')))
        expect(await store.read()).toBeUndefined()
        expect(await store.transact(transactions.withdraw('a'))).toBe('unknown')
        expect((await store.grant('leader')).outcome).toBe('unknown')
        await members[1]!.start()
        await until(async () => (await store.keep('node')).outcome === 'kept')
        await until(async () => (await store.transact(transactions.attend('a'))) === 'done')
        await until(() => present.length >= 3)
        expect(present.slice(1)).toEqual(present.slice(1).map(() => true))
      } finally {
        await store.close()
        await Promise.all(members.map((member) => member.close()))
      }
    })
  })
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve))
}
