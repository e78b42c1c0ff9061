// A Follower in a Durable Object and a real Leader: what only the real runtime can show. Every case with each way of dialling.
import { appendFileSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '#shared/node/clock.ts'
import { Client, type OneMachine, oneMachine } from '../support/nodes.ts'

const policy = `
- !variable one
- !variable two
- !host reader
- !permit { role: !host reader, privileges: [ read, execute ], resources: [ !variable one, !variable two ] }
`

/** Who is asked may just be away. */
async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await ask().catch(() => undefined)
    if (found !== undefined) return found
    await systemClock.sleep(20)
  }
}

type Health = {
  readonly ok: boolean
  readonly replication: {
    readonly state: string
    readonly snapshot_id: string
    readonly seq: number
    readonly content_hash: string
  }
  readonly audit: { readonly queued: number; readonly forwarder: string }
}

describe.each(['object', 'leader'] as const)('a Worker, and the %s dials', (edgeLink) => {
  let machine: OneMachine
  let admin: Client
  let reader: Client
  let storage: string
  const health = async (): Promise<Health> =>
    (await (await fetch(`${machine.follower.url}/health`)).json()) as Health
  const live = (): Promise<Health> =>
    until(async () => {
      const now = await health()
      return now.replication.state === 'live' ? now : undefined
    })
  const read = async (id: string, requestId?: string): Promise<string> => {
    const headers = requestId === undefined ? {} : { 'X-Request-ID': requestId }
    const got = await reader.at(machine.follower.url).getSecret(id, headers)
    return `${got.status} ${await got.text()}`
  }
  const seen = (id: string, answer: string): Promise<true> =>
    until(async () => ((await read(id)) === answer ? true : undefined))
  /** Records that the Leader holds of one request. */
  const recorded = async (requestId: string): Promise<number> => {
    const answer = await admin.request('GET', `/audit?procid=${requestId}`)
    return answer.status === 200 ? ((await answer.json()) as unknown[]).length : 0
  }
  const arrived = (requestId: string): Promise<true> =>
    until(async () => ((await recorded(requestId)) > 0 ? true : undefined))
  const drained = (): Promise<Health> =>
    until(async () => {
      const now = await health()
      return now.audit.forwarder === 'connected' && now.audit.queued === 0 ? now : undefined
    })

  beforeAll(async () => {
    machine = await oneMachine({ edgeLink })
    storage = join(machine.directory, 'edge-1', 'storage')
    machine.leader.start()
    await machine.leader.ready()
    machine.follower.start()
    await machine.follower.ready()
    admin = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
    const loaded = (await (await admin.loadPolicy('root', policy)).json()) as {
      created_roles: Record<string, { api_key: string }>
    }
    reader = await new Client(machine.leader.url, machine.account).login(
      'host/reader',
      loaded.created_roles['acme:host:reader']!.api_key,
    )
    await admin.setSecret('one', 'first')
    await seen('one', '200 first')
  })
  afterAll(() => machine?.stop())

  test('a write is seen, and what was taken away is not', async () => {
    await admin.setSecret('one', 'second')
    await seen('one', '200 second')
    const denied = '- !deny { role: !host reader, privileges: [ read, execute ], resource: !variable one }'
    expect((await admin.loadPolicy('root', denied, 'PATCH')).status).toBe(201)
    await until(async () => ((await read('one')).startsWith('404') ? true : undefined))
    await admin.loadPolicy('root', policy)
    await seen('one', '200 second')
  })

  test('a policy text that fits no row of the platform is shown whole', async () => {
    const text = `- !variable large\n${`# ${'é'.repeat(78)}\n`.repeat(16_000)}`
    const loaded = await admin.loadPolicy('root', text)
    expect(loaded.status).toBe(201)
    const shown = await admin.at(machine.follower.url).request('GET', '/resources/acme/policy/root', {
      headers: {
        'Holdfast-Min-Position': loaded.headers.get('holdfast-position')!,
        'Holdfast-Inconsistent': 'wait',
      },
    })
    const { policy_versions } = (await shown.json()) as { policy_versions: { policy_text: string }[] }
    expect(policy_versions.some(({ policy_text }) => policy_text === text)).toBe(true)
  })

  test('without its Leader it serves and keeps the audit, which then comes once', async () => {
    await machine.leader.kill()
    await until(async () => ((await health()).replication.state === 'connecting' ? true : undefined))
    expect(await read('one', `away-${edgeLink}`)).toBe('200 second')
    expect((await health()).audit.queued).toBeGreaterThan(0)
    machine.leader.start()
    await machine.leader.ready()
    await arrived(`away-${edgeLink}`)
    await drained()
    expect(await recorded(`away-${edgeLink}`)).toBe(1)
  })

  test('an object that is put out of memory goes on from its storage, and its audit comes once', async () => {
    const before = await live()
    await machine.leader.kill()
    expect(await read('one', `kept-${edgeLink}`)).toBe('200 second')
    await machine.follower.kill()
    machine.follower.start()
    await machine.follower.ready()
    expect(await read('one')).toBe('200 second')
    machine.leader.start()
    await machine.leader.ready()
    expect((await live()).replication.snapshot_id).toBe(before.replication.snapshot_id)
    await arrived(`kept-${edgeLink}`)
    await drained()
    expect(await recorded(`kept-${edgeLink}`)).toBe(1)
    await admin.setSecret('one', 'third')
    await seen('one', '200 third')
  })

  test('new code takes over what the old one has stored', async () => {
    const before = await live()
    await read('one', `deploy-${edgeLink}`)
    await machine.follower.kill()
    appendFileSync(join(machine.directory, 'edge-1', 'index.js'), '\n// a later version\n')
    await admin.setSecret('two', 'meanwhile')
    machine.follower.start()
    await machine.follower.ready()
    expect(await read('one')).toBe('200 third')
    await seen('two', '200 meanwhile')
    expect((await live()).replication.snapshot_id).toBe(before.replication.snapshot_id)
    await arrived(`deploy-${edgeLink}`)
    await drained()
    expect(await recorded(`deploy-${edgeLink}`)).toBe(1)
  })

  test('its storage holds nothing that is secret in clear', async () => {
    const held = readdirSync(storage, { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.sqlite/.test(file))
      .map((file) => readFileSync(join(storage, file)))
    expect(held.length).toBeGreaterThan(0)
    const secrets = [
      'third',
      'meanwhile',
      '"d":"',
      ...['data.key', 'edge-1.bearer'].map((file) =>
        readFileSync(join(machine.directory, file), 'utf8').trim(),
      ),
    ]
    for (const secret of secrets) {
      expect(
        held.some((bytes) => bytes.includes(secret)),
        secret.slice(0, 10),
      ).toBe(false)
    }
    expect(held.some((bytes) => bytes.includes('acme:variable:one'))).toBe(true)
  })
})
