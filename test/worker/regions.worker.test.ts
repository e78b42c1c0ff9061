// What is at stake: many objects of one Worker are many Followers. Each is linked by its own name, a request goes to a near
// one, whoever asks keeps it, and one that cannot serve is gone round.
import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { systemClock } from '#shared/node/clock.ts'
import { CF_HEADER } from '../support/edge.ts'
import { Client, type OneMachine, oneMachine } from '../support/nodes.ts'

const policy = `
- !variable one
- !host reader
- !permit { role: !host reader, privileges: [ read, execute ], resources: [ !variable one ] }
`
const regions = 'weur=2,enam=1,oc=1'
const known = ['edge-1-weur-1', 'edge-1-weur-2', 'edge-1-enam-1']
/** The Leader does not know it. */
const EMPTY = 'edge-1-oc-1'

const from = (latitude: number, longitude: number): Record<string, string> => ({
  [CF_HEADER]: JSON.stringify({ latitude: String(latitude), longitude: String(longitude) }),
})
const [paris, boston, sydney] = [from(48.9, 2.4), from(42.4, -71.1), from(-33.9, 151.2)]

type Health = {
  readonly ok: boolean
  readonly replication: { readonly state: string; readonly snapshot_id: string }
  readonly audit: { readonly queued: number; readonly forwarder: string }
  readonly database: {
    readonly logical_replication_status: { readonly subscriptions: readonly [{ readonly name: string }] }
  }
}

describe.each(['leader', 'object'] as const)('one Worker in three regions, and the %s dials', (edgeLink) => {
  let machine: OneMachine
  let admin: Client
  let apiKey: string
  let reader: Client
  const ask = (path: string, headers: Record<string, string>, rest: RequestInit = {}): Promise<Response> =>
    fetch(`${machine.follower.url}${path}`, { ...rest, headers })
  const health = async (headers: Record<string, string>): Promise<Health> =>
    (await (await ask('/health', headers)).json()) as Health
  const answering = async (headers: Record<string, string>): Promise<string> =>
    (await health(headers)).database.logical_replication_status.subscriptions[0].name
  const live = async (name: string): Promise<Health> => {
    for (;;) {
      const now = await health({ 'Holdfast-Follower': name })
      if (now.replication.state === 'live') return now
      await systemClock.sleep(20)
    }
  }
  const read = async (headers: Record<string, string>): Promise<string> => {
    const got = await reader.at(machine.follower.url).getSecret('one', headers)
    return `${got.status} ${await got.text()}`
  }
  /** What each of the known ones says, not older than what was just written. */
  const written = async (value: string): Promise<string[]> => {
    const answer = await admin.setSecret('one', value)
    const wait = {
      'Holdfast-Min-Position': answer.headers.get('holdfast-position')!,
      'Holdfast-Inconsistent': 'wait',
    }
    return Promise.all(known.map((name) => read({ ...wait, 'Holdfast-Follower': name })))
  }

  beforeAll(async () => {
    machine = await oneMachine({
      edgeLink,
      followerNames: known,
      followerEnv: { HOLDFAST_REGIONS: regions },
    })
    machine.leader.start()
    await machine.leader.ready()
    admin = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
    const loaded = (await (await admin.loadPolicy('root', policy)).json()) as {
      created_roles: Record<string, { api_key: string }>
    }
    apiKey = loaded.created_roles['acme:host:reader']!.api_key
    reader = await new Client(machine.leader.url, machine.account).login('host/reader', apiKey)
    await admin.setSecret('one', 'first')
    machine.follower.start()
    await machine.follower.answered()
    for (const name of known) await live(name)
  })
  afterAll(() => machine?.stop())

  test('each is a Follower of its own name, and follows', async () => {
    for (const name of known) expect(await answering({ 'Holdfast-Follower': name })).toBe(name)
    expect(await written('second')).toEqual(known.map(() => '200 second'))
  })

  test('a request goes to the nearest region', async () => {
    expect(await answering(paris)).toMatch(/^edge-1-weur-[12]$/)
    expect(await answering(boston)).toBe('edge-1-enam-1')
    expect(await answering({})).toMatch(/^edge-1-weur-[12]$/)
    expect(await answering({ [CF_HEADER]: '{"latitude":null,"continent":["EU"]}' })).toMatch(/weur/)
  })

  test('whoever asks keeps his object, and all together have all of them', async () => {
    const people = Array.from({ length: 40 }, (_, i) => ({ ...paris, Authorization: `Token token="${i}"` }))
    const first = await Promise.all(people.map(answering))
    expect(await Promise.all(people.map(answering))).toEqual(first)
    expect(new Set(first)).toEqual(new Set(['edge-1-weur-1', 'edge-1-weur-2']))
  })

  test('one that cannot serve yet is gone round, where a request can be said again', async () => {
    expect(await health({ 'Holdfast-Follower': EMPTY })).toMatchObject({ ok: false })
    expect(await read({ 'Holdfast-Follower': EMPTY })).toMatch(/^503 .*not taken a snapshot/)
    expect(await read(sydney)).toBe('200 second')
    const path = `/authn/acme/${encodeURIComponent('host/reader')}/authenticate`
    const login = await ask(path, sydney, { method: 'POST', body: apiKey })
    expect(login.status).toBe(200)
    expect(JSON.parse(await login.text())).toMatchObject({ protected: expect.any(String) })
    const container = async (headers: Record<string, string>): Promise<string> =>
      ((await (await ask('/info', headers)).json()) as { container: string }).container
    expect(known).toContain(await container(sydney))
    expect(await container({ 'Holdfast-Follower': EMPTY })).toBe(EMPTY)
    // A body that is not kept is sent once.
    const streamed = { method: 'POST', body: new Blob([apiKey]).stream(), duplex: 'half' } as RequestInit
    expect((await ask(path, sydney, streamed)).status).toBe(503)
    // Its health is its own.
    expect(await answering(sydney)).toBe(EMPTY)
  })

  test('what is no name of this Worker makes no object', async () => {
    for (const name of ['edge-1', 'edge-1-apac-1', 'edge-1-weur-3', '']) {
      const answer = await ask('/health', { 'Holdfast-Follower': name })
      expect([answer.status, await answer.text()]).toEqual([404, expect.stringContaining('HOLDFAST_REGIONS')])
    }
  })

  test('a link reaches the object that it names, one of former regions too, and a stranger none', async () => {
    const bearer = readFileSync(join(machine.directory, 'edge-1.bearer'), 'utf8').trim()
    const dial = async (authorization: string): Promise<number> => {
      const socket = new WebSocket(`${machine.follower.url.replace('http', 'ws')}/replication/stream`, {
        headers: { Authorization: authorization },
      })
      socket.on('error', () => undefined)
      const [, response] = (await Promise.race([
        once(socket, 'unexpected-response'),
        once(socket, 'open').then(() => [socket, { statusCode: 101 }]),
      ])) as [unknown, { statusCode: number }]
      socket.terminate()
      return response.statusCode
    }
    const given = {
      [EMPTY]: bearer,
      'edge-1': bearer,
      'edge-1-apac-3': bearer,
      'edge-1-mars-1': bearer,
      'edge-1-apac-4': `${bearer}x`,
    }
    const answers = await Promise.all(
      Object.entries(given).map(([name, secret]) => dial(`Bearer ${name}.${secret}`)),
    )
    expect(answers).toEqual(edgeLink === 'leader' ? [101, 101, 101, 401, 401] : [409, 409, 409, 409, 409])
  })

  test('started again, each goes on under its own name, and their audit arrives', async () => {
    const before = await Promise.all(known.map(live))
    await machine.leader.kill()
    const marks = known.map((name) => `${edgeLink}-${name}`)
    for (const [i, name] of known.entries())
      expect(await read({ 'Holdfast-Follower': name, 'X-Request-ID': marks[i]! })).toBe('200 second')
    await machine.follower.kill()
    machine.follower.start()
    machine.leader.start()
    await machine.leader.ready()
    admin = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
    for (const mark of marks) {
      for (let rows: unknown[] = []; rows.length === 0; await systemClock.sleep(50)) {
        // Nobody asks the objects: the Leader's dialling starts them, or their alarms.
        const answer = await admin.request('GET', `/audit?procid=${mark}`)
        rows = answer.status === 200 ? ((await answer.json()) as unknown[]) : []
        expect(rows.length).toBeLessThan(2)
      }
    }
    expect(await Promise.all(known.map(live))).toMatchObject(
      before.map(({ replication: { snapshot_id } }) => ({ replication: { snapshot_id } })),
    )
    expect(await written('third')).toEqual(known.map(() => '200 third'))
  })

  test('one that cannot even be started is gone round, and says so by name', async () => {
    await machine.follower.kill()
    const folder = join(machine.directory, 'edge-1', 'storage', 'holdfast')
    const files = filesIn(folder)
    // Those that were shown the bearer, and none that a stranger named.
    expect(new Set(files.keys())).toEqual(new Set([...known, EMPTY, 'edge-1', 'edge-1-apac-3']))
    const broken = files.get('edge-1-enam-1')!
    for (const end of ['-wal', '-shm']) rmSync(`${broken}${end}`, { force: true })
    writeFileSync(broken, 'this is no database')
    machine.follower.start()
    await machine.follower.answered()
    const itself = { 'Holdfast-Follower': 'edge-1-enam-1' }
    expect(await read(itself)).toMatch(/^503 .*cannot be reached/)
    expect(await read(boston)).toBe('200 third')
    expect(await answering(boston)).toMatch(/^edge-1-weur-[12]$/)
    expect(machine.follower.log).toContain('an object cannot be reached')
  })
})

/** The objects that there are, by name: the runtime remembers them for their alarms. */
function filesIn(folder: string): Map<string, string> {
  const sqlite = openSqlite(join(folder, 'metadata.sqlite'), 'reader')
  const rows = sqlite.all('SELECT actor_name, actor_id FROM _cf_ALARM', [])
  sqlite.close()
  return new Map(rows.map((row) => [String(row.actor_name), join(folder, `${row.actor_id}.sqlite`)]))
}
