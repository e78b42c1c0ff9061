// Policy loads at the Leader: modes, errors, positions (policy 2-8, 12; http-api 13).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect } from '#control-plane/ledger/connection.ts'
import { Client } from '../../support/nodes.ts'
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
      'a bad range (policy note 18)',
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
      'a blank resource (policy note 11)',
      '- !permit\n  role: !user a\n  privilege: read\n  resource:\n',
      invalid('resource has a blank id'),
    ],
    ['an absolute id', '- !variable /x\n', invalid('Illegal absolute id: /x')],
    [
      'a declaration twice (policy note 22)',
      '- !variable db/pw\n- !variable db/pw\n',
      invalid("variable 'db/pw' is declared more than once"),
    ],
    [
      'a missing reference (policy note 12)',
      '- !grant\n  role: !layer ops\n  member: !user admin\n',
      invalid("Layer 'ops' not found in account 'acme'"),
    ],
    [
      'a factory without layers',
      '- !host-factory\n  id: myapp\n',
      invalid("Host factory 'myapp' does not include any layers"),
    ],
    [
      'a public key without a name (policy note 20)',
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
    [
      'a factory with a layer of the policy above (policy note 21)',
      '- !layer default\n- !policy { id: myapp, body: [ !host-factory { id: f, layers: [ !layer ../default ] } ] }\n',
      invalid("Layer 'myapp/../default' not found in account 'acme'"),
    ],
    ['deleting admin (policy note 30)', '- !delete\n  record: !user admin\n', { status: 422 }, 'PATCH'],
  ] as const)('%s', async (...[, text, expected, method]) => {
    expect(await load('root', text, method ?? 'POST')).toMatchObject(expected)
  })

  test('an empty text is a validation error, a comment is not (policy note 13)', async () => {
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
  test('PUT twice keeps keys and values; versions count on (policy note 7)', async () => {
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

  test('PUT removes what the text no longer says, with all below; coming back starts anew (policy note 8) (policy note 14)', async () => {
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
    expect(await get(`/secrets/acme/variable/${branch}%2Fsub%2Fv`)).toMatchObject({
      status: 404,
      body: { error: { message: expect.stringMatching(/^CONJ00076E/) } },
    })
    expect((await get(`/resources/acme/policy/${branch}%2Fsub`)).body.policy_versions).toEqual([])
  })

  test('POST adds and never changes, PATCH changes (policy note 3)', async () => {
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
    const { body } = await get(`/resources/acme/variable/${branch}%2Fv`)
    expect(body.annotations).toMatchObject([
      { policy: `acme:policy:${branch}` },
      { policy: `acme:policy:${branch}` },
    ])
  })

  test('deny and revoke touch only rows of the policy that is loaded, and win within a text (policy note 9)', async () => {
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
    const grant = '- !group h\n- !grant { role: !group g, member: !group h }\n'
    const both = `${permit}- !deny { role: !group g, privilege: read, resource: !variable v }\n${grant}- !revoke { role: !group g, member: !group h }\n`
    expect((await load(branch, both, 'PATCH')).status).toBe(201)
    expect(await permissions()).toBe(0)
    const grants = await get(`/roles/acme/group/${branch}%2Fg?members&kind=group`)
    expect(grants).toEqual({ status: 200, body: [] })
  })

  test('deleting what is not there is no error (policy note 10)', async () => {
    expect((await load('root', '- !delete\n  record: !host never\n', 'PATCH')).status).toBe(201)
  })

  test('a new owner takes over at once (policy note 15)', async () => {
    const branch = await fresh()
    await load(branch, '- !group a\n- !group b\n- !group\n  id: owned\n  owner: !group a\n')
    await load(branch, '- !group a\n- !group b\n- !group\n  id: owned\n  owner: !group b\n', 'PATCH')
    const { body } = await get(`/roles/acme/group/${branch}%2Fowned?members`)
    expect(body).toMatchObject([{ member: `acme:group:${branch}/b`, ownership: true }])
    expect(body).toHaveLength(1)
    const may = async (group: string) => {
      const query = `?check&privilege=read&role=acme:group:${branch}/${group}`
      return (await admin.request('GET', `/resources/acme/group/${branch}%2Fowned${query}`)).status
    }
    expect([await may('a'), await may('b')]).toEqual([404, 204])
  })

  test('restricted_to is joined by POST and replaced by PATCH (policy note 18)', async () => {
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

  test('user names, blank ids, anchored lists, admin option (policy note 16) (policy note 17) (policy note 19) (policy note 23)', async () => {
    const branch = await fresh()
    const loaded = await load(
      branch,
      '- !layer\n- !user alice\n- &list\n  - !variable a\n  - !variable b\n- !grant\n  role: !layer\n  member: !member\n    role: !user alice\n    admin: true\n' +
        '- !permit\n  role: !layer\n  privileges: [ read, execute ]\n  resources: *list\n',
    )
    expect(Object.keys(loaded.body.created_roles)).toEqual([`acme:user:alice@${branch}`])
    const { api_key } = loaded.body.created_roles[`acme:user:alice@${branch}`]
    await new Client(admin.url, 'acme').login(`alice@${branch}`, api_key)
    expect((await get(`/resources/acme/user/alice@${branch}`)).status).toBe(200)
    const { body } = await get(`/roles/acme/layer/${branch}?members&kind=user`)
    expect(body).toMatchObject([{ member: `acme:user:alice@${branch}`, admin_option: true }])
    expect((await get(`/resources/acme/variable/${branch}%2Fb`)).body.permissions.length).toBe(2)
  })

  test('a record of another policy is shadowed, without an error (policy note 22)', async () => {
    const branch = await fresh()
    await load(branch, '- !variable\n  id: v\n  annotations: { a: inside }\n')
    const outer = `- !policy\n  id: ${branch}\n  body:\n  - !variable\n    id: v\n    annotations: { a: outside }\n`
    expect((await load('root', outer, 'PATCH')).status).toBe(201)
    expect((await get(`/resources/acme/variable/${branch}%2Fv`)).body).toMatchObject({
      policy: `acme:policy:${branch}`,
      annotations: [{ name: 'a', value: 'inside' }],
    })
  })

  test('an annotation named like an attribute is warned of (policy note 26)', async () => {
    const branch = await fresh()
    const { body } = await load(branch, '- !variable\n  id: v\n  annotations: { owner: me }\n')
    expect(body.warnings).toEqual([
      expect.stringMatching(/^Annotation 'owner' matches a known policy attribute\./),
    ])
  })

  test('who may create may not update, and who may neither is told nothing or 403 (policy note 1) (http-api note 25)', async () => {
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
    await load(
      'root',
      `- !permit { role: !host app/web, privileges: [ update ], resource: !policy ${branch} }\n`,
    )
    expect(await load(branch, '- !group h\n', 'POST', world.web)).toEqual({ status: 403, body: '' })
    expect((await load(branch, '- !group h\n', 'PATCH', world.web)).status).toBe(201)
  })

  test('PUT needs update on every record below, PATCH on the policy alone (policy note 2)', async () => {
    const branch = await fresh()
    const permit = (privilege: string, id: string) =>
      `- !permit { role: !host app/onlooker, privileges: [ ${privilege} ], resource: !policy ${id} }\n`
    await load(branch, '- !policy { id: hosts, body: [ !host h ] }\n')
    await load('root', permit('update', branch) + permit('read', `${branch}/hosts`))
    const as = async (id: string, method: Method) =>
      (await load(id, '- !group g\n', method, world.onlooker)).status
    expect([await as(branch, 'PATCH'), await as(branch, 'PUT')]).toEqual([201, 403])
    for (const method of ['POST', 'PATCH', 'PUT'] as const)
      expect(await as(`${branch}/hosts`, method)).toBe(403)
    await load('root', permit('create', `${branch}/hosts`))
    expect([await as(`${branch}/hosts`, 'POST'), await as(`${branch}/hosts`, 'PUT')]).toEqual([201, 403])
  })

  test('who may read a policy reads its record, not its text (policy note 4)', async () => {
    const branch = await fresh()
    await load(
      'root',
      `- !permit { role: !host app/onlooker, privileges: [ read ], resource: !policy ${branch} }\n`,
    )
    const read = async (path: string) => (await world.onlooker.request('GET', path)).status
    expect(await read(`/resources/acme/policy/${branch}`)).toBe(200)
    expect(await read(`/policies/acme/policy/${branch}`)).toBe(403)
  })

  test('a policy permits what is its own to roles of others, by their whole path (policy note 5)', async () => {
    const branch = await fresh()
    await load('root', '- !group everyone\n- !variable public\n')
    await load(branch, '- !variable v\n')
    const permit = (resource: string) =>
      `- !permit { role: !group /everyone, privileges: [ read ], resource: !variable ${resource} }\n`
    expect((await load(branch, permit('v'))).status).toBe(201)
    expect((await get(`/resources/acme/variable/${branch}%2Fv`)).body.permissions).toMatchObject([
      { role: 'acme:group:everyone', privilege: 'read' },
    ])
    expect(await load(branch, permit('/public'))).toMatchObject(invalid('Illegal absolute id: /public'))
  })

  test('a host that is there gets no new key; the version counts on (policy note 6)', async () => {
    const branch = await fresh()
    const first = await load(branch, '- !host h\n')
    expect(Object.keys(first.body.created_roles)).toEqual([`acme:host:${branch}/h`])
    expect(await load(branch, '- !host h\n')).toEqual({
      status: 201,
      body: { created_roles: {}, version: 2 },
    })
  })

  test('what a text refers to may stand behind it, in a text of thousands (policy note 28)', async () => {
    const branch = await fresh()
    const numbers = Array.from({ length: 2_000 }, (_, i) => i)
    const text = [
      ...numbers.map(
        (i) => `- !permit { role: !host h${i}, privileges: [ read ], resource: !variable v${i} }`,
      ),
      ...numbers.map((i) => `- !grant { role: !layer all, member: !host h${i} }`),
      ...numbers.map((i) => `- !variable { id: v${i}, owner: !group owners }`),
      ...numbers.map((i) => `- !host h${i}`),
      '- !group owners\n- !layer all\n',
    ].join('\n')
    const loaded = await load(branch, text)
    expect([loaded.status, Object.keys(loaded.body.created_roles).length]).toEqual([201, 2_000])
    expect((await get(`/resources/acme/variable/${branch}%2Fv1999`)).body).toMatchObject({
      owner: `acme:group:${branch}/owners`,
      permissions: [{ role: `acme:host:${branch}/h1999` }],
    })
    expect((await get(`/roles/acme/layer/${branch}%2Fall?members&kind=host&count`)).body).toEqual({
      count: 2_000,
    })
  })

  test('of two loads at once the one that waits too long is told to come again (policy note 29)', async () => {
    const branch = await fresh()
    const database = connect(world.machine.databaseUrl(), 1)
    const session = await database.session()
    try {
      // Only loads read this table: the first waits for it, and the second for the first.
      await session.query('BEGIN; LOCK TABLE policy_versions IN ACCESS EXCLUSIVE MODE')
      const [one, two] = ['- !group one\n', '- !group two\n'].map((body) =>
        admin.request('POST', `/policies/acme/policy/${branch}`, { body }),
      ) as [Promise<Response>, Promise<Response>]
      const refused = await Promise.race([one, two])
      expect([refused.status, await refused.json()]).toMatchObject([
        409,
        { error: { code: 'policy_conflict', message: 'Concurrent policy load in progress, please retry' } },
      ])
      expect(refused.headers.get('retry-after')).toMatch(/^[1-8]$/)
      await session.query('COMMIT')
      const statuses = (await Promise.all([one, two])).map(({ status }) => status)
      expect(statuses.sort()).toEqual([201, 409])
    } finally {
      session.release(true)
      await database.close()
    }
  })

  test('the newest line of a key stands (policy note 20)', async () => {
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
