// What may happen to a cluster, on real processes. Each fault ends with everything that it broke mended again, but for who
// was put out of the cluster.
import { Client } from '../support/nodes.ts'
import type { Random } from '../support/random.ts'
import { type Cluster, type ControlNode, type Part, send, TTL_SECONDS } from './cluster.ts'
import type { Load } from './load.ts'
import type { LinkState } from './network.ts'
import { balanced } from './settled.ts'

export type Scene = {
  readonly cluster: Cluster
  readonly load: Load
  readonly random: Random
  readonly leader: ControlNode
  /** It has the duty. */
  readonly sync: ControlNode
  /** The others, which have not. */
  readonly others: readonly ControlNode[]
  readonly adminKey: string
}

export type Fault = {
  readonly name: string
  /** Run in every run of the suite, not only when it is asked for. */
  readonly always?: boolean
  /** Whether another node leads afterwards. */
  readonly moves: 'always' | 'never' | 'perhaps'
  /** Resolves when writes are acknowledged again, and all is mended. */
  run(scene: Scene): Promise<void>
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Until a write is acknowledged that was begun after the harm was done. */
async function outlast({ load }: Scene, harm: () => void | Promise<void>): Promise<void> {
  await harm()
  await load.acknowledgedAfter(performance.now())
}

const restart = (node: ControlNode): void => node.process.start()

/** All its ways, and all ways to it; `store`: those to the store too. */
function cutOff({ cluster }: Scene, node: ControlNode, state: LinkState): void {
  toNodes(cluster, node, state)
  for (const link of node.toStore) link.set(state)
}

function toNodes(cluster: Cluster, node: ControlNode, state: LinkState): void {
  for (const link of node.toNodes.values()) link.set(state)
  for (const other of cluster.nodes) other.toNodes.get(node.name)?.set(state)
}

const between = (a: ControlNode, b: ControlNode, state: LinkState): void => {
  a.toNodes.get(b.name)!.set(state)
  b.toNodes.get(a.name)!.set(state)
}

const kill = (part: Part, moves: Fault['moves'], always = false): Fault => ({
  name: `kill -9 of the ${part} of the Leader`,
  moves,
  always,
  async run(scene) {
    await outlast(scene, () => send(scene.leader.pidOf(part)!, 'SIGKILL'))
    if (part === 'supervisor') {
      await scene.leader.process.kill()
      restart(scene.leader)
    }
  },
})

export const faults: readonly Fault[] = [
  {
    name: 'kill -9 of all processes of the Leader',
    moves: 'always',
    always: true,
    async run(scene) {
      await outlast(scene, () => scene.leader.signal('SIGKILL'))
      await scene.leader.process.kill()
      restart(scene.leader)
    },
  },
  kill('api', 'never'),
  kill('postgres', 'perhaps'),
  kill('supervisor', 'always'),
  kill('watchdog', 'never'),
  {
    name: 'the supervisor of the Leader stands still: the watchdog ends what could answer',
    moves: 'always',
    async run(scene) {
      const { leader } = scene
      const supervisor = leader.pidOf('supervisor')!
      // Its API goes on until the deadline.
      await outlast(scene, async () => {
        send(supervisor, 'SIGSTOP')
        await scene.cluster.leader([leader.name])
      })
      const alive = (['api', 'postgres'] as const).filter((part) => leader.pidOf(part) !== undefined)
      send(supervisor, 'SIGCONT')
      if (alive.length > 0) throw new Error(`${alive.join(' and ')} lived on under another Leader`)
    },
  },
  {
    name: 'the Leader stands still for three lives of its lease, and wakes',
    moves: 'always',
    always: true,
    async run(scene) {
      const pids = scene.leader.pids()
      const over = sleep(3 * TTL_SECONDS * 1_000)
      await outlast(scene, () => scene.leader.signal('SIGSTOP'))
      await over
      for (const pid of pids) send(pid, 'SIGCONT')
    },
  },
  {
    name: 'the Leader is cut off from all but its clients',
    moves: 'always',
    always: true,
    async run(scene) {
      await outlast(scene, () => cutOff(scene, scene.leader, 'hole'))
      await sleep(TTL_SECONDS * 1_000)
      cutOff(scene, scene.leader, 'open')
    },
  },
  {
    name: 'Leader and async Standby against the sync Standby',
    moves: 'never',
    async run(scene) {
      await outlast(scene, () => toNodes(scene.cluster, scene.sync, 'hole'))
      await sleep(1_000)
      toNodes(scene.cluster, scene.sync, 'open')
    },
  },
  {
    name: 'what the Leader says is lost, what it is told comes',
    moves: 'perhaps',
    async run(scene) {
      await outlast(scene, () => {
        for (const link of [...scene.leader.toNodes.values(), ...scene.leader.toStore]) link.set('deaf')
        for (const other of scene.cluster.nodes) other.toNodes.get(scene.leader.name)?.set('mute')
      })
      await sleep(1_000)
      cutOff(scene, scene.leader, 'open')
    },
  },
  {
    name: 'the store alone is cut off from the Leader',
    moves: 'always',
    async run(scene) {
      // It goes on until its deadline.
      await outlast(scene, async () => {
        for (const link of scene.leader.toStore) link.set('hole')
        await scene.cluster.leader([scene.leader.name])
      })
      for (const link of scene.leader.toStore) link.set('open')
    },
  },
  {
    name: 'the majority of the store dies and comes back',
    moves: 'perhaps',
    async run({ cluster, load }) {
      await Promise.all(cluster.etcd.slice(0, 2).map((member) => member.kill()))
      await sleep(1.5 * TTL_SECONDS * 1_000)
      const deposed = performance.now()
      await sleep(TTL_SECONDS * 1_000)
      const late = load.journal.answered.find(({ startedAt }) => startedAt > deposed)
      if (late !== undefined) throw new Error(`${late.id} was answered without a majority of the store`)
      await Promise.all(cluster.etcd.slice(0, 2).map((member) => member.start()))
      await load.acknowledgedAfter(performance.now())
    },
  },
  {
    name: 'the sync Standby dies and is replaced',
    moves: 'never',
    always: true,
    async run(scene) {
      await outlast(scene, () => scene.sync.signal('SIGKILL'))
      await scene.sync.process.kill()
      restart(scene.sync)
    },
  },
  {
    name: 'both Standbys die: writes wait, nothing is lost',
    moves: 'never',
    async run(scene) {
      const { cluster, leader, load } = scene
      const standbys = cluster.nodes.filter((node) => node !== leader)
      for (const node of standbys) node.signal('SIGKILL')
      await Promise.all(standbys.map((node) => node.process.kill()))
      const dead = performance.now()
      await sleep(3_000)
      const acknowledged = load.journal.answered.find(({ startedAt, write }) => write && startedAt > dead)
      if (acknowledged !== undefined)
        throw new Error(`${acknowledged.id} was acknowledged, and nobody but the Leader has it`)
      standbys.forEach(restart)
      await load.acknowledgedAfter(performance.now())
    },
  },
  {
    name: 'the Leader is stopped in order',
    moves: 'always',
    always: true,
    async run(scene) {
      const stopped = scene.leader.process.kill('SIGTERM')
      await outlast(scene, () => undefined)
      await stopped
      restart(scene.leader)
    },
  },
  {
    name: 'two failovers in a row',
    moves: 'always',
    async run(scene) {
      const { cluster, leader } = scene
      await outlast(scene, () => leader.signal('SIGKILL'))
      await leader.process.kill()
      const second = await cluster.leader([leader.name])
      restart(leader)
      await outlast(scene, () => second.signal('SIGKILL'))
      await second.process.kill()
      restart(second)
    },
  },
  {
    name: 'failover during a large policy load',
    moves: 'always',
    async run(scene) {
      const { cluster, leader, adminKey, random } = scene
      const admin = await new Client(cluster.url, cluster.account).login('admin', adminKey)
      const branch = `large-${random.int(0, 1_000_000)}`
      const text = `- !policy\n  id: ${branch}\n  body:\n${Array.from({ length: 20_000 }, (_, i) => `  - !variable v${i}`).join('\n')}\n`
      const loading = admin.loadPolicy('root', text).then(
        ({ status }) => status,
        () => undefined,
      )
      await sleep(random.int(200, 1_500))
      await outlast(scene, () => leader.signal('SIGKILL'))
      await leader.process.kill()
      restart(leader)
      const status = await loading
      await balanced(cluster)
      const after = await new Client(cluster.url, cluster.account).login('admin', adminKey)
      const last = `/resources/${cluster.account}/variable/${branch}%2Fv19999`
      const first = `/resources/${cluster.account}/variable/${branch}%2Fv0`
      const [head, tail] = await Promise.all([first, last].map((path) => after.request('GET', path)))
      if (head!.status !== tail!.status) throw new Error('half of a policy is there')
      if (status === 201 && tail!.status !== 200) throw new Error('an acknowledged policy is lost')
    },
  },
  {
    name: 'the old Leader returns with a longer log',
    moves: 'always',
    async run(scene) {
      const { cluster, leader } = scene
      // What it writes now goes to nobody; clients still reach it.
      for (const other of cluster.nodes) if (other !== leader) between(leader, other, 'hole')
      await sleep(500)
      await outlast(scene, () => leader.signal('SIGKILL'))
      await leader.process.kill()
      for (const other of cluster.nodes) if (other !== leader) between(leader, other, 'open')
      restart(leader)
    },
  },
]
