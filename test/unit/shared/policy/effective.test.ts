// The effective policy says again what the rows say, to whoever may know it, and loads again (policy 10).
import { describe, expect, test } from 'vitest'
import { Account } from '../../../support/loading.ts'

const worked = `
- !policy
  id: db
  owner: !group dba
  annotations:
    description: Production database
  body:
  - &secrets
    - !variable
      id: password
      kind: password
      mime_type: text/plain
      annotations:
        rotation/ttl: P1D
    - !variable username
  - !layer
  - !host
    id: app-01
    restricted_to: [ 10.1.0.0/16, 192.168.1.7 ]
    annotations:
      authn/api-key: true
  - !host-factory
    id: apps
    layers: [ !layer ]
  - !user
    id: alice
    public_keys:
    - ssh-ed25519 AAAAC3Nz laptop
  - !grant
    role: !layer
    members: [ !host app-01, !group /ops ]
  - !permit
    role: !layer
    privileges: [ read, execute ]
    resources: *secrets
- !group dba
- !group ops
- !grant
  role: !group ops
  member: !group dba
`

function loaded(text = worked): Account {
  const account = new Account()
  expect(account.load('POST', text)).toMatchObject({ status: 201 })
  return account
}

test('the worked example comes back in the order of the language', () => {
  expect(loaded().effective().text).toBe(`- !policy
  id: db
  owner: !group /dba
  annotations:
    description: "Production database"
  body:
  - !user alice
  - !variable
    id: password
    kind: password
    mime_type: text/plain
    annotations:
      rotation/ttl: P1D
  - !variable username
  - !host
    id: app-01
    restricted_to: ["10.1.0.0/16", "192.168.1.7/32"]
    annotations:
      authn/api-key: "true"
  - !host-factory
    id: apps
    layers: [!layer]
  - !permit
    role: !layer /db
    privileges: [execute, read]
    resource: !variable password
  - !permit
    role: !layer /db
    privileges: [execute, read]
    resource: !variable username
- !layer
  id: db
  owner: !policy /db
- !group dba
- !group ops
- !grant
  role: !group ops
  members:
  - !group /dba
- !grant
  role: !layer db
  members:
  - !group /ops
  - !host /db/app-01
`)
})

test('what comes back loads again, and says the same then (policy note 27)', () => {
  const { text } = loaded().effective()
  for (const mode of ['POST', 'PATCH', 'PUT'] as const) {
    const again = new Account()
    expect(again.load(mode, text), mode).toMatchObject({ status: 201 })
    expect(again.effective().text, mode).toBe(text)
  }
})

test('one policy comes as one entry with its last part as id', () => {
  const account = loaded(
    '- !policy\n  id: a\n  body:\n  - !policy\n    id: b\n    body:\n    - !user u\n    - !group g\n- !group z\n',
  )
  expect(account.effective({ policy: 'a/b' }).text).toBe(
    '- !policy\n  id: b\n  body:\n  - !user u\n  - !group g\n',
  )
  expect(account.effective({ policy: 'a' }).text).toBe(
    '- !policy\n  id: a\n  body:\n  - !policy\n    id: b\n    body:\n    - !user u\n    - !group g\n',
  )
})

test('JSON: one-key objects, everything spelled out, nested bodies as they are found', () => {
  const text = `
- !policy
  id: db
  owner: !group dba
  body:
  - !variable { id: pw, kind: password }
  - !user u
  - !permit { role: !host /app, privileges: [ read, execute ], resource: !variable pw }
- !group dba
- !host app
`
  expect(loaded(text).effective({ json: true }).value).toEqual([
    {
      policy: {
        id: 'db',
        owner: { group: '/dba' },
        body: [
          { variable: { id: 'pw', kind: 'password' } },
          {
            permit: { role: { host: '/app' }, privileges: ['execute', 'read'], resource: { variable: 'pw' } },
          },
          { user: { id: 'u' } },
        ],
      },
    },
    { host: { id: 'app' } },
    { group: { id: 'dba' } },
  ])
})

describe('how much', () => {
  const nested =
    '- !policy\n  id: a\n  body:\n  - !group g\n  - !policy\n    id: b\n    body:\n    - !group h\n'

  test('depth counts the slashes of ids (policy note 27)', () => {
    const account = loaded(nested)
    const at = (depth: number, policy = 'root') =>
      account.effective({ policy, query: { depth: String(depth) } }).text
    expect(at(0)).toBe('- !policy\n  id: a\n  body: []\n')
    expect(at(1)).toBe('- !policy\n  id: a\n  body:\n  - !policy\n    id: b\n    body: []\n  - !group g\n')
    expect(at(2)).toContain('!group h')
    expect(at(0, 'a/b')).toBe('- !policy\n  id: b\n  body: []\n')
    expect(at(1, 'a/b')).toContain('!group h')
  })

  test('limit counts records, annotations and permissions (policy note 27)', () => {
    const account = loaded(
      '- !group { id: g, annotations: { a: b } }\n- !user u\n- !permit { role: !user u, privileges: [ read, update ], resource: !group g }\n',
    )
    expect(account.effective({ query: { limit: '4' } }).status).toBe(200)
    expect(account.effective({ query: { limit: '3' } })).toMatchObject({
      status: 422,
      value: {
        error: { message: "CONJ00164E Policy max allowed 'limit' = 3 exceeded. Value for policy is: 4" },
      },
    })
  })

  test.each(['65', '-1', 'x', '', '1.5'])('a depth of %j is a bad request (policy note 27)', (depth) => {
    expect(loaded().effective({ query: { depth } }).status).toBe(400)
  })
  test.each(['100001', 'all', ''])('a limit of %j is a bad request (policy note 27)', (limit) => {
    expect(loaded().effective({ query: { limit } }).status).toBe(400)
  })
})

test('only who holds the owner of a policy reads it; what he does not see is not in it', () => {
  const account = loaded(
    '- !policy\n  id: p\n  owner: !user boss\n  body:\n  - !group mine\n- !user boss\n- !user eve\n- !user other\n',
  )
  account.load(
    'POST',
    '- !permit { role: !user eve, privileges: [ read, update ], resource: !policy p }\n- !policy { id: p/sub, owner: !user other }\n',
  )
  const read = (as: string) => account.effective({ policy: 'p', as: `acme:user:${as}` })
  expect([read('eve').status, read('other').status]).toEqual([403, 404])
  expect(read('boss').text).toBe(`- !policy
  id: p
  owner: !user /boss
  body:
  - !group mine
- !permit
  role: !user eve
  privileges: [read, update]
  resource: !policy p
`)
  expect(account.effective({ policy: 'none' }).status).toBe(404)
})

test('of root, too, only what is seen is shown', () => {
  const account = loaded('- !user boss\n- !group { id: kept, owner: !user boss }\n- !group open\n')
  account.load('PATCH', '- !revoke { role: !user boss, member: !user /admin }\n')
  expect(account.effective().text).toBe('- !user boss\n- !group open\n')
})

test('users stand in the policy that their names mean, and at the top without one', () => {
  const account = loaded(`
- !policy { id: a-b, body: [ !user x ] }
- !policy { id: a, body: [ !policy { id: b, body: [ !user y ] } ] }
- !user free
`)
  account.load('POST', '- !user lost@nowhere\n')
  const { text } = account.effective()
  expect(text).toBe(`- !user free
- !user lost@nowhere
- !policy
  id: a
  body:
  - !policy
    id: b
    body:
    - !user "y"
- !policy
  id: a-b
  body:
  - !user x
`)
})

test('texts that YAML would read as something else, or that would break it, stay what they are', () => {
  const odd = [
    'true',
    '5',
    '1.5',
    'null',
    '~',
    '',
    ' x ',
    'a: b',
    '- c',
    '#d',
    "it's",
    '"q"',
    'two\nlines',
    'tab\t',
    '\u2028',
    '{x}',
    '!tag',
    '*a',
    'é😀',
    '0x1f',
    'y',
    '\u0085',
  ]
  const annotations = Object.fromEntries(odd.map((value, i) => [`n${i}`, value]))
  const text = `- !group\n  id: g\n  annotations: ${JSON.stringify(annotations)}\n`
  const account = loaded(text)
  const again = loaded(account.effective().text)
  const values = (of: Account) => of.rows('annotations').map(({ name, value }) => [name, value])
  expect(values(again)).toEqual(values(account))
})

test('an annotation may be named like a property that every object has', () => {
  const account = loaded('- !group\n  id: g\n  annotations: { __proto__: a, constructor: b }\n')
  const { text } = account.effective()
  expect(text).toContain('"__proto__": a')
  expect(loaded(text).rows('annotations')).toEqual(account.rows('annotations'))
})
