// Values of variables: read one by one and many at once, written, and let expire (http-api 12).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import {
  answered,
  argument,
  forbidden,
  notFound as notFoundRecord,
  type ReadCase,
  readCases,
  settled,
  startWorld,
  type World,
} from './world.ts'

let world: World
let admin: Client
beforeAll(async () => {
  world = await startWorld()
  admin = world.admin
})
afterAll(() => world?.machine.stop())

const empty = 'CONJ00076E Variable acme:variable:app/NAME is empty or not found.'
const notFound = (name: string) => ({ error: { code: 'not_found', message: empty.replace('NAME', name) } })

const cases: readonly ReadCase[] = [
  { name: 'a secret', as: 'web', path: '/secrets/acme/variable/app%2Fdb%2Fpw', status: 200, body: 'one' },
  {
    name: 'a secret with plain slashes',
    as: 'web',
    path: '/secrets/acme/variable/app/db/pw',
    status: 200,
    body: 'one',
  },
  {
    name: 'a version',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw?version=1',
    status: 200,
    body: 'one',
  },
  {
    name: 'no such version (http-api note 5)',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw?version=9',
    status: 404,
    body: notFound('db/pw'),
  },
  {
    name: 'a version that is no number',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw?version=x',
    status: 422,
    body: { error: { code: 'argument_error', message: "invalid type for parameter 'version'" } },
  },
  {
    name: 'no value yet (http-api note 5)',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fempty',
    status: 404,
    body: notFound('empty'),
  },
  {
    name: 'no such variable (http-api note 5)',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fabsent',
    status: 404,
    body: notFound('absent'),
  },
  {
    name: 'an invisible variable looks the same (http-api note 5)',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fhidden',
    status: 404,
    body: notFound('hidden'),
  },
  {
    name: 'visible but not executable (http-api note 5)',
    as: 'onlooker',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw',
    status: 403,
    body: '',
  },
  {
    name: 'an id with blank, plus and colon',
    as: 'web',
    path: '/secrets/acme/variable/app%2Fodd%20a+b%3Ac',
    status: 404,
    body: notFound('odd a+b:c'),
  },
  {
    name: 'HEAD',
    as: 'web',
    method: 'HEAD',
    path: '/secrets/acme/variable/app%2Fdb%2Fpw',
    status: 200,
    body: '',
  },
  {
    name: 'a batch',
    as: 'web',
    path: '/secrets?variable_ids=acme:variable:app%2Fdb%2Fpw',
    status: 200,
    body: { 'acme:variable:app/db/pw': 'one' },
  },
  {
    name: 'duplicates are answered once (http-api note 7)',
    as: 'web',
    path: '/secrets?variable_ids=acme:variable:app/db/pw,acme:variable:app/db/pw',
    status: 200,
    body: { 'acme:variable:app/db/pw': 'one' },
  },
  {
    name: 'an empty list (http-api note 7)',
    as: 'web',
    path: '/secrets?variable_ids=',
    status: 422,
    body: { error: { code: 'argument_error', message: 'variable_ids' } },
  },
  { name: 'an empty item (http-api note 7)', as: 'web', path: '/secrets?variable_ids=a,,b', status: 422 },
  {
    name: '403 comes before 404, even unseen (http-api note 7)',
    as: 'web',
    path: '/secrets?variable_ids=acme:variable:app/absent,acme:variable:app/hidden',
    status: 403,
    body: '',
  },
  {
    name: 'a batch with one that is missing',
    as: 'web',
    path: '/secrets?variable_ids=acme:variable:app/db/pw,acme:variable:app/absent',
    status: 404,
    body: notFound('absent'),
  },
]
readCases(() => world, cases)

const statusOf = async (response: Promise<Response>): Promise<number> => (await response).status
const versionsOf = async (id: string): Promise<number[]> => {
  const [, resource] = await answered(
    admin.request('GET', `/resources/acme/variable/${encodeURIComponent(id)}`),
  )
  return (resource as { secrets: { version: number }[] }).secrets.map(({ version }) => version)
}

describe.each(['leader', 'follower'] as const)('a batch at the %s', (node) => {
  const VALUES: Readonly<Record<string, string | Uint8Array>> = {
    short: 'short',
    long: 'x'.repeat(100),
    binary: new Uint8Array([255, 0, 254]),
  }
  const id = (name: string) => `acme:variable:batch/${name}`
  beforeAll(async () => {
    await admin.loadPolicy(
      'root',
      '- !policy { id: batch, body: [ !variable short, !variable long, !variable binary ] }',
    )
    for (const [name, value] of Object.entries(VALUES)) await admin.setSecret(`batch/${name}`, value)
    await settled(world)
  })
  const batch = (names: readonly string[], headers: Record<string, string> = {}) =>
    admin
      .at(world.machine[node].url)
      .request('GET', `/secrets?variable_ids=${names.map(id).map(encodeURIComponent).join(',')}`, { headers })

  test('is base64 when that is all the client accepts; tokens are so among others too (http-api note 8)', async () => {
    for (const encoding of ['base64', 'BASE64']) {
      const got = await batch(['short', 'long', 'binary'], { 'Accept-Encoding': encoding })
      expect([got.status, got.headers.get('content-encoding'), await got.json()]).toEqual([
        200,
        'base64',
        {
          [id('short')]: 'c2hvcnQ=\n',
          [id('long')]: Buffer.from('x'.repeat(100))
            .toString('base64')
            .replace(/.{1,60}/g, '$&\n'),
          [id('binary')]: '/wD+\n',
        },
      ])
    }
    const among = await batch(['short'], { 'Accept-Encoding': 'base64, gzip' })
    expect([among.status, among.headers.get('content-encoding'), await among.json()]).toEqual([
      200,
      null,
      { [id('short')]: 'short' },
    ])
    const token = await fetch(`${world.machine[node].url}/authn/acme/host%2Fapp%2Fweb/authenticate`, {
      method: 'POST',
      body: world.keys.get('acme:host:app/web')!,
      headers: { 'Accept-Encoding': 'gzip, BASE64' },
    })
    expect([token.status, token.headers.get('content-encoding')]).toEqual([200, 'base64'])
    expect(JSON.parse(atob(await token.text()))).toMatchObject({ payload: expect.any(String) })
  })

  test('fails whole when one value is no text', async () => {
    expect(await answered(batch(['short', 'binary']))).toEqual([
      406,
      {
        error: {
          code: 'not_acceptable',
          message:
            "CONJ00074E Issue encoding secret into JSON format, try including 'Accept-Encoding: base64' header in request.",
        },
      },
    ])
  })

  test('fails whole: one that is forbidden comes before one that is missing, and ids are full (http-api note 7)', async () => {
    const web = (ids: string) =>
      answered(world.web.at(world.machine[node].url).request('GET', `/secrets?variable_ids=${ids}`))
    const [good, hidden, absent] = ['app/db/pw', 'app/hidden', 'app/absent'].map(
      (name) => `acme:variable:${name}`,
    )
    expect(await web(`${good}`)).toEqual([200, { [`${good}`]: 'one' }])
    expect(await web(`${absent},${good},${hidden}`)).toEqual(forbidden)
    expect(await web(`${good},${absent},acme:variable:app/none`)).toEqual([404, notFound('absent')])
    expect(await web(`app/db/pw`)).toMatchObject([404, { error: { code: 'not_found' } }])
    for (const ids of ['', ',', `${good},`, `${good},,${good}`])
      expect(await web(ids), ids).toEqual(argument('variable_ids'))
    const none = world.web.at(world.machine[node].url).request('GET', '/secrets')
    expect(await answered(none)).toEqual(argument('variable_ids'))
  })
})

describe('secrets', () => {
  test('the same value again makes no version, a new one does, the oldest go (http-api note 6)', async () => {
    expect(await answered(world.web.setSecret('app/empty', 'a'))).toEqual([201, ''])
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

  test('empty, blank and too large values are refused (http-api note 5)', async () => {
    const empty = [422, { error: { code: 'argument_error', message: "'value' may not be empty" } }]
    expect(await answered(world.web.setSecret('app/empty', ''))).toEqual(empty)
    expect(await answered(world.web.setSecret('app/empty', ' \n\t'))).toEqual(empty)
    expect(await statusOf(world.web.setSecret('app/empty', new Uint8Array(1024 * 1024 + 1)))).toBe(413)
  })

  test('unseen is 404, seen without update is 403', async () => {
    expect((await answered(world.web.setSecret('app/hidden', 'x')))[0]).toBe(404)
    expect(await answered(world.onlooker.setSecret('app/db/pw', 'x'))).toEqual([403, ''])
  })

  test('a write tells its position and gives a receipt', async () => {
    const response = await world.web.setSecret('app/empty', `receipt ${Math.random()}`)
    expect(response.headers.get('holdfast-position')).toMatch(/^1\.\d+$/)
    const [, claims] = response.headers.get('holdfast-receipt')!.split('.')
    expect(JSON.parse(atob(claims!))).toMatchObject({ position: response.headers.get('holdfast-position') })
  })

  test('is let expire by who may update it, and only of a variable', async () => {
    const expire = (as: Client, path: string) =>
      answered(as.request('POST', `/secrets/acme/${path}?expirations`))
    expect(await expire(world.web, 'variable/app%2Fdb%2Fpw')).toEqual([201, ''])
    expect(await expire(world.web, 'variable/app%2Fempty')).toEqual([201, ''])
    expect(await expire(world.onlooker, 'variable/app%2Fdb%2Fpw')).toEqual(forbidden)
    for (const name of ['app/hidden', 'app/absent'])
      expect(await expire(world.web, `variable/${encodeURIComponent(name)}`)).toEqual(
        notFoundRecord(`Variable '${name}' not found in account 'acme'`, 'variable', `acme:variable:${name}`),
      )
    expect(await expire(world.web, 'host/app%2Fweb')).toEqual(argument('Invalid secret kind: host'))
    expect(await expire(world.web, 'thing/x')).toEqual([404, ''])
    expect(await (await world.web.getSecret('app/db/pw')).text()).toBe('one')
  })

  test('a public key is one line of OpenSSH', async () => {
    const post = (value: string) =>
      answered(admin.request('POST', '/secrets/acme/public_key/user%2Fbob@app%2Flaptop', { body: value }))
    expect(await post('ssh-ed25519 AAAAC3Nz laptop')).toEqual([201, ''])
    expect(await post('no key')).toEqual([
      422,
      { error: { code: 'unprocessable_entity', message: 'Invalid public key format' } },
    ])
    expect(await answered(admin.request('POST', '/secrets/acme/host/app%2Fweb', { body: 'x' }))).toEqual([
      404,
      '',
    ])
  })
})
