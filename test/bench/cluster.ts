// What a synchronous Standby costs a write, and how long nobody can write when the Leader is killed.
import { type Cluster, startCluster, TTL_SECONDS } from '../cluster/cluster.ts'
import { prepareLoad, startLoad } from '../cluster/load.ts'
import { operate } from '../cluster/operator.ts'
import { settled, startAll } from '../cluster/settled.ts'
import { Client } from '../support/nodes.ts'
import { type Figure, figure } from './measure.ts'
import { must, running, variables, writesPerSecond } from './write.ts'

const CLIENTS = [1, 8, 32]
const SECONDS = 3
const ROUNDS = 3
/** Each way: a Standby in another zone is some milliseconds away. */
const FAR_MS = 2.5

async function withCluster<T>(body: (cluster: Cluster) => Promise<T>): Promise<T> {
  const cluster = await startCluster()
  try {
    await startAll(cluster)
    return await body(cluster)
  } finally {
    await cluster.close()
  }
}

const delay = (cluster: Cluster, ms: number): void => {
  for (const node of cluster.nodes) for (const link of node.toNodes.values()) link.delay(ms)
}

export const syncWrites = (): Promise<Figure[]> =>
  withCluster((cluster) =>
    running(async (_machine, alone) => {
      const { leader } = await settled(cluster)
      const admin = await new Client(leader.process.url, cluster.account).login('admin', cluster.adminKey())
      for (const client of [alone, admin]) {
        await must(201, client.loadPolicy('root', variables(Math.max(...CLIENTS))))
        await writesPerSecond(client, 8, 1)
      }
      const figures: Figure[] = []
      for (const clients of CLIENTS) {
        const found = { alone: [] as number[], near: [] as number[], far: [] as number[] }
        for (let round = 0; round < ROUNDS; round++) {
          found.alone.push(await writesPerSecond(alone, clients, SECONDS))
          found.near.push(await writesPerSecond(admin, clients, SECONDS))
          delay(cluster, FAR_MS)
          found.far.push(await writesPerSecond(admin, clients, SECONDS))
          delay(cluster, 0)
        }
        const ratio = (some: readonly number[]): number[] => some.map((n, i) => n / found.alone[i]!)
        figures.push(
          figure(`writes without a Standby, clients: ${clients}`, 'writes/s', found.alone),
          figure(`writes with a sync Standby, clients: ${clients}`, 'writes/s', found.near),
          figure(`  of those without, clients: ${clients}`, 'ratio', ratio(found.near)),
          figure(`writes with one 5 ms away, clients: ${clients}`, 'writes/s', found.far),
          figure(`  of those without, clients: ${clients}`, 'ratio', ratio(found.far)),
        )
      }
      return figures
    }),
  )

const KILLS = 10

export const failover = (): Promise<Figure[]> =>
  withCluster(async (cluster) => {
    const key = await prepareLoad(cluster)
    const outages: number[] = []
    const connected: number[] = []
    for (let round = 0; round < KILLS; round++) {
      const { leader } = await settled(cluster)
      const load = await startLoad(cluster, key)
      await load.acknowledgedAfter(performance.now())
      const from = performance.now()
      leader.signal('SIGKILL')
      const back = load.acknowledgedAfter(performance.now())
      await leader.process.kill()
      const opened = await cluster.leader([leader.name])
      const openedAt = performance.now()
      while (((await cluster.healthOf(opened))?.followers?.length ?? 0) < cluster.followers.length)
        await new Promise((resolve) => setTimeout(resolve, 10))
      connected.push((performance.now() - openedAt) / 1000)
      outages.push(((await back) - from) / 1000)
      await load.stop()
      leader.process.start()
    }
    return [
      figure(
        `no write after kill -9 of the Leader, ttl ${TTL_SECONDS} s (bar median ≤ 6, max ≤ 11)`,
        's',
        outages,
      ),
      figure(
        '  of ttl + 0.5 s',
        'ratio',
        outages.map((s) => s / (TTL_SECONDS + 0.5)),
      ),
      figure('Followers connected after the new Leader opened (bar ≤ 2)', 's', connected),
    ]
  })

const SWITCHOVERS = 20
/** As many as come to 200 writes/s. */
const WRITERS = 20

/** The longest time without an acknowledged write that an ordered change of the Leader causes. */
export const switchovers = (): Promise<Figure[]> =>
  withCluster(async (cluster) => {
    const key = await prepareLoad(cluster)
    const pauses: number[] = []
    const rates: number[] = []
    for (let round = 0; round < SWITCHOVERS; round++) {
      const { leader } = await settled(cluster)
      const load = await startLoad(cluster, key, WRITERS)
      const from = await load.acknowledgedAfter(performance.now() + 1_000)
      const { exit, error } = await operate(leader, 'cluster', 'drill', '--why', 'a bench')
      if (exit !== 0) throw new Error(`the switchover was refused: ${error?.message}`)
      await load.acknowledgedAfter(performance.now() + 1_000)
      await load.stop()
      const ends = load.journal.answered
        .filter(({ write }) => write)
        .map(({ endedAt }) => endedAt)
        .sort((a, b) => a - b)
      const before = ends.filter((end) => end < from)
      rates.push(before.length / ((from - before[0]!) / 1000))
      pauses.push(Math.max(...ends.slice(1).map((end, i) => end - ends[i]!)) / 1000)
    }
    return [
      figure('writes before a switchover', 'writes/s', rates),
      figure('no write during a switchover (bar p99 ≤ 1.5)', 's', pauses),
    ]
  })
