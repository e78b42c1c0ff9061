// Writing at the Leader, beside bare commits in the same Postgres, and how soon a Follower shows it.
import { Client, type MachineOptions, type OneMachine, oneMachine } from '../support/nodes.ts'
import { bareCommits } from './bare-postgres.ts'
import { type Figure, figure, quantile, residentMb } from './measure.ts'

export async function running<T>(
  body: (machine: OneMachine, admin: Client) => Promise<T>,
  options: MachineOptions = {},
): Promise<T> {
  const machine = await oneMachine(options)
  try {
    machine.leader.start()
    await machine.leader.ready()
    machine.follower.start()
    await machine.follower.ready()
    const admin = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
    return await body(machine, admin)
  } finally {
    await machine.stop()
  }
}

export const variables = (count: number): string =>
  `- !policy\n  id: app\n  body:\n${Array.from({ length: count }, (_, i) => `  - !variable v${i}`).join('\n')}\n`

export async function must(status: number, response: Promise<Response>): Promise<Response> {
  const answer = await response
  if (answer.status !== status)
    throw new Error(`expected ${status}, got ${answer.status}: ${await answer.text()}`)
  await answer.arrayBuffer()
  return answer
}

/** Writes per second of some clients, each waiting for its answer. */
export async function writesPerSecond(admin: Client, clients: number, seconds: number): Promise<number> {
  const stopAt = performance.now() + seconds * 1000
  let written = 0
  await Promise.all(
    Array.from({ length: clients }, async (_, c) => {
      for (let n = 0; performance.now() < stopAt; n++) {
        await must(201, admin.setSecret(`app/v${c}`, `${clients}-${c}-${n}-${stopAt}`))
        written++
      }
    }),
  )
  return written / seconds
}

export const secretWrites = (): Promise<Figure[]> =>
  running(async (machine, admin) => {
    await must(201, admin.loadPolicy('root', variables(8)))
    await writesPerSecond(admin, 8, 2)
    const figures: Figure[] = []
    for (const clients of [1, 8]) {
      const ours: number[] = []
      const ratios: number[] = []
      for (let round = 0; round < 3; round++) {
        const writes = await writesPerSecond(admin, clients, 3)
        const commits = await bareCommits(machine.databaseUrl(), clients, 3)
        ours.push(writes)
        ratios.push(writes / commits)
      }
      figures.push(figure(`secret writes, clients: ${clients}`, 'writes/s', ours))
      figures.push(figure(`secret writes ÷ bare one-row commits, clients: ${clients}`, 'ratio', ratios))
    }
    return figures
  })

/** From the Leader's acknowledgement to a read at the Follower that must have this position. */
export const propagation = (): Promise<Figure[]> => running(propagationOf('', 50))

/** `at`: where, in the figure's name. */
export const propagationOf =
  (at: string, barMs: number) =>
  async (machine: OneMachine, admin: Client): Promise<Figure[]> => {
    await must(201, admin.loadPolicy('root', variables(50)))
    const reader = admin.at(machine.follower.url)
    const p50: number[] = []
    const p99: number[] = []
    for (let round = 0; round < 3; round++) {
      const delays: number[] = []
      const pending: Promise<void>[] = []
      const begin = performance.now()
      for (let n = 0; n < 1_000; n++) {
        const wait = begin + n * 10 - performance.now()
        if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
        pending.push(oneWrite(admin, reader, `app/v${n % 50}`, `${round}-${n}`, delays))
      }
      await Promise.all(pending)
      p50.push(quantile(delays, 0.5))
      p99.push(quantile(delays, 0.99))
    }
    return [
      figure(`propagation at 100 writes/s${at}, p50`, 'ms', p50),
      figure(`propagation at 100 writes/s${at}, p99 (bar ≤ ${barMs})`, 'ms', p99),
    ]
  }

async function oneWrite(
  admin: Client,
  reader: Client,
  id: string,
  value: string,
  delays: number[],
): Promise<void> {
  const written = await must(201, admin.setSecret(id, value))
  const acknowledgedAt = performance.now()
  const position = written.headers.get('holdfast-position')
  if (position === null) throw new Error('a write was answered without its position')
  await must(
    200,
    reader.getSecret(id, { 'Holdfast-Min-Position': position, 'Holdfast-Inconsistent': 'wait' }),
  )
  delays.push(performance.now() - acknowledgedAt)
}

const records = 10_000

function largePolicy(): string {
  const ids = Array.from({ length: records }, (_, i) => i)
  return `- !policy
  id: large
  body:
  - !layer all
${ids.map((i) => `  - !host h${i}\n  - !variable v${i}`).join('\n')}
  - !grant
    role: !layer all
    members:
${ids.map((i) => `    - !host h${i}`).join('\n')}
${ids.map((i) => `  - !permit\n    role: !host h${i}\n    privileges: [ read, execute ]\n    resource: !variable v${i}`).join('\n')}
`
}

export const policyLoad = (): Promise<Figure[]> =>
  running(async (machine, admin) => {
    const text = largePolicy()
    const reader = admin.at(machine.follower.url)
    await must(201, admin.loadPolicy('root', variables(1)))
    await reached(reader, await must(201, admin.setSecret('app/v0', 'x')))
    let going = true
    const pauses: number[] = []
    const others = (async () => {
      while (going) {
        const from = performance.now()
        await must(200, reader.getSecret('app/v0'))
        pauses.push(performance.now() - from)
      }
    })()
    // Heard where they are awaited: before that an error would end the benchmark and leave its nodes behind.
    others.catch(() => undefined)
    const from = performance.now()
    const loaded = await must(201, admin.loadPolicy('root', text))
    const loadedAt = performance.now()
    await reached(reader, loaded)
    const visibleAt = performance.now()
    going = false
    await others
    return [
      figure('policy of 10 000 hosts and variables: load (bar ≤ 10)', 's', [(loadedAt - from) / 1000]),
      figure('the same: from acknowledgement to visible', 's', [(visibleAt - loadedAt) / 1000]),
      figure('reads at the Follower meanwhile: longest', 'ms', [Math.max(...pauses)]),
    ]
  })

/** Resolves when the Follower shows what a write has answered for. */
export async function reached(follower: Client, written: Response): Promise<void> {
  const headers = {
    'Holdfast-Min-Position': written.headers.get('holdfast-position')!,
    'Holdfast-Inconsistent': 'wait',
  }
  for (;;) {
    const seen = await follower.request('GET', '/whoami', { headers })
    await seen.arrayBuffer()
    if (seen.status === 200) return
  }
}

const manyResources = 100_000
const asks = 7

/** A policy of many resources: what its load costs others, and what looking at it costs afterwards. */
export const policyScale = (): Promise<Figure[]> =>
  running(async (machine, admin) => {
    await must(201, admin.loadPolicy('root', variables(1)))
    const ids = Array.from({ length: manyResources }, (_, i) => `  - !variable v${i}`)
    const text = `- !policy\n  id: large\n  body:\n${ids.join('\n')}\n`
    let going = true
    const during = async (ask: () => Promise<Response>, status: number): Promise<number> => {
      let longest = 0
      while (going) {
        const from = performance.now()
        await must(status, ask())
        longest = Math.max(longest, performance.now() - from)
      }
      return longest / 1000
    }
    let n = 0
    const writes = during(() => admin.setSecret('app/v0', String(n++)), 201)
    const reads = during(() => admin.request('GET', '/whoami'), 200)
    // Heard where they are awaited, as above.
    for (const others of [writes, reads]) others.catch(() => undefined)
    const from = performance.now()
    const loaded = await must(201, admin.loadPolicy('root', text))
    const seconds = (performance.now() - from) / 1000
    going = false
    const figures = [
      figure('policy of 100 000 resources: load (bar ≤ 60)', 's', [seconds]),
      figure('other writes meanwhile: longest (bar ≤ 3)', 's', [await writes]),
      figure('reads at the Leader meanwhile: longest', 's', [await reads]),
      figure('resident memory of the Leader: most (bar ≤ 1500)', 'MB', [
        residentMb(machine.leader.pid!, 'peak'),
      ]),
    ]
    await reached(admin.at(machine.follower.url), loaded)
    const paths = {
      list: '/resources/acme?kind=variable&limit=1000',
      search: '/resources/acme?search=v5000',
      show: '/resources/acme/variable/large%2Fv77',
      check: '/resources/acme/variable/large%2Fv77?check&privilege=execute',
    }
    for (const [name, path] of Object.entries(paths)) {
      for (const node of ['leader', 'follower'] as const) {
        const times: number[] = []
        for (let i = 0; i < asks; i++) {
          const askedAt = performance.now()
          await must(name === 'check' ? 204 : 200, admin.at(machine[node].url).request('GET', path))
          times.push(performance.now() - askedAt)
        }
        figures.push(figure(`${name} among them, at the ${node}`, 'ms', times))
      }
    }
    return figures
  })
