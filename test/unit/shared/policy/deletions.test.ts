// What goes, goes whole: no row is left that depends on what is gone (policy 1, 5).
import { beforeEach, describe, expect, test } from 'vitest'
import { utf8 } from '#shared/base/bytes.ts'
import { put } from '#shared/ledger/change.ts'
import { Account, ADMIN, ROOT, short } from '../../../support/loading.ts'

let account: Account
beforeEach(() => {
  account = new Account()
})

const ids = (table: 'roles' | 'resources'): string[] => account.rows(table).map(({ id }) => short(id))
const loads = (...[mode, text, options]: Parameters<Account['load']>) => {
  const answer = account.load(mode, text, options)
  expect(answer).toMatchObject({ status: 201 })
  expect(account.faults()).toEqual([])
  return answer
}

describe('a deletion', () => {
  test('takes values, keys, permissions, memberships, annotations, versions and tokens', () => {
    loads('POST', '- !policy app\n- !group ops\n')
    loads(
      'POST',
      '- !variable\n  id: v\n  annotations: { a: b }\n- !host h\n- !layer l\n- !host-factory { id: f, layers: [ !layer l ] }\n' +
        '- !permit { role: !host h, privilege: read, resource: !variable v }\n- !grant { role: !layer l, members: [ !host h, !group /ops ] }\n',
      { policy: 'app' },
    )
    account.apply([
      put('secrets', { resource: 'acme:variable:app/v', version: 1, sealed: utf8('x'), expires_at: null }),
      put('host_factory_tokens', {
        id: 'token',
        sealed: utf8('x'),
        factory: 'acme:host_factory:app/f',
        cidr: '[]',
        expires_at: 1,
      }),
    ])
    loads('PATCH', '- !delete { record: !policy app }\n')
    expect(ids('resources').sort()).toEqual(['group ops', 'policy root', 'user admin'].sort())
    for (const table of ['secrets', 'host_factory_tokens', 'annotations', 'permissions'] as const) {
      expect(account.rows(table)).toEqual([])
    }
    expect(account.rows('credentials').map(({ role }) => role)).toEqual([ADMIN])
    expect(account.rows('policy_versions').map(({ policy }) => policy)).toEqual([ROOT, ROOT])
  })

  test('takes what this text gives to an owner that goes with another', () => {
    loads('POST', '- !policy app\n- !policy c\n- !group { id: mine, owner: !policy c }\n')
    loads('POST', '- !variable v\n', { policy: 'app' })
    loads('PATCH', '- !policy { id: app, owner: !group mine }\n- !delete { record: !policy c }\n')
    expect(ids('resources').sort()).toEqual(['policy root', 'user admin'])
    expect(account.rows('policy_versions').map(({ policy }) => policy)).toEqual([ROOT, ROOT])
  })

  test('reaches a role without a resource that a deleted policy defined', () => {
    loads('POST', '- !policy app\n')
    loads(
      'POST',
      '- !role { kind: group, id: bare }\n- !grant { role: !group bare, member: !user /admin }\n',
      {
        policy: 'app',
      },
    )
    loads('PATCH', '- !delete { record: !policy app }\n')
    expect(ids('roles').sort()).toEqual(['policy root', 'user admin'])
  })

  test('reaches all that belongs to a record which gets a deleted owner in the same text', () => {
    loads(
      'POST',
      '- !group g\n- !group a\n- !variable { id: v, owner: !group a }\n- !host { id: h, owner: !group a }\n',
    )
    loads('POST', '- !policy { id: p, owner: !group a }\n')
    loads('POST', '- !variable inner\n- !layer l\n', { policy: 'p' })
    loads('POST', '- !permit { role: !group g, privilege: read, resource: !variable v }\n')
    account.apply([
      put('secrets', { resource: 'acme:variable:v', version: 1, sealed: utf8('x'), expires_at: null }),
    ])
    loads(
      'PATCH',
      '- !group b\n- !variable { id: v, owner: !group b }\n- !host { id: h, owner: !group b }\n' +
        '- !policy { id: p, owner: !group b }\n- !delete { record: !group b }\n',
    )
    expect(ids('resources').sort()).toEqual(['group a', 'group g', 'policy root', 'user admin'])
    expect(account.rows('secrets')).toEqual([])
  })

  test('of the policy that is loaded leaves no version behind', () => {
    loads('POST', '- !policy app\n')
    loads('POST', '- !variable v\n', { policy: 'app' })
    loads('PATCH', '- !variable w\n- !delete { record: !policy }\n', { policy: 'app' })
    expect(ids('resources').sort()).toEqual(['policy root', 'user admin'])
    expect(account.rows('policy_versions').map(({ policy }) => policy)).toEqual([ROOT])
    expect(account.load('POST', '- !variable v\n', { policy: 'app' }).status).toBe(404)
  })

  test('of the owner of the policy that is loaded does the same', () => {
    loads('POST', '- !group team\n- !policy { id: app, owner: !group team }\n')
    loads('PATCH', '- !delete { record: !group team }\n')
    expect(ids('resources').sort()).toEqual(['policy root', 'user admin'])
  })

  test('of the root policy is refused: nobody could load one again', () => {
    loads('POST', '- !policy app\n')
    expect(account.load('PATCH', '- !delete { record: !policy root }\n').status).toBe(422)
    loads('POST', '- !group g\n')
  })

  test.each(['!user admin', '!resource { kind: user, id: admin }', '!user { id: admin, account: acme }'])(
    'of %s is refused (policy note 30)',
    (record) => {
      expect(account.load('PATCH', `- !delete { record: ${record} }\n`)).toMatchObject({
        status: 422,
        body: { error: { code: 'policy_invalid' } },
        changes: [],
      })
    },
  )

  test('of a path with dots is of nothing (policy note 10)', () => {
    loads('POST', '- !user a\n- !host a\n')
    const paths = ['!user ../a', '!user x/../a', '!host ../a', '!policy x/../..']
    loads('PATCH', paths.map((path) => `- !delete { record: ${path} }\n`).join(''))
    expect(ids('resources').sort()).toEqual(['host a', 'policy root', 'user a', 'user admin'])
    for (const user of ['../a', 'x/../a']) {
      expect(account.load('POST', `- !user ${user}\n`)).toMatchObject({
        status: 422,
        body: { error: { message: `Invalid relative reference: ${user}` } },
      })
    }
  })

  test('of records whose names only end like that is not', () => {
    loads('POST', '- !variable "x:user:admin"\n- !variable "x:policy:root"\n')
    loads(
      'PATCH',
      '- !delete { record: !variable "x:user:admin" }\n- !delete { record: !variable "x:policy:root" }\n',
    )
    expect(ids('resources').sort()).toEqual(['policy root', 'user admin'])
  })

  test('keeps the search words of what it leaves right', () => {
    loads('POST', '- !policy app\n- !policy other\n')
    loads('POST', '- !policy { id: sub }\n', { policy: 'app' })
    loads('POST', '- !variable { id: v, annotations: { a: first } }\n', { policy: 'other' })
    // Another policy says something about a record that is not its own.
    const text = '- !policy { id: other, body: [ !variable { id: v, annotations: { b: second } } ] }\n'
    loads('POST', text)
    expect(account.rows('annotations').length).toBe(2)
    loads('PUT', '- !policy app\n- !policy other\n')
    expect(account.rows('annotations').map(({ value }) => value)).toEqual(['first'])
  })

  test('of 20 000 records that one policy owns takes time in proportion', () => {
    const hosts = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => `- !host h${from + i}\n`).join('')
    loads('POST', '- !policy app\n')
    loads('POST', hosts(0, 10_000), { policy: 'app' })
    const { changes } = loads('PATCH', '- !delete { record: !policy app }\n')
    expect(changes.length).toBeGreaterThan(40_000)
  })
})

describe('a shadowed record', () => {
  test('keeps its public keys', () => {
    loads('POST', '- !policy team\n')
    loads('POST', '- !user { id: kate, public_keys: [ "ssh-rsa AAAA work" ] }\n', { policy: 'team' })
    const values = account.rows('secrets')
    loads(
      'PATCH',
      '- !policy { id: team, body: [ !user { id: kate, public_keys: [ "ssh-rsa EVIL work" ] } ] }\n',
    )
    expect(account.rows('secrets')).toEqual(values)
  })

  test('keeps its owner, its restrictions and its annotations', () => {
    loads('POST', '- !group mine\n- !policy team\n')
    loads('POST', '- !host { id: h, restricted_to: 10.0.0.1, annotations: { a: b } }\n', { policy: 'team' })
    const before = [account.rows('credentials'), account.rows('annotations'), account.rows('memberships')]
    const text =
      '- !policy { id: team, body: [ !host { id: h, owner: !group /mine, restricted_to: [], annotations: { a: c } } ] }\n'
    const { changes } = loads('PATCH', text)
    expect(changes.map(({ table }) => table)).toEqual(['policy_versions'])
    expect([account.rows('credentials'), account.rows('annotations'), account.rows('memberships')]).toEqual(
      before,
    )
  })
})

test('public keys keep as many versions as secrets do', () => {
  for (let i = 0; i < 25; i++) {
    loads('PATCH', `- !user { id: kate, public_keys: [ "ssh-rsa A${i} work" ] }\n`)
  }
  const versions = account.rows('secrets').map(({ version }) => version)
  expect(versions).toEqual(Array.from({ length: 20 }, (_, i) => i + 6))
})

test('no load reads a table whole to know what goes', () => {
  const wholeTable =
    /^SCAN (roles|resources|memberships|permissions|annotations|credentials|secrets|policy_versions|host_factory_tokens|r|x)\b|AUTOMATIC/
  for (const { sql, steps } of account.plans('PUT', '- !group g\n- !delete { record: !group b }\n')) {
    expect({ sql, whole: steps.filter((step) => wholeTable.test(step)) }).toEqual({ sql, whole: [] })
  }
})
