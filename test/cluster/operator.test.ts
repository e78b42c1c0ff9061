// What an operator can do to a cluster of real processes: every order through the command line, at any node's door.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, missing, startCluster } from './cluster.ts'
import { operate } from './operator.ts'

const without = missing()

describe.skipIf(without !== undefined)(`an operator${without ? ` (${without})` : ''}`, () => {
  let cluster: Cluster

  beforeAll(async () => {
    cluster = await startCluster({ followers: 0 })
    for (const { process } of cluster.nodes) process.start()
    await cluster.leader()
  }, 120_000)
  afterAll(() => cluster?.close(), 60_000)

  test('sees who leads, from any node', async () => {
    const { exit, value } = await operate(cluster.node('c'), 'cluster', 'status')
    console.log(JSON.stringify(value, null, 1))
    expect(exit).toBe(0)
    expect(value).toMatchObject({ cluster: 'test', node: 'c', quorum: true, leader: { node: 'a' } })
  })

  test('lets nobody in who is not out', async () => {
    const { exit, value } = await operate(cluster.node('c'), 'cluster', 'rejoin', 'b')
    expect({ exit, value }).toEqual({ exit: 0, value: { node: 'b', was_out: false, present: true } })
    const stranger = await operate(cluster.node('c'), 'cluster', 'rejoin', 'x')
    expect(stranger).toMatchObject({ exit: 1, error: { code: 'unknown_node' } })
  })
})
