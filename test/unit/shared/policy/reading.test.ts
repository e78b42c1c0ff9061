// What a policy text says, and what is wrong with it, sentence by sentence (policy 2, 3, 9).
import { describe, expect, test } from 'vitest'
import { Account, short } from '../../../support/loading.ts'

const invalid = (message: string) => ({
  status: 422,
  body: { error: { code: 'policy_invalid', message: expect.stringContaining(message) } },
})

describe('a member', () => {
  test('may name several roles, each with its admin option', () => {
    const account = new Account()
    const members = 'members: [ !member { roles: [ !group a, !group b ], admin: true }, !group c ]'
    const text = `- !group a\n- !group b\n- !group c\n- !group g\n- !grant { role: !group g, ${members} }\n`
    expect(account.load('POST', text).status).toBe(201)
    const grants = account.rows('memberships').filter(({ ownership }) => ownership === 0)
    expect(grants.map(({ member, admin_option }) => [short(member), admin_option])).toEqual([
      ['group a', 1],
      ['group b', 1],
      ['group c', 0],
    ])
    expect(account.load('POST', '- !grant { role: !group g, member: { role: [] } }\n')).toMatchObject(
      invalid("Expected a Role for field 'role', got NilClass"),
    )
  })
})

describe('a generic record', () => {
  test.each([
    ['- !role x\n', "role 'x' has no kind"],
    ['- !resource x\n', "resource 'x' has no kind"],
    ['- !resource { id: x, kind: "user:a" }\n', "resource 'x' has no kind"],
    ['- !resource { id: x, kind: "" }\n', "resource 'x' has no kind"],
  ])('%j needs a kind', (text, message) => {
    expect(new Account().load('POST', text)).toMatchObject(invalid(message))
  })

  test('may be of any kind; one without is not found where it is named', () => {
    expect(new Account().load('POST', '- !resource { id: x, kind: planet }\n').status).toBe(201)
    const text = '- !variable v\n- !permit { role: bob, privilege: read, resource: !variable v }\n'
    expect(new Account().load('POST', text)).toMatchObject({
      body: { error: { message: " 'bob' not found in account 'acme'" } },
    })
  })
})

test.each([
  ['long', 'n'.repeat(1_000), 'is longer than'],
  ['not storable', 'a\\0b', 'holds a character that no name may have'],
])('the name of a public key that is %s is refused', (_, name, message) => {
  const text = `- !user { id: a, public_key: "ssh-rsa AAAA ${name}" }\n`
  expect(new Account().load('POST', text)).toMatchObject(invalid(message))
})

describe('advice', () => {
  const messageOf = (text: string): string => {
    const { body } = new Account().dryRun('POST', text)
    return (body as { errors: { message: string }[] }).errors[0]!.message
  }

  test.each(['stable', 'anchors', 'claim-aliases', 'flow sequence', 'node content'])(
    'is not drawn from a record that is called %s',
    (name) => {
      const text = `- !grant { role: !group "${name}", member: !user admin }\n`
      expect(messageOf(text)).toBe(`Group '${name}' not found in account 'acme'\n`)
    },
  )

  test.each([
    ['- !policy\n\tid: x\n', /tabs\.$/],
    ['- &\n', /quotes/],
    ['- @x\n', /quotes/],
    ['- [ !user a\n', /not ended/],
    ['- !policy { id: a\n', /not ended/],
  ])('of %j fits it', (text, advice) => {
    expect(messageOf(text)).toMatch(advice)
  })
})

describe('users below root', () => {
  const below = '- !policy { id: app, body: [ !user alice ] }\n'
  const nobody = { status: 422, body: { error: { message: 'User creation is disabled.' } } }

  test('are refused where users belong to root only', () => {
    const account = new Account({ usersInRootPolicyOnly: true })
    expect(account.load('POST', below)).toMatchObject(nobody)
    expect(account.load('POST', '- !group g\n- !user { id: bob, owner: !group g }\n')).toMatchObject(nobody)
    expect(account.load('POST', '- !user alice\n- !policy app\n').status).toBe(201)
    expect(account.load('POST', '- !user { id: bob, owner: !user /admin }\n', { policy: 'app' }).status).toBe(
      201,
    )
    expect(account.load('POST', '- !user carol\n', { policy: 'app' })).toMatchObject(nobody)
  })

  test('are made where nothing is said of it', () => {
    expect(new Account().load('POST', below).status).toBe(201)
  })
})

test('users get the passwords that the operator names, whenever a policy declares them', () => {
  const passwords: Record<string, string> = { ALICE_APP: 'first' }
  const account = new Account({ passwords })
  const held = () =>
    Object.fromEntries(account.rows('credentials').map(({ role, password }) => [short(role), password]))
  const text = '- !policy { id: app, body: [ !user alice, !host alice ] }\n- !user bob\n'
  expect(account.load('POST', text).status).toBe(201)
  expect(held()).toEqual({
    'user admin': null,
    'user alice@app': 'first',
    'host app/alice': null,
    'user bob': null,
  })
  passwords.ALICE_APP = 'second'
  passwords.BOB = 'his'
  expect(account.load('PATCH', '- !user bob\n').changes).toHaveLength(2)
  delete passwords.BOB
  expect(account.load('PUT', text).status).toBe(201)
  expect(held()).toEqual({
    'user admin': null,
    'user alice@app': 'second',
    'host app/alice': null,
    'user bob': 'his',
  })
})
