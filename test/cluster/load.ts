// Clients of a cluster, and what they saw: the only truth that the end is compared with.
import { Client } from '../support/nodes.ts'
import type { Cluster } from './cluster.ts'
import { eventually } from './settled.ts'

/** One answered write or read of the control plane; times of this process, milliseconds. */
type Answered = {
  readonly id: string
  readonly at: string
  readonly startedAt: number
  readonly endedAt: number
  readonly epoch: number
  readonly write: boolean
}

export type Journal = {
  readonly answered: Answered[]
  /** By variable. */
  readonly acknowledged: Map<string, number>
  readonly attempted: Map<string, number>
  /** Reads of Followers: those that were answered, and what went wrong. */
  readonly probed: string[]
  readonly failedProbes: string[]
}

export type Load = {
  readonly journal: Journal
  /** Resolves with the time of the first write that was begun after `at` and acknowledged. */
  acknowledgedAfter(at: number): Promise<number>
  stop(): Promise<void>
}

let loads = 0
const THROUGH_BALANCER = 3
const REQUEST_MS = 3_000
const PROBE_EVERY_MS = 20
const MOST_THROUGH_BALANCER = 21
const NODES = 3
const VARIABLES = 2 * (NODES + MOST_THROUGH_BALANCER)

export const loadPolicy = `
- !policy
  id: load
  body:
  - !host worker
  - &variables
${Array.from({ length: VARIABLES }, (_, i) => `    - !variable v${i}`).join('\n')}
  - !permit
    role: !host worker
    privileges: [ read, execute, update ]
    resources: *variables
`

/** Sets up what the load needs: the policy, the first values; answers the key of the worker. */
export async function prepareLoad(cluster: Cluster): Promise<string> {
  const admin = await new Client(cluster.url, cluster.account).login('admin', cluster.adminKey())
  const loaded = await admin.loadPolicy('root', loadPolicy)
  if (loaded.status !== 201) throw new Error(`the policy was answered with ${loaded.status}`)
  const { created_roles } = (await loaded.json()) as { created_roles: Record<string, { api_key: string }> }
  for (let i = 0; i < VARIABLES; i++) {
    const { status } = await admin.setSecret(`load/v${i}`, '0')
    if (status !== 201) throw new Error(`a first value was answered with ${status}`)
  }
  return created_roles[`${cluster.account}:host:load/worker`]!.api_key
}

/**
 * Writers and readers at every control node and through the balancer, and an open loop of reads at every Follower.
 * `through`: how many go through the balancer, at most 21.
 */
export async function startLoad(
  cluster: Cluster,
  workerKey: string,
  through = THROUGH_BALANCER,
): Promise<Load> {
  const load = ++loads
  const worker = await new Client(cluster.url, cluster.account).login('host/load/worker', workerKey)
  // The key of a new Leader comes to the Followers like every other commit: until then they believe no token of his.
  for (const { url } of cluster.followers) {
    const read = () =>
      ask(worker.at(url), 'load/v0', undefined, { headers: {}, signal: AbortSignal.timeout(REQUEST_MS) })
    await eventually('a Follower believes the token', read, (answer) => answer?.status === 200)
  }
  const journal: Journal = {
    answered: [],
    acknowledged: new Map(),
    attempted: new Map(),
    probed: [],
    failedProbes: [],
  }
  const waiting = new Set<{ readonly at: number; readonly done: (time: number) => void }>()
  let going = true
  const targets = [
    ...cluster.nodes.map((node) => ({ at: node.name, url: node.process.url })),
    ...Array.from({ length: through }, () => ({ at: 'balancer', url: cluster.url })),
  ]
  const note = (entry: Answered): void => {
    journal.answered.push(entry)
    if (!entry.write) return
    for (const waiter of waiting) {
      if (entry.startedAt <= waiter.at) continue
      waiting.delete(waiter)
      waiter.done(entry.endedAt)
    }
  }

  const loops = targets.map(async ({ at, url }, loop) => {
    const client = worker.at(url)
    for (let n = 1; going; n++) {
      const write = n % 3 !== 0
      // No two loops write one variable: the highest acknowledged number is what must be there.
      const variable = `load/v${loop + (n % 2) * targets.length}`
      const id = `load-${load}-${at}-${loop}-${n}`
      const startedAt = performance.now()
      const init = { headers: { 'X-Request-Id': id }, signal: AbortSignal.timeout(REQUEST_MS) }
      if (write) journal.attempted.set(variable, n)
      const answer = await ask(client, variable, write ? String(n) : undefined, init)
      if (answer === undefined) {
        await new Promise((resolve) => setTimeout(resolve, 15))
        continue
      }
      const { status, epoch } = answer
      if (write ? status === 201 : status === 200) {
        if (write) journal.acknowledged.set(variable, n)
        note({ id, at, startedAt, endedAt: performance.now(), epoch, write })
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })

  const probers = cluster.followers.map((follower, i) => {
    const client = worker.at(follower.url)
    const pending = new Set<Promise<void>>()
    let n = 0
    const timer = setInterval(() => {
      const id = `probe-${load}-${i}-${++n}`
      const asked = ask(client, `load/v${n % VARIABLES}`, undefined, {
        headers: { 'X-Request-Id': id },
        signal: AbortSignal.timeout(REQUEST_MS),
      }).then((answer) => {
        if (answer?.status === 200) journal.probed.push(id)
        else journal.failedProbes.push(`edge-${i + 1}, ${id}: ${answer?.status ?? 'no answer'}`)
        pending.delete(asked)
      })
      pending.add(asked)
    }, PROBE_EVERY_MS)
    return async (): Promise<void> => {
      clearInterval(timer)
      await Promise.all(pending)
    }
  })

  return {
    journal,
    acknowledgedAfter: (at) =>
      new Promise((done) => {
        waiting.add({ at, done })
      }),
    async stop() {
      going = false
      await Promise.all(loops)
      await Promise.all(probers.map((stop) => stop()))
    },
  }
}

async function ask(
  client: Client,
  variable: string,
  value: string | undefined,
  init: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal },
): Promise<{ readonly status: number; readonly epoch: number } | undefined> {
  try {
    const path = `/secrets/${client.account}/variable/${encodeURIComponent(variable)}`
    const response = await fetch(client.url + path, {
      method: value === undefined ? 'GET' : 'POST',
      headers: { Authorization: client.authorization, ...init.headers },
      signal: init.signal,
      ...(value === undefined ? {} : { body: value }),
    })
    await response.arrayBuffer()
    const position = response.headers.get('holdfast-position') ?? '0.0'
    return { status: response.status, epoch: Number(position.split('.')[0]) }
  } catch {
    // Refused, reset or too late: nobody has promised anything.
    return undefined
  }
}

/** Milliseconds, since `from`, in which nothing was acknowledged. */
export function longestGap({ answered }: Journal, from: number): number {
  const ends = answered.filter(({ write, endedAt }) => write && endedAt > from).map(({ endedAt }) => endedAt)
  return Math.max(...ends.sort((a, b) => a - b).map((end, i) => end - (ends[i - 1] ?? from)))
}

/** Answers of an earlier epoch that were asked for when a later one had already acknowledged: two Leaders at once. */
export function overlaps({ answered }: Journal): string[] {
  const opened = new Map<number, Answered>()
  for (const entry of answered) {
    const first = opened.get(entry.epoch)
    if (entry.write && (first === undefined || entry.endedAt < first.endedAt)) opened.set(entry.epoch, entry)
  }
  return answered.flatMap((entry) => {
    const later = [...opened.values()].find(
      (other) => other.epoch > entry.epoch && other.endedAt < entry.startedAt,
    )
    if (later === undefined) return []
    return [
      `${entry.id} at ${entry.at}, epoch ${entry.epoch}, was asked after ${later.id}, epoch ${later.epoch}`,
    ]
  })
}

/** Acknowledged writes that are not there any more, at whoever leads. */
export async function lost(cluster: Cluster, workerKey: string, journal: Journal): Promise<string[]> {
  const worker = await new Client(cluster.url, cluster.account).login('host/load/worker', workerKey)
  const missing: string[] = []
  for (const [variable, acknowledged] of journal.acknowledged) {
    const response = await worker.getSecret(variable)
    const held = Number(await response.text())
    const attempted = journal.attempted.get(variable) ?? 0
    if (!(held >= acknowledged && held <= attempted))
      missing.push(`${variable}: ${held} is there, ${acknowledged} was acknowledged, ${attempted} attempted`)
  }
  return missing
}
