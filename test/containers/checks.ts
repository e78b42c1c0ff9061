// What must hold of the images, and of the cluster while parts of it are lost.
import { account, administratorOf, at, type Cluster, controlNodes, eventually, followers } from './cluster.ts'
import { done, type Engine } from './engine.ts'
import { compressedMb, type Images } from './images.ts'
import type { Note } from './main.ts'

/** Compressed, of the Follower (issue 5). */
const FOLLOWER_MB = 120

export async function checkImages(engine: Engine, images: Images, note: Note): Promise<void> {
  const run = (image: string, script: string): Promise<string> => {
    const words = ['run', '--rm', '--network', 'none', '--entrypoint', 'sh', image, '-euc', script]
    return done([engine.name, ...words], engine.env)
  }
  for (const [name, image] of Object.entries(images)) {
    await note(`${name}: a user with a name, a check of its health, an init`, async () => {
      const text = await done([engine.name, 'image', 'inspect', image], engine.env)
      const [{ Config }] = JSON.parse(text) as [{ Config: Record<string, unknown> }]
      must(Config.User === '1000:1000', `its user is ${String(Config.User)}`)
      must(text.includes('health-check'), 'it has no health check')
      must(JSON.stringify(Config.Entrypoint).startsWith('["tini","--"'), 'it has no init')
      must((await run(image, 'id -un')) === 'holdfast', 'its user has no name')
      return undefined
    })
    await note(`${name}: no tools of development, no keys`, async () => {
      const found =
        "find / -xdev \\( -name 'wrangler*' -o -name 'vitest*' -o -name npm -o -name '*.key' \\) -not -path '/proc/*'"
      must((await run(image, `${found} 2>/dev/null || true`)) === '', 'there is something')
      return undefined
    })
  }
  await note('follower: no Postgres, no etcd', async () => {
    const found =
      "find / -xdev \\( -name 'postgres' -o -name 'etcd*' -o -name pg \\) -not -path '/proc/*' 2>/dev/null || true"
    const rest = await run(images.follower, found)
    must(rest === '', rest)
    return undefined
  })
  await note(`follower: at most ${FOLLOWER_MB} MB compressed`, async () => {
    const mb = await compressedMb(engine, images.follower)
    must(mb <= FOLLOWER_MB, `${mb.toFixed(0)} MB`)
    return `${mb.toFixed(0)} MB`
  })
  await note(
    'control plane, compressed',
    async () => `${(await compressedMb(engine, images.controlPlane)).toFixed(0)} MB`,
  )
}

function must(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise)
}

const POLICY = `- !host reader
- !variable password
- !permit { role: !host reader, privileges: [read, execute], resource: !variable password }
`

/** Reads at every Follower, without an end, while something else is done; throws when a read was refused. */
async function whileReading<T>(
  cluster: Cluster,
  keyOfReader: string,
  body: () => Promise<T>,
): Promise<{ readonly said: T; readonly words: string }> {
  let ended = false
  const counts = { read: 0, refused: 0 }
  const reading = Promise.all(
    cluster.ports.edges.map(async (port) => {
      const client = at(port)
      await eventually(() => client.login('host/reader', keyOfReader))
      while (!ended) {
        const { status } = await client.getSecret('password').catch(() => ({ status: 0 }))
        if (status === 200) counts.read++
        else counts.refused++
        // Without a pause it would take the machine from the cluster.
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }),
  )
  // It is looked at below; what the body says comes first.
  reading.catch(() => undefined)
  let said: T
  try {
    said = await body()
  } finally {
    ended = true
  }
  await reading
  must(counts.refused === 0, `Followers refused ${counts.refused} reads of ${counts.read + counts.refused}`)
  return { said, words: `${counts.read} reads at Followers meanwhile, none refused` }
}

export async function checkCluster(cluster: Cluster, note: Note): Promise<void> {
  await note('form.sh makes a cluster, and finds nothing to do the second time', async () => {
    const began = performance.now()
    await cluster.form()
    const seconds = ((performance.now() - began) / 1000).toFixed(0)
    must(!/joins|takes over/.test(await cluster.form()), 'the second run did something')
    return `${seconds} s`
  })
  await note('all run without root, without capabilities, on a root that cannot be written', async () => {
    for (const service of [...controlNodes, 'etcd-1', 'etcd-2', 'etcd-3', ...followers]) {
      const script =
        'touch /x 2>/dev/null && echo written; id -u; sed -n "s/^CapEff:[[:space:]]*//p" /proc/self/status'
      const said = await cluster.inside(service, 'sh', '-c', script)
      must(/^1000\s+0+$/.test(said), `${service}: ${said}`)
    }
    return undefined
  })
  await note('the engine finds every node well', async () => {
    for (const service of [...controlNodes, ...followers])
      await eventually(async () => {
        const { code, out, err } = await cluster.engine(['exec'], service, ...healthCheckOf(service))
        if (code !== 0) throw new Error(`${service}: ${out}${err}`)
        return true
      })
    return undefined
  })
  const administrator = administratorOf(cluster)
  const values = { next: 0 }
  const keys: { reader?: string } = {}
  /** A new value: acknowledged by whoever leads, and seen at every Follower. */
  const writeAndSee = async (): Promise<void> => {
    const value = `value-${++values.next}`
    await eventually(async () => {
      const { status } = await (await administrator()).setSecret('password', value)
      return status === 201 ? true : undefined
    })
    for (const port of cluster.ports.edges)
      await eventually(async () => {
        const client = await at(port).login('host/reader', keys.reader!)
        return (await (await client.getSecret('password')).text()) === value ? true : undefined
      })
  }
  await note('a secret is written at the balancer and read at both Followers', async () => {
    const loaded = await (await administrator()).loadPolicy('root', POLICY)
    const { created_roles } = (await loaded.json()) as { created_roles: Record<string, { api_key: string }> }
    keys.reader = created_roles[`${account}:host:reader`]!.api_key
    await writeAndSee()
    return undefined
  })
  for (const loss of losses)
    await note(loss.name, async () => {
      const { leader } = await cluster.leader(controlNodes[0])
      const witness = controlNodes.find((node) => node !== leader)!
      const { said, words } = await whileReading(cluster, keys.reader!, async () => {
        const began = performance.now()
        await loss.lose(cluster, leader)
        const next = await cluster.leader(witness, leader)
        const seconds = ((performance.now() - began) / 1000).toFixed(1)
        await writeAndSee()
        return `${next.leader} led after ${seconds} s`
      })
      await loss.bringBack(cluster, leader)
      await eventually(() => isBack(cluster, leader))
      return `${said}; ${words}`
    })
}

const healthCheckOf = (service: string): string[] =>
  service.startsWith('edge')
    ? ['node', '/app/edge-follower/deploy/health-check.ts']
    : ['/app/control-plane/deploy/health-check.sh']

/** It stands by, and streams. */
async function isBack(cluster: Cluster, node: string): Promise<true | undefined> {
  const { code } = await cluster.engine(['exec'], node, ...healthCheckOf(node))
  return code === 0 ? true : undefined
}

type Loss = {
  readonly name: string
  lose(cluster: Cluster, node: string): Promise<void>
  bringBack(cluster: Cluster, node: string): Promise<void>
}

const NETWORK = 'holdfast'
const addressOf = (node: string): string => `172.30.44.1${node.slice(-1)}`

const losses: readonly Loss[] = [
  {
    name: 'the Leader’s container is killed: a Standby leads, Followers go on answering',
    lose: (cluster, node) => wanted(cluster.engine(['kill', '-s', 'KILL'], node)),
    // An engine that starts it again by itself was first.
    bringBack: (cluster, node) => wanted(cluster.engine(['start'], node)),
  },
  {
    name: 'the Leader is cut off from the network: a Standby leads, and it comes back as one',
    lose: (cluster, node) => wanted(cluster.engine(['network', 'disconnect', NETWORK], node)),
    async bringBack(cluster, node) {
      const words = ['network', 'connect', '--ip', addressOf(node), '--alias', node, NETWORK]
      await wanted(cluster.engine(words, node))
      // It may hold records that were acknowledged to nobody; then an operator lets it in again.
      await eventually(() => cluster.inside(node, 'holdfast', 'cluster', 'rejoin', node))
    },
  },
  {
    name: 'the Leader is stopped in order: it hands over',
    lose: (cluster, node) => wanted(cluster.engine(['stop', '-t', '30'], node)),
    bringBack: (cluster, node) => wanted(cluster.engine(['start'], node)),
  },
]

async function wanted(said: ReturnType<Cluster['engine']>): Promise<void> {
  const { code, err } = await said
  must(code === 0, err)
}
