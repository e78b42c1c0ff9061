// Policy loads at the Leader: modes, errors, positions (policy 2-8, 12; http-api 13).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../support/nodes.ts'
import { startWorld, type World } from './world.ts'

let world: World
let admin: Client
let branches = 0
beforeAll(async () => {
  world = await startWorld()
  admin = world.admin
})
afterAll(() => world?.machine.stop())

type Method = 'POST' | 'PUT' | 'PATCH'
const load = async (branch: string, text: string | Uint8Array, method: Method = 'POST', as = admin) => {
  const response = await as.request(method, `/policies/acme/policy/${encodeURIComponent(branch)}`, {
    body: text,
  })
  const body = await response.text()
  return { status: response.status, body: body === '' ? '' : JSON.parse(body) }
}
/** A policy of its own for a test. */
const fresh = async (): Promise<string> => {
  const id = `branch-${++branches}`
  expect((await load('root', `- !policy ${id}`)).status).toBe(201)
  return id
}
const get = async (path: string) => {
  const response = await admin.request('GET', path)
  const text = await response.text()
  return { status: response.status, body: text === '' ? '' : JSON.parse(text) }
}
const invalid = (message: string | RegExp, mark?: { line: number; column: number }) => ({
  status: 422,
  body: {
    error: {
      code: 'policy_invalid',
      message: typeof message === 'string' ? message : expect.stringMatching(message),
      ...(mark ? { innererror: { code: 'policy_invalid', filename: 'policy', ...mark } } : {}),
    },
  },
})
const marked = (message: string, line: number, column: number) =>
  invalid(`Error at line ${line}, column ${column} in policy : ${message}`, { line, column })

describe('errors', () => {
  test.each([
    ['an unknown tag', '- !user a\n\n- !foobar x\n', marked("Unrecognized data type '!foobar'", 3, 0)],
    ['!include is gone', '- !include x\n', marked("Unrecognized data type '!include'", 1, 0)],
    [
      'a bad range',
      '- !host\n  id: x\n  annotations:\n    a: b\n  restricted_to: bad\n',
      marked("Invalid IP address or CIDR range 'bad'", 5, 0),
    ],
    [
      'host bits',
      '- !host\n  id: x\n  restricted_to: 10.0.0.1/24\n',
      marked(
        "Invalid IP address or CIDR range '10.0.0.1/24': Value has bits set to right of mask. Did you mean '10.0.0.0/24'?",
        3,
        0,
      ),
    ],
    [
      'a flow list',
      '- !host\n  id: x\n  restricted_to: [ 192.168.1.1, bad ]\n',
      marked("Invalid IP address or CIDR range 'bad'", 2, 35),
    ],
    [
      'an id that is a number',
      '- !user\n  id: 12345\n',
      marked("Expected a string for field 'id', got Integer", 2, 0),
    ],
    [
      'an unknown attribute',
      '- !permit\n  member: !user a\n',
      marked("No such attribute 'member' on type Permit", 1, 8),
    ],
    ['a duplicate attribute', '- !user\n  id: a\n  id: b\n', marked('Duplicate attribute: id', 2, 4)],
    [
      'a variable as a role',
      '- !permit\n  role: !variable x\n  privilege: read\n  resource: !variable x\n',
      marked("Expected a Role for field 'role', got Variable", 2, 0),
    ],
    ['a root mapping', 'a: b\n', marked('Unexpected mapping', 0, 0)],
    ['a root scalar', 'hello\n', marked('Unexpected scalar', 1, 0)],
    ['an untagged mapping', '- id: x\n', marked('No type given or inferred for sequence entry', 0, 2)],
    ['an untagged scalar', '- user alice\n', marked('Unexpected scalar', 1, 0)],
    ['a duplicate anchor', '- &a !user x\n- &a !user y\n', invalid(/Duplicate anchor a/)],
    ['two documents', '- !user x\n---\n- !user y\n', invalid(/Multiple YAML documents encountered/)],
    [
      'a syntax error',
      '- !user [ a\n',
      { status: 422, body: { error: { code: 'policy_invalid', message: expect.any(String) } } },
    ],
    [
      'note 11: a blank resource',
      '- !permit\n  role: !user a\n  privilege: read\n  resource:\n',
      invalid('resource has a blank id'),
    ],
    ['an absolute id', '- !variable /x\n', invalid('Illegal absolute id: /x')],
    [
      'a declaration twice',
      '- !variable db/pw\n- !variable db/pw\n',
      invalid("variable 'db/pw' is declared more than once"),
    ],
    [
      'note 12: a missing reference',
      '- !grant\n  role: !layer ops\n  member: !user admin\n',
      invalid("Layer 'ops' not found in account 'acme'"),
    ],
    [
      'a factory without layers',
      '- !host-factory\n  id: myapp\n',
      invalid("Host factory 'myapp' does not include any layers"),
    ],
    [
      'a public key without a name',
      '- !user\n  id: a\n  public_keys: [ ssh-rsa AAAA ]\n',
      invalid('Invalid public key format'),
    ],
    [
      'too many dots',
      '- !policy\n  id: myapp\n  body:\n  - !group\n    id: g\n    owner: !group ../../the-group\n',
      invalid('Invalid relative reference: myapp/../../the-group'),
    ],
    [
      'mutual ownership',
      '- !group\n  id: a\n  owner: !group b\n- !group\n  id: b\n  owner: !group a\n',
      invalid(/^Dependency cycle encountered between group '[ab]' and group '[ab]'$/),
    ],
    ['note 30: deleting admin', '- !delete\n  record: !user admin\n', { status: 422 }, 'PATCH'],
  ] as const)('%s', async (...[, text, expected, method]) => {
    expect(await load('root', text, method ?? 'POST')).toMatchObject(expected)
  })

  test('note 13: an empty text is a validation error, a comment is not', async () => {
    for (const text of ['', ' \n ']) {
      expect(await load('root', text)).toEqual({
        status: 422,
        body: {
          error: {
            code: 'validation_failed',
            message: 'policy_text is not present',
            details: [{ code: 'validation_failed', target: 'policy_text', message: 'is not present' }],
          },
        },
      })
    }
    expect((await load('root', '# nothing\n')).status).toBe(201)
  })

  test('deletion statements are refused in POST', async () => {
    expect(await load('root', '- !delete\n  record: !user nobody\n')).toMatchObject({
      status: 422,
      body: {
        error: { code: 'validation_failed', message: 'policy_text may not contain deletion statements' },
      },
    })
  })

  test('hostile texts are refused in bounded time, and nothing of them is stored', async () => {
    const bomb = `- &a [ !user x ]\n${Array.from({ length: 24 }, (_, i) => `- &a${i + 1} [ *a${i || ''}, *a${i || ''}, *a${i || ''} ]\n`).join('')}`
    for (const text of [
      new Uint8Array([0x2d, 0x20, 0xff, 0xfe]),
      '['.repeat(100_000),
      `${'- '.repeat(20_000)}x`,
      bomb,
      `- !user ${'x'.repeat(10_000_000)}`,
    ]) {
      expect((await load('root', text)).status).toBe(422)
    }
    expect(await load('root', 'x'.repeat(10 * 1024 * 1024 + 1))).toMatchObject({ status: 413 })
  })
})

describe('modes', () => {
  test('note 7: PUT twice keeps keys and values; versions count on', async () => {
    const branch = await fresh()
    const text = '- !host h\n- !variable v\n'
    const first = await load(branch, text, 'PUT')
    expect(first).toMatchObject({
      status: 201,
      body: { version: 1, created_roles: { [`acme:host:${branch}/h`]: { api_key: expect.any(String) } } },
    })
    await admin.setSecret(`${branch}/v`, 'kept')
    expect(await load(branch, text, 'PUT')).toEqual({ status: 201, body: { version: 2, created_roles: {} } })
    expect(await (await admin.getSecret(`${branch}/v`)).text()).toBe('kept')
  })

  test('notes 8, 14: PUT removes what the text no longer says, with all below; coming back starts anew', async () => {
    const branch = await fresh()
    await load(branch, '- !policy\n  id: sub\n  body:\n  - !variable v\n', 'PUT')
    await load(`${branch}/sub`, '- !variable w\n')
    await admin.setSecret(`${branch}/sub/v`, 'lost')
    expect((await load(branch, '- !group other\n', 'PUT')).status).toBe(201)
    for (const id of [
      `variable/${branch}%2Fsub%2Fv`,
      `variable/${branch}%2Fsub%2Fw`,
      `policy/${branch}%2Fsub`,
    ]) {
      expect((await get(`/resources/acme/${id}`)).status).toBe(404)
    }
    await load(branch, '- !policy\n  id: sub\n  body:\n  - !variable v\n', 'PUT')
    expect((await admin.getSecret(`${branch}/sub/v`)).status).toBe(404)
  })

  test('note 3: POST adds and never changes, PATCH changes', async () => {
    const branch = await fresh()
    const annotated = (value: string, more = '') =>
      `- !variable\n  id: v\n  annotations:\n    a: ${value}\n${more}`
    await load(branch, annotated('one'))
    await load(branch, annotated('two', '    b: new\n'))
    const annotations = async () =>
      (await get(`/resources/acme/variable/${branch}%2Fv`)).body.annotations.map(
        (a: { name: string; value: string }) => [a.name, a.value],
      )
    expect(await annotations()).toEqual([
      ['a', 'one'],
      ['b', 'new'],
    ])
    await load(branch, annotated('two'), 'PATCH')
    expect(await annotations()).toEqual([
      ['a', 'two'],
      ['b', 'new'],
    ])
  })

  test('note 9: deny and revoke touch only rows of the policy that is loaded', async () => {
    const branch = await fresh()
    const permit =
      '- !group g\n- !variable v\n- !permit\n  role: !group g\n  privilege: read\n  resource: !variable v\n'
    await load(branch, permit)
    const permissions = async () =>
      (await get(`/resources/acme/variable/${branch}%2Fv`)).body.permissions.length
    const deny = `- !deny\n  role: !group ${branch}/g\n  privilege: read\n  resource: !variable ${branch}/v\n`
    expect((await load('root', deny, 'PATCH')).status).toBe(201)
    expect(await permissions()).toBe(1)
    await load(branch, '- !deny\n  role: !group g\n  privilege: read\n  resource: !variable v\n', 'PATCH')
    expect(await permissions()).toBe(0)
  })

  test('note 10: deleting what is not there is no error', async () => {
    expect((await load('root', '- !delete\n  record: !host never\n', 'PATCH')).status).toBe(201)
  })

  test('note 15: a new owner takes over at once', async () => {
    const branch = await fresh()
    await load(branch, '- !group a\n- !group b\n- !group\n  id: owned\n  owner: !group a\n')
    await load(branch, '- !group a\n- !group b\n- !group\n  id: owned\n  owner: !group b\n', 'PATCH')
    const { body } = await get(`/roles/acme/group/${branch}%2Fowned?members`)
    expect(body).toMatchObject([{ member: `acme:group:${branch}/b`, ownership: true }])
  })

  test('note 18: restricted_to is joined by POST and replaced by PATCH', async () => {
    const branch = await fresh()
    const host = (list: string) => `- !host\n  id: h\n  restricted_to: ${list}\n`
    const restricted = async () => (await get(`/resources/acme/host/${branch}%2Fh`)).body.restricted_to
    await load(branch, host('[ 10.0.0.1 ]'))
    await load(branch, host('[ 10.1.0.0/16 ]'))
    expect(await restricted()).toEqual(['10.0.0.1/32', '10.1.0.0/16'])
    await load(branch, host('[ "::1" ]'), 'PATCH')
    expect(await restricted()).toEqual(['::1/128'])
    await load(branch, '- !host h\n', 'PATCH')
    expect(await restricted()).toEqual([])
  })

  test('notes 16, 17, 19, 23: user names, blank ids, anchored lists, admin option', async () => {
    const branch = await fresh()
    const loaded = await load(
      branch,
      '- !layer\n- !user alice\n- &list\n  - !variable a\n  - !variable b\n- !grant\n  role: !layer\n  member: !member\n    role: !user alice\n    admin: true\n' +
        '- !permit\n  role: !layer\n  privileges: [ read, execute ]\n  resources: *list\n',
    )
    expect(Object.keys(loaded.body.created_roles)).toEqual([`acme:user:alice@${branch}`])
    const { body } = await get(`/roles/acme/layer/${branch}?members&kind=user`)
    expect(body).toMatchObject([{ member: `acme:user:alice@${branch}`, admin_option: true }])
    expect((await get(`/resources/acme/variable/${branch}%2Fb`)).body.permissions.length).toBe(2)
  })

  test('note 22: a record of another policy is shadowed, without an error', async () => {
    const branch = await fresh()
    await load(branch, '- !variable\n  id: v\n  annotations: { a: inside }\n')
    const outer = `- !policy\n  id: ${branch}\n  body:\n  - !variable\n    id: v\n    annotations: { a: outside }\n`
    expect((await load('root', outer, 'PATCH')).status).toBe(201)
    expect((await get(`/resources/acme/variable/${branch}%2Fv`)).body).toMatchObject({
      policy: `acme:policy:${branch}`,
      annotations: [{ name: 'a', value: 'inside' }],
    })
  })

  test('note 26: an annotation named like an attribute is warned of', async () => {
    const branch = await fresh()
    const { body } = await load(branch, '- !variable\n  id: v\n  annotations: { owner: me }\n')
    expect(body.warnings).toEqual([
      expect.stringMatching(/^Annotation 'owner' matches a known policy attribute\./),
    ])
  })

  test('notes 1, 2, 25: privileges', async () => {
    const branch = await fresh()
    await load(
      'root',
      `- !permit\n  role: !host app/onlooker\n  privileges: [ read, create ]\n  resource: !policy ${branch}\n`,
    )
    expect((await load(branch, '- !group g\n', 'POST', world.onlooker)).status).toBe(201)
    expect(await load(branch, '- !group g\n', 'PATCH', world.onlooker)).toEqual({ status: 403, body: '' })
    expect(await load(branch, '- !group g\n', 'PUT', world.onlooker)).toEqual({ status: 403, body: '' })
    expect((await load(branch, 'not: valid', 'PATCH', world.onlooker)).status).toBe(403)
    expect((await load('nowhere', '- !group g\n')).status).toBe(404)
    expect((await load(branch, '- !group g\n', 'POST', world.web)).status).toBe(404)
  })

  test('note 20: the newest line of a key stands', async () => {
    const branch = await fresh()
    const user = (line: string) => `- !user\n  id: kate\n  public_keys: [ "${line}" ]\n`
    await load(branch, user('ssh-rsa AAAA work'))
    await load(branch, user('ssh-rsa BBBB work'), 'PATCH')
    const response = await admin.request('GET', `/public_keys/acme/user/kate%40${branch}`)
    expect(await response.text()).toBe('ssh-rsa BBBB work\n')
  })

  test('a load is recorded row by row, with its policy and version', async () => {
    const branch = await fresh()
    await admin.request('POST', `/policies/acme/policy/${branch}`, {
      body: '- !group g\n',
      headers: { 'X-Request-Id': `load-${branch}` },
    })
    const { body } = await get(`/audit?procid=load-${branch}`)
    expect(body.map((row: { message: string }) => row.message).sort()).toEqual([
      `acme:user:admin added ownership of acme:policy:${branch} in acme:group:${branch}/g`,
      `acme:user:admin added resource acme:group:${branch}/g`,
      `acme:user:admin added role acme:group:${branch}/g`,
    ])
    expect(body[0].sdata['policy@43868']).toEqual({ id: `acme:policy:${branch}`, version: '1' })
    expect(body[0].severity).toBe(5)
  })
})
