// Writes of the API at the Leader, and their refusal at a Follower (http-api 9-14, 17).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../../support/nodes.ts'
import { settled, startWorld, type World } from './world.ts'

let world: World
let admin: Client
beforeAll(async () => {
  world = await startWorld()
  admin = world.admin
})
afterAll(() => world?.machine.stop())

const basic = (login: string, secret: string) => ({ Authorization: `Basic ${btoa(`${login}:${secret}`)}` })
const statusOf = async (response: Promise<Response>): Promise<number> => (await response).status
const answerOf = async (response: Promise<Response>): Promise<[number, string]> => {
  const got = await response
  return [got.status, await got.text()]
}
const jsonOf = async (response: Promise<Response>): Promise<[number, unknown]> => {
  const [status, text] = await answerOf(response)
  return [status, JSON.parse(text)]
}
const versionsOf = async (id: string): Promise<number[]> => {
  const [, resource] = await jsonOf(
    admin.request('GET', `/resources/acme/variable/${encodeURIComponent(id)}`),
  )
  return (resource as { secrets: { version: number }[] }).secrets.map(({ version }) => version)
}

describe('secrets', () => {
  test('note 6: the same value again makes no version, a new one does, the oldest go', async () => {
    expect(await answerOf(world.web.setSecret('app/empty', 'a'))).toEqual([201, ''])
    expect(await statusOf(world.web.setSecret('app/empty', 'a'))).toBe(201)
    expect(await versionsOf('app/empty')).toEqual([1])
    for (let n = 0; n < 21; n++) expect(await statusOf(world.web.setSecret('app/empty', `v${n}`))).toBe(201)
    expect(await versionsOf('app/empty')).toEqual(Array.from({ length: 20 }, (_, i) => i + 3))
  })

  test('bytes come back as they were, of any kind and size up to the limit', async () => {
    const binary = new Uint8Array(1024 * 1024).map((_, i) => (i * 7) % 256)
    for (const value of [new Uint8Array([0]), new Uint8Array([255, 0, 10]), binary]) {
      expect(await statusOf(world.web.setSecret('app/odd a+b:c', value))).toBe(201)
      const read = await world.web.getSecret('app/odd a+b:c')
      expect(new Uint8Array(await read.arrayBuffer())).toEqual(value)
    }
  })

  test('a media type that no header can hold is not sent', async () => {
    const { admin } = world
    const odd = '- !variable { id: odd-type, mime_type: "text/x\\r\\nSet-Cookie: a=b" }\n'
    expect(await statusOf(admin.loadPolicy('root', odd))).toBe(201)
    expect(await statusOf(admin.setSecret('odd-type', 'x'))).toBe(201)
    const read = await admin.getSecret('odd-type')
    expect([read.status, read.headers.get('content-type'), await read.text()]).toEqual([
      200,
      'application/octet-stream',
      'x',
    ])
  })

  test('empty, blank and too large values are refused', async () => {
    const empty = [422, { error: { code: 'argument_error', message: "'value' may not be empty" } }]
    expect(await jsonOf(world.web.setSecret('app/empty', ''))).toEqual(empty)
    expect(await jsonOf(world.web.setSecret('app/empty', ' \n\t'))).toEqual(empty)
    expect(await statusOf(world.web.setSecret('app/empty', new Uint8Array(1024 * 1024 + 1)))).toBe(413)
  })

  test('unseen is 404, seen without update is 403', async () => {
    expect((await jsonOf(world.web.setSecret('app/hidden', 'x')))[0]).toBe(404)
    expect(await answerOf(world.onlooker.setSecret('app/db/pw', 'x'))).toEqual([403, ''])
  })

  test('a write tells its position and gives a receipt', async () => {
    const response = await world.web.setSecret('app/empty', `receipt ${Math.random()}`)
    expect(response.headers.get('holdfast-position')).toMatch(/^1\.\d+$/)
    const [, claims] = response.headers.get('holdfast-receipt')!.split('.')
    expect(JSON.parse(atob(claims!))).toMatchObject({ position: response.headers.get('holdfast-position') })
  })

  test('expiry is for variables', async () => {
    expect(
      await statusOf(world.web.request('POST', '/secrets/acme/variable/app%2Fdb%2Fpw?expirations')),
    ).toBe(201)
    expect(await jsonOf(world.web.request('POST', '/secrets/acme/host/app%2Fweb?expirations'))).toEqual([
      422,
      { error: { code: 'argument_error', message: 'Invalid secret kind: host' } },
    ])
  })
})

describe('credentials', () => {
  test('note 12: rotation', async () => {
    const rotate = (role: string, headers?: Record<string, string>) =>
      admin.request('PUT', `/authn/acme/api_key${role}`, headers ? { headers } : {})
    expect(await jsonOf(rotate(''))).toEqual([
      401,
      { error: { code: 'unauthorized', message: 'Credential strength is insufficient' } },
    ])
    const [status, key] = await answerOf(rotate('?role=host:app/onlooker'))
    expect(status).toBe(200)
    await new Client(world.machine.leader.url, 'acme').login('host/app/onlooker', key)
    const old = world.keys.get('acme:host:app/onlooker')!
    await expect(
      new Client(world.machine.leader.url, 'acme').login('host/app/onlooker', old),
    ).rejects.toThrow('401')
    expect(await answerOf(rotate('', basic('host/app/onlooker', key)))).toEqual([
      200,
      expect.stringMatching(/^[0-9a-z]{40,}$/),
    ])
    expect(await jsonOf(rotate('?role=user:zed'))).toEqual([
      404,
      {
        error: {
          code: 'not_found',
          message: "CONJ00123E Resource 'user:zed' requested by role 'acme:user:admin' not found",
        },
      },
    ])
    expect(await jsonOf(rotate('?role=group:app/readers'))).toEqual([
      405,
      {
        error: {
          code: 'method_not_allowed',
          message: "CONJ00126E Role 'acme:group:app/readers' is not applicable for key rotation",
        },
      },
    ])
    expect((await jsonOf(rotate('?role=nonsense')))[0]).toBe(422)
    expect(await statusOf(world.web.request('PUT', '/authn/acme/api_key?role=host:app/far'))).toBe(404)
  })

  test('note 13: passwords', async () => {
    const key = world.keys.get('acme:user:alice@app')!
    const change = (headers: Record<string, string>, body: string) =>
      admin.request('PUT', '/authn/acme/password', { headers, body })
    const good = 'Correct-Horse-9-Battery'
    expect(await jsonOf(change(basic('alice@app', key), 'weak'))).toEqual([
      422,
      {
        error: {
          code: 'validation_failed',
          message: expect.stringContaining('CONJ00046E'),
          details: [{ code: 'validation_failed', target: 'password', message: expect.any(String) }],
        },
      },
    ])
    expect(await answerOf(change(basic('alice@app', key), good))).toEqual([204, ''])
    const login = (secret: string) =>
      admin.request('GET', '/authn/acme/login', { headers: basic('alice@app', secret) })
    expect(await answerOf(login(good))).toEqual([200, key])
    expect(await answerOf(login('Wrong-Horse-9-Battery'))).toEqual([401, ''])
    expect(await answerOf(login(''))).toEqual([401, ''])
    expect(await statusOf(change(basic('alice@app', 'bad'), good))).toBe(401)
    expect(await statusOf(change(basic('host/app/web', world.keys.get('acme:host:app/web')!), good))).toBe(
      403,
    )
    await expect(new Client(world.machine.leader.url, 'acme').login('alice@app', good)).rejects.toThrow('401')
  })
})

describe('members', () => {
  test('note 18: adding and removing', async () => {
    const members = (method: string, member: string, as = admin) =>
      as.request(method, `/roles/acme/group/app%2Freaders?members&member=${encodeURIComponent(member)}`)
    expect(await answerOf(members('POST', 'acme:host:app/far'))).toEqual([204, ''])
    expect(await statusOf(members('POST', 'acme:host:app/far'))).toBe(204)
    expect(await statusOf(members('POST', 'acme:host:absent'))).toBe(404)
    expect(await statusOf(members('DELETE', 'acme:host:app/far'))).toBe(204)
    expect(await statusOf(members('DELETE', 'acme:host:app/far'))).toBe(404)
    expect(await statusOf(members('POST', 'acme:host:app/far', world.web))).toBe(404)
  })
})

describe('host factories', () => {
  test('notes 19, 20: tokens and hosts', async () => {
    const later = new Date(Date.now() + 3_600_000).toISOString()
    const create = (body: object | string, type: string) =>
      admin.request('POST', '/host_factory_tokens', {
        body: typeof body === 'string' ? body : JSON.stringify(body),
        headers: { 'Content-Type': type },
      })
    const asJson = { host_factory: 'acme:host_factory:app/factory', expiration: later, cidr: ['127.0.0.0/8'] }
    const [status, tokens] = await jsonOf(create(asJson, 'application/json'))
    expect([status, tokens]).toEqual([
      200,
      [{ expiration: expect.any(String), cidr: ['127.0.0.0/8'], token: expect.any(String) }],
    ])
    const form = `host_factory=acme:host_factory:app/factory&expiration=${later}&count=2`
    expect(((await jsonOf(create(form, 'application/x-www-form-urlencoded')))[1] as unknown[]).length).toBe(2)
    expect(
      (await jsonOf(create({ ...asJson, expiration: '2020-01-01T00:00:00Z' }, 'application/json')))[0],
    ).toBe(422)
    expect(
      (await jsonOf(create({ ...asJson, host_factory: 'acme:host_factory:none' }, 'application/json')))[0],
    ).toBe(404)

    const { token } = (tokens as { token: string }[])[0]!
    const host = (id: string, text = token) =>
      admin.request('POST', '/host_factories/hosts', {
        body: `id=${id}&annotations[zone]=south`,
        headers: {
          Authorization: `Token token="${text}"`,
          'Content-Type': 'application/x-www-form-urlencoded',
        },
      })
    const [made, first] = await jsonOf(host('machine-1'))
    expect([made, first]).toMatchObject([
      201,
      {
        id: 'acme:host:machine-1',
        owner: 'acme:host_factory:app/factory',
        annotations: [{ name: 'zone', value: 'south' }],
      },
    ])
    const [again, second] = await jsonOf(host('machine-1'))
    expect(again).toBe(201)
    expect((second as { api_key: string }).api_key).not.toBe((first as { api_key: string }).api_key)
    await new Client(world.machine.leader.url, 'acme').login(
      'host/machine-1',
      (second as { api_key: string }).api_key,
    )
    const [, layer] = await jsonOf(admin.request('GET', '/roles/acme/layer/app'))
    expect((layer as { members: { member: string }[] }).members.map(({ member }) => member)).toContain(
      'acme:host:machine-1',
    )
    expect(await statusOf(host('app/web'))).toBe(403)
    expect((await jsonOf(host('conjur/x')))[0]).toBe(422)
    expect((await jsonOf(host('')))[0]).toBe(422)
    expect(await answerOf(host('machine-2', 'wrong'))).toEqual([401, ''])
    expect(await statusOf(admin.request('DELETE', `/host_factory_tokens/${token}`))).toBe(204)
    expect(await statusOf(host('machine-2'))).toBe(401)
    expect((await jsonOf(admin.request('DELETE', `/host_factory_tokens/${token}`)))[0]).toBe(404)
  })
})

describe('at a Follower', () => {
  test('note 28: what would be written is 405 with the Leader’s address; what is refused is refused as at the Leader', async () => {
    await settled(world)
    const web = world.web.at(world.machine.follower.url)
    const refused = await web.setSecret('app/empty', 'x')
    expect([refused.status, await refused.json()]).toEqual([
      405,
      { error: { code: 405, message: 'Write operations are not allowed' } },
    ])
    expect(refused.headers.get('x-leader-url')).toBe(world.machine.leader.url)
    expect(await statusOf(web.setSecret('app/hidden', 'x'))).toBe(404)
    const root = admin.at(world.machine.follower.url)
    expect(await statusOf(root.loadPolicy('root', '- !group more'))).toBe(405)
    // A text is not read where no one commits: large ones take long, and anybody may send them.
    expect(await statusOf(root.loadPolicy('root', '- !nothing more'))).toBe(405)
    expect(await statusOf(web.loadPolicy('root', '- !group more'))).toBe(404)
  })
})

describe('audit', () => {
  test('every answer has its record, of both nodes, and is found by what it is about', async () => {
    const id = `audit-${Date.now()}`
    await world.web.at(world.machine.follower.url).getSecret('app/db/pw', { 'X-Request-Id': id })
    await world.onlooker.getSecret('app/db/pw', { 'X-Request-Id': `${id}-refused` })
    const rows = async (query: string) => {
      for (let attempt = 0; attempt < 100; attempt++) {
        const [status, found] = await jsonOf(admin.request('GET', `/audit${query}`))
        if (status === 200)
          return found as { msgid: string; message: string; sdata: unknown; severity: number }[]
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      return []
    }
    expect(await rows(`?procid=${id}`)).toMatchObject([
      {
        msgid: 'fetch',
        facility: 10,
        severity: 6,
        message: 'acme:host:app/web fetched acme:variable:app/db/pw',
        sdata: {
          'auth@43868': { user: 'acme:host:app/web' },
          'subject@43868': { resource: 'acme:variable:app/db/pw' },
          'action@43868': { result: 'success', operation: 'fetch' },
          'client@43868': { ip: '127.0.0.1' },
        },
      },
    ])
    expect(await rows(`?procid=${id}-refused`)).toMatchObject([
      { severity: 4, message: 'acme:host:app/onlooker tried to fetch acme:variable:app/db/pw: Forbidden' },
    ])
    expect((await rows('/resources/acme:variable:app/db/pw?msgid=fetch&limit=1')).length).toBe(1)
    expect(await jsonOf(admin.request('GET', '/audit?procid=never'))).toEqual([404, []])
  })
})
