// A dry run says what a load would do, and nothing that its caller may not know (policy 9).
import { describe, expect, test } from 'vitest'
import { Account } from '../../../support/loading.ts'

type Item = { readonly identifier: string; readonly [field: string]: unknown }
type Items = { readonly items: readonly Item[] }
type Report = {
  readonly status: string
  readonly created: Items
  readonly updated: { readonly before: Items; readonly after: Items }
  readonly deleted: Items
}

const first = `
- !policy
  id: dev
  body:
  - !user { id: bob, restricted_to: 10.0.0.0/8, annotations: { k: v } }
  - !variable pw
  - !permit { role: !user bob, privileges: [ execute ], resource: !variable pw }
`
const admin = 'acme:user:admin'
const dev = 'acme:policy:dev'
const bob = 'acme:user:bob@dev'
const pw = 'acme:variable:dev/pw'

const report = (account: Account, ...load: Parameters<Account['dryRun']>): Report => {
  const { status, body } = account.dryRun(...load)
  expect(status).toBe(200)
  return body as unknown as Report
}
const idsOf = ({ items }: Items): string[] => items.map(({ identifier }) => identifier)
const nothing = { items: [] }

describe('a text that can be loaded', () => {
  test('shows new records in full, and what others gain', () => {
    expect(report(new Account(), 'POST', first)).toEqual({
      status: 'Valid YAML',
      created: {
        items: [
          {
            identifier: dev,
            id: 'dev',
            type: 'policy',
            owner: admin,
            policy: 'acme:policy:root',
            permissions: {},
            annotations: {},
            members: [admin],
            memberships: [bob],
            restricted_to: [],
          },
          {
            identifier: bob,
            id: 'bob@dev',
            type: 'user',
            owner: dev,
            policy: 'acme:policy:root',
            permissions: { execute: [pw] },
            annotations: { k: 'v' },
            members: [dev],
            memberships: [],
            restricted_to: ['10.0.0.0/8'],
          },
          {
            identifier: pw,
            id: 'dev/pw',
            type: 'variable',
            owner: dev,
            policy: 'acme:policy:root',
            permitted: { execute: [bob] },
            annotations: {},
          },
        ],
      },
      updated: {
        before: {
          items: [expect.objectContaining({ identifier: admin, memberships: ['acme:policy:root'] })],
        },
        after: {
          items: [expect.objectContaining({ identifier: admin, memberships: [dev, 'acme:policy:root'] })],
        },
      },
      deleted: nothing,
    })
  })

  test('that says what is there already changes nothing', () => {
    const account = new Account()
    account.load('POST', first)
    const same = { status: 'Valid YAML', created: nothing, updated: { before: nothing, after: nothing } }
    for (const mode of ['POST', 'PATCH', 'PUT'] as const) {
      expect(report(account, mode, first)).toEqual({ ...same, deleted: nothing })
    }
  })

  test('shows before and after of what it changes, and the former state of what goes', () => {
    const account = new Account()
    account.load('POST', first)
    const text = '- !delete\n  record: !variable dev/pw\n- !user\n  id: eve\n  annotations: { a: b }\n'
    const patched = report(account, 'PATCH', text)
    expect(idsOf(patched.created)).toEqual(['acme:user:eve'])
    expect(patched.deleted.items).toEqual([
      expect.objectContaining({ identifier: pw, permitted: { execute: [bob] } }),
    ])
    const { before, after } = patched.updated
    expect(idsOf(before)).toEqual([admin, bob])
    expect(idsOf(after)).toEqual([admin, bob])
    expect(before.items[1]).toMatchObject({ permissions: { execute: [pw] } })
    expect(after.items[1]).toMatchObject({ permissions: {} })
  })

  test('changes nothing, however often it is tried', () => {
    const account = new Account()
    account.load('POST', first)
    const tables = ['roles', 'resources', 'memberships', 'permissions', 'annotations', 'credentials'] as const
    const rows = () => JSON.stringify(tables.map((table) => account.rows(table)))
    const before = rows()
    const once = report(account, 'PUT', '- !group g')
    expect(report(account, 'PUT', '- !group g')).toEqual(once)
    expect(idsOf(once.deleted)).toEqual([dev, bob, pw])
    expect(rows()).toBe(before)
    expect(account.rows('policy_versions')).toHaveLength(1)
  })

  test('leaves out host factories and public keys', () => {
    const text =
      '- !layer l\n- !host-factory { id: hf, layers: [ !layer l ] }\n- !user { id: u, public_keys: [ ssh-rsa AAAA home ] }\n'
    expect(idsOf(report(new Account(), 'POST', text).created)).toEqual(['acme:layer:l', 'acme:user:u'])
  })

  test('is recorded as validated', () => {
    const { audit } = new Account().dryRun('POST', first)
    expect(audit).toHaveLength(1)
    expect(audit[0]).toMatchObject({ msgid: 'policy', message: `${admin} validated policy acme:policy:root` })
  })
})

describe('what the caller cannot see', () => {
  const world = `
- !policy
  id: team
  body:
  - !user lead
  - !group staff
  - !permit { role: !user lead, privileges: [ read, create, update ], resource: !policy /team }
  - !permit { role: !user lead, privileges: [ read ], resource: !group staff }
- !group hidden
`.replace('resource: !policy /team', 'resource: !group staff')

  function asLead(): Account {
    const account = new Account()
    account.load('POST', world)
    account.load(
      'POST',
      '- !permit { role: !user lead@team, privileges: [ read, create, update ], resource: !policy team }\n',
    )
    return account
  }
  const lead = 'acme:user:lead@team'

  test('is named by its kind only (policy note 24)', () => {
    const account = asLead()
    const text = '- !host web\n- !grant { role: !group staff, member: !host web }\n'
    const { created, updated } = report(account, 'POST', text, { policy: 'team', as: lead })
    // Owned by the policy, which the caller may change and does not hold.
    expect(created.items).toEqual([{ identifier: 'acme:host:[REDACTED]', type: 'host' }])
    const staff = updated.after.items.find(({ identifier }) => identifier === 'acme:group:team/staff')
    expect(staff).toMatchObject({
      owner: 'acme:policy:team',
      members: ['acme:host:[REDACTED]', 'acme:policy:team'],
    })
  })

  test('is what cannot be seen then: before the load, or after it', () => {
    const account = asLead()
    const text =
      '- !host web\n- !permit { role: !user lead@team, privileges: [ read ], resource: !host web }\n'
    const { created } = report(account, 'POST', text.replace('lead@team', 'lead'), {
      policy: 'team',
      as: lead,
    })
    expect(idsOf(created)).toEqual(['acme:host:team/web'])
    account.load('POST', text.replace('lead@team', 'lead'), { policy: 'team' })
    const { deleted } = report(account, 'PATCH', '- !delete { record: !host web }', {
      policy: 'team',
      as: lead,
    })
    expect(idsOf(deleted)).toEqual(['acme:host:team/web'])
  })
})

describe('a text that cannot be loaded', () => {
  const invalid = (text: string, ...options: [Parameters<Account['dryRun']>[2]?]): unknown => {
    const { status, body, changes } = new Account().dryRun('PATCH', text, ...options)
    expect([status, changes]).toEqual([422, []])
    const { errors, ...rest } = body as unknown as { status: string; errors: unknown[] }
    expect(rest).toEqual({ status: 'Invalid YAML' })
    expect(errors).toHaveLength(1)
    return errors[0]
  }
  const at = (line: number | null, column: number | null, message: string | RegExp) => ({
    line,
    column,
    message: typeof message === 'string' ? message : expect.stringMatching(message),
    context: { policy_id: 'root', offending_lines: line === null ? [] : [line] },
  })

  test.each<[string, unknown]>([
    [
      '- !foobar x\n',
      at(3 - 2, 0, /^Unrecognized data type[^\n]*\nThe tag must be one of the following: !delete, !deny/),
    ],
    [
      '- !user\n  id: a\n  restricted_to: bad\n',
      at(3, 0, /^Invalid IP address[^\n]*'bad'\nMake sure your address or range is in the correct format/),
    ],
    [
      '- !grant { role: !group a, member: !user b }\n',
      at(null, null, "Group 'a' not found in account 'acme'\n"),
    ],
    ['- !user a b: c\n  d\n', expect.objectContaining({ message: expect.stringContaining('\n') })],
    [
      '- !policy\n  id: p\n  body:\n  - !group a\n  - !group a\n',
      at(null, null, /declared more than once\n$/),
    ],
  ])('%j', (text, expected) => {
    expect(invalid(text)).toEqual(expected)
  })

  test('the words that tools look for (policy note 25)', () => {
    const colon = invalid('- !policy\n  id: a\n  body\n  - !user x\n') as { message: string; line: number }
    expect(colon.message).toBe(
      "could not find expected ':' while scanning a simple key\n" +
        "This error can occur when you have a missing ':' or missing space after ':'",
    )
    const tag = invalid('- !user!group x\n- !user,a\n') as { message: string }
    expect(tag.message).toContain('\n')
  })

  test('is recorded as a load that failed; one whose caller may not load stays 403', () => {
    const { audit } = new Account().dryRun('POST', '- !foobar x')
    expect(audit[0]).toMatchObject({
      msgid: 'policy',
      message: expect.stringContaining('Failed to load policy'),
    })
    const account = new Account()
    account.load(
      'POST',
      '- !user eve\n- !permit { role: !user eve, privileges: [ read ], resource: !policy root }\n',
    )
    expect(account.dryRun('POST', '- !foobar x', { as: 'acme:user:eve' }).status).toBe(403)
  })

  test('a deletion in POST, or no text, is refused as without a dry run', () => {
    const account = new Account()
    for (const text of ['- !delete { record: !user a }', ' \n']) {
      expect(account.dryRun('POST', text)).toMatchObject({
        status: 422,
        body: { error: { code: 'validation_failed' } },
      })
    }
  })
})
