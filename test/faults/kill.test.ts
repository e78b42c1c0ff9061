// What is at stake: an acknowledged write, the equality of Leader and Follower, and the audit record of every
// answer, while processes are killed at random moments under load. Repeat a run with HOLDFAST_SEED.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { limits } from '#shared/base/limits.ts'
import { settled } from '../conformance/api/world.ts'
import { Client, type OneMachine, oneMachine } from '../support/nodes.ts'
import { type Random, runSeed, seeded } from '../support/random.ts'

const rounds = Number(process.env.HOLDFAST_ROUNDS ?? 50)
const writers = 4
const readers = 4
const variablesEach = 5

const policy = `
- !policy
  id: app
  body:
  - !host worker
  - &variables
${Array.from({ length: writers * variablesEach }, (_, i) => `    - !variable v${i}`).join('\n')}
  - !permit
    role: !host worker
    privileges: [ read, execute, update ]
    resources: *variables
`

/** What clients saw: the only truth that the end is compared with. */
class Journal {
  readonly acknowledged = new Map<string, number>()
  readonly attempted = new Map<string, number>()
  /** Request ids that got an answer, and where. */
  readonly answered = new Map<string, 'leader' | 'follower'>()
}

type Load = { readonly stop: () => Promise<void> }

function loops(count: number, body: (loop: number, n: number) => Promise<void>): Load {
  let going = true
  const all = Array.from({ length: count }, async (_, loop) => {
    for (let n = 1; going; n++) await body(loop, n)
  })
  return {
    stop: async () => {
      going = false
      await Promise.all(all)
    },
  }
}

/** The answer, or undefined when there was none: refused, reset, or cut off before it was complete. */
async function ask(request: () => Promise<Response>): Promise<{ status: number; text: string } | undefined> {
  try {
    const response = await request()
    return { status: response.status, text: await response.text() }
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 10))
    return undefined
  }
}

function writeLoad(client: Client, journal: Journal): Load {
  return loops(writers, async (writer, n) => {
    const variable = `app/v${writer * variablesEach + (n % variablesEach)}`
    const id = `write-${writer}-${n}`
    journal.attempted.set(variable, n)
    const answer = await ask(() => client.setSecret(variable, String(n), { 'X-Request-Id': id }))
    // 5xx says that no record could be made or the outcome is unknown: such an answer owes none.
    if (answer === undefined || answer.status >= 500) return
    journal.answered.set(id, 'leader')
    if (answer.status === 201) journal.acknowledged.set(variable, n)
  })
}

function readLoad(client: Client, journal: Journal, where: 'leader' | 'follower'): Load {
  return loops(readers, async (reader, n) => {
    const variable = `app/v${(reader * 7 + n) % (writers * variablesEach)}`
    const id = `read-${where}-${reader}-${n}`
    const answer = await ask(() => client.getSecret(variable, { 'X-Request-Id': id }))
    if (answer !== undefined && answer.status < 500) journal.answered.set(id, where)
    await new Promise((resolve) => setTimeout(resolve, 2))
  })
}

/** Postgres of the round before may be on its way back: then its old number is nobody's. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function killOne(machine: OneMachine, random: Random): Promise<void> {
  const target = random.pick(['leader', 'postgres', 'follower'] as const)
  await new Promise((resolve) => setTimeout(resolve, random.int(20, 400)))
  if (target === 'postgres') {
    killIfThere(machine.postgresPid())
    await machine.leader.ready()
  } else {
    await machine[target].kill('SIGKILL')
    machine[target].start()
    await machine[target].ready()
  }
}

type Health = {
  replication: { epoch: number; seq: number; content_hash: string }
  audit: { queued: number }
}

async function health(url: string): Promise<Health> {
  const response = await fetch(`${url}/health`)
  return (await response.json()) as Health
}

/** Asks until the answer passes: both nodes move on by themselves, a heartbeat a second. */
async function eventually<T>(ask: () => Promise<T>, passes: (value: T) => boolean): Promise<T> {
  const giveUpAt = Date.now() + 30_000
  for (;;) {
    const value = await ask()
    if (passes(value) || Date.now() > giveUpAt) return value
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function auditedRequests(client: Client, msgid: string): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (let offset = 0; ; offset += limits.auditRowsPerAnswer) {
    const response = await client.request('GET', `/audit?msgid=${msgid}&offset=${offset}`)
    if (response.status === 404 && offset > 0) return counts
    expect(response.status).toBe(200)
    const rows = (await response.json()) as { procid: string }[]
    for (const { procid } of rows) counts.set(procid, (counts.get(procid) ?? 0) + 1)
    if (rows.length < limits.auditRowsPerAnswer) return counts
  }
}

let machine: OneMachine
beforeAll(async () => {
  machine = await oneMachine()
  machine.leader.start()
  await machine.leader.ready()
  machine.follower.start()
  await machine.follower.ready()
})
afterAll(() => machine?.stop())

test(`${rounds} rounds of SIGKILL under mixed load lose nothing`, { timeout: 30 * 60_000 }, async () => {
  const random = seeded(runSeed('kill'))
  const journal = new Journal()
  const admin = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
  const loaded = await admin.loadPolicy('root', policy)
  const created = (await loaded.json()) as { created_roles: Record<string, { api_key: string }> }
  const key = created.created_roles[`${machine.account}:host:app/worker`]!.api_key
  const worker = await new Client(machine.leader.url, machine.account).login('host/app/worker', key)

  // A Follower that does not know the worker yet refuses it, and a refused token owes no record.
  await settled({ machine, admin })

  const loads = [
    writeLoad(worker, journal),
    readLoad(worker, journal, 'leader'),
    readLoad(worker.at(machine.follower.url), journal, 'follower'),
  ]
  try {
    for (let round = 1; round <= rounds; round++) await killOne(machine, random)
  } finally {
    await Promise.all(loads.map((load) => load.stop()))
  }

  const equal = await eventually(
    async () => [await health(machine.leader.url), await health(machine.follower.url)] as const,
    ([leader, follower]) =>
      leader.replication.seq === follower.replication.seq && follower.audit.queued === 0,
  )
  const [leader, follower] = equal.map(({ replication: { epoch, seq, content_hash } }) => ({
    epoch,
    seq,
    content_hash,
  }))
  expect(follower).toEqual(leader)

  const again = await new Client(machine.leader.url, machine.account).login('host/app/worker', key)
  for (const [variable, n] of journal.acknowledged) {
    for (const node of [machine.leader, machine.follower]) {
      const value = Number(await (await again.at(node.url).getSecret(variable)).text())
      expect(value, `${variable} at ${node.url}: acknowledged ${n}`).toBeGreaterThanOrEqual(n)
      expect(value).toBeLessThanOrEqual(journal.attempted.get(variable)!)
    }
  }

  // Pages of an audit that still grows would show records twice: those of the reads above come first.
  await eventually(
    () => health(machine.follower.url),
    ({ audit }) => audit.queued === 0,
  )
  const adminAgain = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
  const audited = new Map([
    ...(await auditedRequests(adminAgain, 'fetch')),
    ...(await auditedRequests(adminAgain, 'update')),
  ])
  const wrong = [...journal.answered].filter(([id]) => audited.get(id) !== 1)
  expect(wrong.map(([id, where]) => `${id} answered by ${where}: ${audited.get(id) ?? 0} records`)).toEqual(
    [],
  )
  const doubled = [...audited].filter(([, count]) => count > 1)
  expect(doubled).toEqual([])
  process.stdout.write(
    `kill: ${rounds} rounds, ${journal.acknowledged.size} variables, ${journal.answered.size} answers audited\n`,
  )
})
