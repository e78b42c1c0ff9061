// What every node of a real cluster says of itself (cluster 9, 10), while all is well and when the store has no majority.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, missing, startCluster } from './cluster.ts'
import { eventually } from './settled.ts'

const without = missing()

type Asked = { readonly status: number; readonly body: object }

async function ask(url: string): Promise<Asked> {
  const response = await fetch(url)
  return { status: response.status, body: (await response.json()) as object }
}

describe.skipIf(without !== undefined)(`health of a cluster${without ? ` (${without})` : ''}`, () => {
  let cluster: Cluster
  beforeAll(async () => {
    cluster = await startCluster({ followers: 0 })
    for (const { process } of cluster.nodes) process.start()
    await cluster.leader()
  }, 120_000)
  afterAll(() => cluster?.close(), 60_000)

  const healthOf = (name: string, query = ''): Promise<Asked> =>
    ask(`${cluster.node(name).process.url}/health${query}`)

  test('a Leader shows its Standbys, and is not degraded', async () => {
    const { body } = await eventually(
      'both Standbys stream',
      () => healthOf('a'),
      // What Postgres says is read a little later than what the supervisor tells, and who is next is known last.
      ({ body }) => {
        const text = JSON.stringify(body)
        const isWhole = text.includes('"sync_state":"sync"') && text.includes('"sync_candidate":true')
        return 'degraded' in body && body.degraded === false && isWhole
      },
    )
    const { cluster: said, database } = body as {
      cluster: { sync_standby: string }
      database: { replication_status: { pg_stat_replication: { node: string }[] } }
    }
    const streams = database.replication_status.pg_stat_replication
    expect(said).toMatchObject({ ok: true, status: 'running', message: 'leader', name: 'test', members: 3 })
    expect(said).toMatchObject({ leader: 'a', quorum: true, failover_blocked: null, paused: false })
    const [sync, other] = ['b', 'c'].sort((one) => (one === said.sync_standby ? -1 : 1))
    expect(streams.find(({ node }) => node === sync)).toMatchObject({ sync_state: 'sync', sync_priority: 1 })
    expect(streams.find(({ node }) => node === other)).toMatchObject({
      state: 'streaming',
      sync_state: 'async',
      sync_candidate: true,
    })
  })

  test.each(['b', 'c'])('Standby %s is well for who asks for one, and not for balancers', async (name) => {
    const asked = await eventually(
      'it is well',
      () => healthOf(name, '?role=standby'),
      ({ status }) => status === 200,
    )
    expect(asked.body).toMatchObject({
      role: 'standby',
      database: { ok: true, replication_status: { pg_last_xlog_replay_location: expect.any(String) } },
      cluster: { ok: true, message: 'follows a', leader: 'a', quorum: true },
    })
    expect(await healthOf(name)).toMatchObject({ status: 502, body: { ok: false, cluster: { ok: true } } })
    expect(await ask(`${cluster.node(name).process.url}/info`)).toMatchObject({
      status: 200,
      body: {
        role: 'standby',
        configuration: {
          conjur: {
            cluster_name: 'test',
            cluster_leader: 'a',
            cluster_machine_name: name,
            certificates: [{ use: 'internal', subject: expect.stringContaining(`CN=${name}`) }],
          },
        },
      },
    })
  })

  test('without a majority of the store all say so, and the Leader stops', async () => {
    await Promise.all(cluster.etcd.slice(1).map((member) => member.kill()))
    for (const name of ['a', 'b', 'c'])
      await eventually(
        `${name} is no Leader, and misses the store`,
        // Who led answers from a new process.
        () => healthOf(name).catch(() => ({ status: 0, body: {} })),
        ({ status, body }) =>
          status === 502 &&
          'cluster' in body &&
          (body.cluster as { ok: boolean; quorum: boolean }).quorum === false,
      )
    for (const name of ['b', 'c'])
      expect(await healthOf(name, '?role=standby')).toMatchObject({
        status: 502,
        body: { ok: false, cluster: { ok: false, failover_blocked: expect.any(String) } },
      })
  })
})
