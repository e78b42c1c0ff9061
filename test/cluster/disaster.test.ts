// A whole site is lost: the DR Standby elsewhere leads when an operator says so, and not before (cluster 8).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../support/nodes.ts'
import { type Cluster, type ControlNode, missing, startCluster } from './cluster.ts'
import { operate } from './operator.ts'
import { balanced, eventually, settled, startAll } from './settled.ts'

const without = missing()

describe.skipIf(without !== undefined)(`a lost site${without ? ` (${without})` : ''}`, () => {
  let cluster: Cluster

  beforeAll(async () => {
    cluster = await startCluster({ names: ['a', 'b', 'c', 'far'], dr: ['far'], followers: 1 })
    await startAll(cluster)
  }, 120_000)
  afterAll(() => cluster?.close(), 60_000)

  const admin = (url: string) => new Client(url, cluster.account).login('admin', cluster.adminKey())

  test('the DR Standby leads by hand, the Follower goes on with it, and the others come back as Standbys', {
    timeout: 240_000,
  }, async () => {
    const far = cluster.node('far')
    const site = cluster.nodes.filter((node) => node !== far)
    const client = await admin(cluster.url)
    await client.loadPolicy('root', '- !variable kept')
    expect((await client.setSecret('kept', 'before')).status).toBe(201)
    const stays = await operate(far, 'cluster', 'switchover', '--to', 'far')
    expect(stays).toMatchObject({ exit: 1 })
    expect(stays.error!.message).toContain('DR')

    for (const node of site) node.signal('SIGKILL')
    await Promise.all(site.map((node) => node.process.kill()))
    const waits = await eventually(
      'nobody leads',
      async () => (await operate(far, 'cluster', 'status')).value,
      (seen) => seen.leader === null,
    )
    expect(waits.sync).not.toBe('far')
    expect((await operate(far, 'role', 'promote')).error?.message).toContain('cluster pause')
    expect(await operate(far, 'cluster', 'pause', '--for', '10m', '--why', 'the site is gone')).toMatchObject(
      {
        exit: 0,
      },
    )
    const refused = await operate(far, 'role', 'promote', '--why', 'the site is gone')
    expect(refused.error).toMatchObject({ code: 'data_loss_possible' })
    for (const { name } of site) expect(refused.error!.message).toContain(`${name}: cannot be reached`)
    // Alone it can wait for no Standby: that is set where it runs.
    await far.kill()
    Object.assign(far.process.env, { HOLDFAST_SYNC_REQUIRED: 'false' })
    far.process.start()
    const promoted = await eventually(
      'it leads',
      () => operate(far, 'role', 'promote', '--why', 'the site is gone', '--accept-data-loss'),
      ({ exit }) => exit === 0,
    )
    expect(promoted.value).toMatchObject({ leader: 'far', record: { how: 'hand', possibleLoss: true } })
    await balanced(cluster)
    const next = await admin(cluster.url)
    expect(await (await next.getSecret('kept')).text()).toBe('before')
    expect((await next.setSecret('kept', 'after')).status).toBe(201)
    const [follower] = cluster.followers
    await eventually(
      'the Follower has it',
      async () => (await (await admin(follower!.url)).getSecret('kept')).text(),
      (read) => read === 'after',
    )

    await operate(far, 'cluster', 'resume')
    for (const node of site) node.process.start()
    await settled(cluster)
    const home = site[0] as ControlNode
    const back = await eventually(
      'one of the site leads again',
      () => operate(far, 'cluster', 'switchover', '--to', home.name, '--why', 'the site is back'),
      ({ exit }) => exit === 0,
    )
    expect(back.value).toMatchObject({ leader: home.name })
    await settled(cluster)
    expect(await (await (await admin(cluster.url)).getSecret('kept')).text()).toBe('after')
  })
})
