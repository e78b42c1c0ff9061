// Waiting for a cluster to be whole again.
import type { Cluster, ControlNode, Health } from './cluster.ts'

/** Asks until the answer passes; fails with what was last answered. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T>,
  passes: (value: T) => boolean,
): Promise<T> {
  const giveUpAt = Date.now() + 60_000
  for (;;) {
    const value = await ask()
    if (passes(value)) return value
    if (Date.now() > giveUpAt) throw new Error(`${what}: ${JSON.stringify(value)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** For what fails: what the nodes have said first, so that what went wrong stands at the end. */
export const withLogs =
  (cluster: Cluster) =>
  (error: Error): never => {
    error.message = `${cluster.logs()}\n${error.message}`
    throw error
  }

/** The balancer has seen who leads. */
export async function balanced({ url }: Cluster): Promise<void> {
  const status = (): Promise<number | undefined> =>
    fetch(`${url}/health`).then(
      (response) => response.status,
      () => undefined,
    )
  await eventually('the balancer leads to the Leader', status, (found) => found === 200)
}

/** Starts all of it, the Followers when there is somebody to follow. */
export async function startAll(cluster: Cluster): Promise<{ leader: ControlNode; sync: ControlNode }> {
  for (const { process } of cluster.nodes) process.start()
  const found = await settled(cluster)
  for (const process of cluster.followers) process.start()
  await Promise.all(cluster.followers.map((process) => process.ready()))
  return found
}

/** Everybody is there again: one leads, one has the duty, the others follow. Who may not come back by itself is let in. */
export async function settled(cluster: Cluster): Promise<{ leader: ControlNode; sync: ControlNode }> {
  const out = new Map<ControlNode, number>()
  const all = await eventually(
    'the cluster is whole',
    async () => {
      const found = await Promise.all(cluster.nodes.map((node) => cluster.healthOf(node)))
      for (const [i, node] of cluster.nodes.entries()) {
        if (found[i]?.cluster.status !== 'evicted') out.delete(node)
        else if (!out.has(node)) out.set(node, Date.now())
        else if (Date.now() - out.get(node)! > BY_ITSELF_MS) {
          out.delete(node)
          await cluster.readmit(node)
        }
      }
      return found
    },
    (found) => found.every(isWhole) && found.some((health) => health!.ok),
  ).catch(withLogs(cluster))
  const leader = cluster.nodes[all.findIndex((health) => health!.ok)]!
  await balanced(cluster)
  return { leader, sync: cluster.node(all.find((health) => health!.ok)!.cluster.sync_standby!) }
}

/** A node that was put out looks what it holds, and comes back where that is harmless. */
const BY_ITSELF_MS = 5_000

const isWhole = (health: Health | undefined): boolean =>
  health !== undefined &&
  health.cluster.status === 'running' &&
  (health.ok ? !health.degraded : health.cluster.ok)
