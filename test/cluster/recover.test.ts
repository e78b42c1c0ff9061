// The coordination store is lost for ever: an operator begins a new one with the data that is left.
import { cpSync, renameSync, rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Etcd, findEtcd, startMembers } from '../support/etcd.ts'
import { Client } from '../support/nodes.ts'
import { type Cluster, type ControlNode, missing, startCluster } from './cluster.ts'
import { operate } from './operator.ts'
import { balanced, eventually, settled, startAll } from './settled.ts'

const without = missing()

describe.skipIf(without !== undefined)(`a lost store${without ? ` (${without})` : ''}`, () => {
  let cluster: Cluster
  let store: Etcd | undefined

  beforeAll(async () => {
    cluster = await startCluster({ followers: 0 })
    await startAll(cluster)
  }, 120_000)
  afterAll(async () => {
    await cluster?.close()
    await store?.close()
  }, 60_000)

  const admin = () => new Client(cluster.url, cluster.account).login('admin', cluster.adminKey())

  test('is begun anew, with nothing lost, when all have been compared', { timeout: 180_000 }, async () => {
    const client = await admin()
    await client.loadPolicy('root', '- !variable kept')
    expect((await client.setSecret('kept', 'before')).status).toBe(201)
    const { leader } = await settled(cluster)
    const others = cluster.nodes.filter((node) => node !== leader)
    await Promise.all(cluster.etcd.map((member) => member.kill()))
    await eventually(
      'nobody leads',
      () => cluster.healthOf(leader),
      (health) => health?.ok === false,
    )
    const blind = await operate(leader, 'cluster', 'status')
    expect(blind).toMatchObject({ exit: 1, value: { quorum: false }, error: { code: 'store_unknown' } })
    expect((await operate(leader, 'cluster', 'recover')).error?.code).toBe('store_unknown')

    ;[store] = await startMembers(findEtcd()!, 1, cluster.etcd[0]!.tls)
    const restart = async (node: ControlNode): Promise<void> => {
      await node.kill()
      Object.assign(node.process.env, { HOLDFAST_ETCD: `https://localhost:${store!.port}` })
      node.process.start()
    }
    await Promise.all(others.map((node) => node.kill()))
    await restart(leader)
    const refused = await eventually(
      'it compares',
      () => operate(leader, 'cluster', 'recover', '--why', 'the store is lost'),
      ({ error }) => error?.code === 'data_loss_possible',
    )
    for (const other of others) expect(refused.error?.message).toContain(`${other.name}: cannot be reached`)
    // An empty store is not believed, whatever it says.
    expect((await operate(leader, 'cluster', 'status')).value).toMatchObject({ quorum: false })

    await Promise.all(others.map(restart))
    const recovered = await eventually(
      'all can be compared',
      () => operate(leader, 'cluster', 'recover', '--why', 'the store is lost'),
      ({ exit }) => exit === 0,
    )
    expect(recovered.value).toMatchObject({
      leader: leader.name,
      record: { how: 'hand', possibleLoss: false },
    })
    expect(recovered.value.record.epoch).toBeGreaterThan(10)
    for (const other of others)
      expect(await operate(leader, 'cluster', 'rejoin', other.name)).toMatchObject({ exit: 0 })
    await settled(cluster)
    await balanced(cluster)
    const response = await (await admin()).getSecret('kept')
    expect(await response.text()).toBe('before')
    const { value } = await operate(leader, 'cluster', 'status', '--verify')
    expect(value.records[0].record.order).toMatchObject({ why: 'the store is lost' })
  })

  test('that comes back from an old backup is not believed', { timeout: 180_000 }, async () => {
    const [copy, right] = ['old', 'right'].map((name) => `${store!.dataFolder}.${name}`) as [string, string]
    await store!.kill()
    cpSync(store!.dataFolder, copy, { recursive: true })
    await store!.start()
    const { leader } = await settled(cluster)
    expect((await operate(leader, 'cluster', 'switchover')).exit).toBe(0)
    const { leader: next } = await settled(cluster)
    expect((await (await admin()).setSecret('kept', 'after the backup')).status).toBe(201)

    await store!.kill()
    renameSync(store!.dataFolder, right)
    renameSync(copy, store!.dataFolder)
    await store!.start()
    await eventually(
      'nobody leads',
      async () => Promise.all(cluster.nodes.map((node) => cluster.healthOf(node))),
      (found) => found.every((health) => health?.ok === false),
    )
    for (const node of cluster.nodes) {
      expect((await operate(node, 'cluster', 'status')).value).toMatchObject({ quorum: false })
      expect(node.process.log).toContain('restored from an old backup, and is not believed')
    }
    expect((await operate(next, 'cluster', 'recover', '--why', 'x')).error).toMatchObject({
      code: 'old_store',
      message: expect.stringContaining('Bring the right one back'),
    })

    await store!.kill()
    rmSync(store!.dataFolder, { recursive: true })
    renameSync(right, store!.dataFolder)
    await store!.start()
    await settled(cluster)
    await balanced(cluster)
    expect(await (await (await admin()).getSecret('kept')).text()).toBe('after the backup')
  })
})
