// Control nodes without data of their own, as processes on one real Postgres that they reach as a managed one is reached:
// over WebSockets, with a password, as a role that may make databases and nothing else.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { toBase64 } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { systemClock } from '#shared/node/clock.ts'
import { Client, freePorts, NodeProcess } from '../support/nodes.ts'
import { testServer } from '../support/postgres.ts'
import { type OverWebSockets, overWebSockets } from '../support/websockets.ts'

const LIFE_S = 8

type Managed = { readonly name: string; readonly folder: string; readonly process: NodeProcess }

const directory = mkdtempSync(join(tmpdir(), 'holdfast-managed-'))
let service: OverWebSockets
let nodes: readonly Managed[]
beforeAll(async () => {
  service = await overWebSockets(await testServer(), 'CREATEDB')
  const file = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, `${text}\n`, { mode: 0o600 })
    return path
  }
  const urlFile = file('database.url', service.url('postgres'))
  const dataKeyFile = file('data.key', toBase64(randomBytes(32)))
  const ports = await freePorts(2)
  nodes = ports.map((port, i) => {
    const name = `node-${i + 1}`
    const folder = join(directory, name)
    const env = {
      HOLDFAST_NAME: name,
      HOLDFAST_ACCOUNT: 'acme',
      HOLDFAST_DATA_DIR: folder,
      HOLDFAST_DATA_KEY_FILE: dataKeyFile,
      HOLDFAST_DATABASE_URL_FILE: urlFile,
      HOLDFAST_TTL: String(LIFE_S),
      HOLDFAST_PORT: String(port),
    }
    return { name, folder, process: new NodeProcess(['leader'], env, port) }
  })
  // Together: one makes the databases, and the other finds them.
  for (const { process } of nodes) process.start()
})
afterAll(async () => {
  // Also one that stands still; those beside it go with it.
  await Promise.all(nodes.map(({ process }) => process.kill()))
  await service.close()
  rmSync(directory, { recursive: true, force: true })
})

type Told = { readonly status: number; readonly body: { cluster: Record<string, unknown>; role: string } }

async function health({ process }: Managed, query = ''): Promise<Told | undefined> {
  try {
    const response = await fetch(`${process.url}/health${query}`, { signal: AbortSignal.timeout(2_000) })
    return { status: response.status, body: (await response.json()) as Told['body'] }
  } catch {
    return undefined
  }
}

/** Whoever of them answers as the Leader. */
async function whoLeads(among: readonly Managed[] = nodes): Promise<Managed> {
  for (;;) {
    for (const node of among) if ((await health(node))?.status === 200) return node
    await systemClock.sleep(50)
  }
}

const otherThan = (node: Managed): Managed => nodes.find((candidate) => candidate !== node)!

/** Until it waits for the lease, and knows who has it. */
async function untilItWaits(node: Managed, leader: Managed): Promise<Told> {
  for (;;) {
    const told = await health(node)
    if (told?.body.role === 'standby' && told.body.cluster.leader === leader.name) return told
    await systemClock.sleep(50)
  }
}

async function adminAt({ process, folder }: Managed): Promise<Client> {
  const key = readFileSync(join(folder, 'admin.key'), 'utf8').trim()
  for (;;) {
    try {
      return await new Client(process.url, 'acme').login('admin', key)
    } catch (error) {
      if (!String(error).includes(': 503')) throw error
    }
  }
}

/** As a client asks who is told to ask again: one that has just begun may answer that its audit is not there yet. */
async function valueAt(node: Managed): Promise<string> {
  for (;;) {
    const response = await (await adminAt(node)).getSecret('x')
    const text = await response.text()
    if (response.status !== 503) return `${response.status} ${text}`
  }
}

/** Processes of a node: who answers clients; who holds the lease, and the watchdog. */
function processesOf({ process }: Managed): { readonly api: number; readonly others: readonly number[] } {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8')
  const pids = children.trim().split(' ').map(Number)
  const api = pids.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('/api.ts'))!
  return { api, others: [process.pid!, ...pids.filter((pid) => pid !== api)] }
}

test('one leads and the other waits; both say that nobody has a copy, and who leads', async () => {
  const leader = await whoLeads()
  const waiting = otherThan(leader)
  expect(await health(leader)).toMatchObject({
    status: 200,
    body: {
      ok: true,
      degraded: false,
      role: 'master',
      cluster: {
        ok: true,
        leader: leader.name,
        physical_standbys: 0,
        durability: 'managed database',
        message: 'leader; no physical Standbys: what is committed is kept by the managed database',
      },
    },
  })
  const told = await untilItWaits(waiting, leader)
  expect(told.status).toBe(502)
  expect(told.body.cluster.message).toContain(`${leader.name} leads; this node waits for its lease`)
  expect(await health(waiting, '?role=standby')).toMatchObject({ status: 200, body: { ok: true } })
  const admin = await adminAt(leader)
  expect((await admin.loadPolicy('root', '- !variable x')).status).toBe(201)
  expect((await admin.setSecret('x', 'one')).status).toBe(201)
  expect((await admin.at(waiting.process.url).getSecret('x')).status).toBe(503)
})

test('SIGKILL of who leads: the other leads with all that was acknowledged, and in a later epoch', async () => {
  const old = await whoLeads()
  const before = (await health(old))!.body.cluster.epoch as number
  await old.process.kill()
  const leader = await whoLeads([otherThan(old)])
  expect((await health(leader))!.body.cluster.epoch).toBe(before + 1)
  expect(await valueAt(leader)).toBe('200 one')
  old.process.start()
  await untilItWaits(old, leader)
})

test('SIGSTOP of all of a Leader: awake again it acknowledges nothing and shows nothing (I3)', async () => {
  const old = await whoLeads()
  const admin = await adminAt(old)
  const { api, others } = processesOf(old)
  for (const pid of [...others, api]) process.kill(pid, 'SIGSTOP')
  // The kernel takes what is sent, and it is found when they wake.
  const reads = Array.from({ length: 8 }, () => admin.getSecret('x'))
  const writes = Array.from({ length: 8 }, () => admin.setSecret('x', 'never'))
  const asked = Promise.allSettled([...reads, ...writes])
  const leader = await whoLeads([otherThan(old)])
  expect((await (await adminAt(leader)).setSecret('x', 'two')).status).toBe(201)
  // Alone, with nobody to tell it and nobody to kill it.
  process.kill(api, 'SIGCONT')
  const answers = (await asked).map((answer) => (answer.status === 'fulfilled' ? answer.value.status : 0))
  expect(answers.filter((status) => status !== 503)).toEqual([])
  for (const pid of others) process.kill(pid, 'SIGCONT')
  await untilItWaits(old, leader)
  expect(await valueAt(leader)).toBe('200 two')
})

test('the database away: nobody acknowledges anything; back again, one leads with all that was', async () => {
  const leader = await whoLeads()
  const admin = await adminAt(leader)
  service.leave()
  const refused = await admin.setSecret('x', 'never')
  expect(refused.status).toBe(503)
  while ((await health(leader))?.body.role !== 'standby') await systemClock.sleep(50)
  for (const node of nodes) expect((await health(node))?.status ?? 502).toBe(502)
  service.back()
  const later = await whoLeads()
  expect(await valueAt(later)).toBe('200 two')
  expect((await (await adminAt(later)).setSecret('x', 'three')).status).toBe(201)
})

test('a Leader that is stopped leaves the lease: nobody waits for its end', async () => {
  const old = await whoLeads()
  await untilItWaits(otherThan(old), old)
  const before = (await health(old))!.body.cluster.epoch as number
  await old.process.kill('SIGTERM')
  const leader = await whoLeads([otherThan(old)])
  expect((await health(leader))!.body.cluster.epoch).toBe(before + 1)
  expect(await valueAt(leader)).toBe('200 three')
})

test('no file of a node holds the password, and neither does its log', () => {
  const password = new URL(service.url('postgres')).password
  for (const { folder, process } of nodes) {
    expect(process.log).not.toContain(password)
    expect(() => readFileSync(join(folder, 'postgres.url'))).toThrow('ENOENT')
  }
})
