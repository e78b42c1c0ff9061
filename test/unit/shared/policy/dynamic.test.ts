// What a policy text may say of dynamic variables, and to whom (policy 3).
import { beforeEach, describe, expect, test } from 'vitest'
import { utf8 } from '#shared/base/bytes.ts'
import { put } from '#shared/ledger/change.ts'
import { Account } from '../../../support/loading.ts'

let account: Account
beforeEach(() => {
  account = new Account({ dynamicSecretsEnabled: true })
  expect(account.load('POST', POLICIES)).toMatchObject({ status: 201 })
  for (const name of ['aws-1', 'other'])
    account.apply([
      put('issuers', {
        policy: `acme:policy:conjur/issuers/${name}`,
        type: 'aws',
        max_ttl: 3_000,
        sealed: utf8('sealed'),
        created_at: 1,
        modified_at: 1,
      }),
    ])
})

const POLICIES = `
- !policy
  id: conjur/issuers
  body: [ !policy aws-1, !policy other ]
- !policy data
- !host user
- !host reader
- !permit { role: !host user, privileges: [ create, update ], resource: !policy data }
- !permit { role: !host reader, privileges: [ create ], resource: !policy data }
- !permit { role: !host user, privileges: [ use ], resource: !policy conjur/issuers/aws-1 }
- !permit { role: !host reader, privileges: [ read ], resource: !policy conjur/issuers/aws-1 }
`
const variable = (annotations: Record<string, string | number>, id = 'dynamic/key'): string =>
  `- !variable\n  id: ${id}\n  annotations: ${JSON.stringify(annotations)}\n`
const load = (text: string, as = 'acme:host:user') => account.load('POST', text, { policy: 'data', as })
const refused = (message: string) => ({ status: 422, body: { error: { code: 'policy_invalid', message } } })

const issuer = { 'dynamic/issuer': 'aws-1' }
const whole = { ...issuer, 'dynamic/method': 'assume-role' }
const federation = { ...issuer, 'dynamic/method': 'federation-token' }
const NOT_FOUND = "Issuer 'aws-1' not found in account 'acme'"
const METHOD =
  'The method annotation in the variable definition for dynamic secret "data/dynamic/key" is not valid. Allowed values: assume-role, federation-token'
const TOO_LONG = "The TTL of the dynamic secret can't exceed the maximum TTL defined in the issuer."
const rangeOf = (method: string, to: number) =>
  `Dynamic variable TTL is out of range for ${method} (range is 900 to ${to})`

describe('a dynamic variable', () => {
  test.each<[string, string]>([
    ['without a time to live', variable(whole)],
    ['with the shortest', variable({ ...federation, 'dynamic/ttl': 900 })],
    ['with the longest of its issuer', variable({ ...whole, 'dynamic/ttl': 3000 })],
    ['with what else the engine is told', variable({ ...whole, 'dynamic/role-arn': 'arn:aws:x', note: 'y' })],
    ['as a resource', variable(whole).replace('!variable', '!resource\n  kind: variable')],
  ])('%s is loaded', (_, text) => {
    expect(load(text)).toMatchObject({ status: 201 })
  })

  test.each<[string, Record<string, string | number>, string]>([
    ['names its issuer', {}, "The dynamic variable 'data/dynamic/key' has no issuer annotation"],
    ['names one that is there', { 'dynamic/issuer': 'none' }, "Issuer 'none' not found in account 'acme'"],
    ['names one by its name', { 'dynamic/issuer': 'a/b' }, "Issuer 'a/b' not found in account 'acme'"],
    [
      'names one that the loader may use',
      { ...whole, 'dynamic/issuer': 'other' },
      "Issuer 'other' not found in account 'acme'",
    ],
    [
      'has a method',
      issuer,
      `The variable definition for dynamic secret "data/dynamic/key" requires a 'method' annotation.`,
    ],
    ['has a method that there is', { ...issuer, 'dynamic/method': 'constructor' }, METHOD],
    ['lives long enough', { ...whole, 'dynamic/ttl': 899 }, rangeOf('assume role', 129_600)],
    [
      'lives no longer than a role may',
      { ...whole, 'dynamic/ttl': 129_601 },
      rangeOf('assume role', 129_600),
    ],
    [
      'lives no longer than a token may',
      { ...federation, 'dynamic/ttl': 43_201 },
      rangeOf('federation token', 43_200),
    ],
    [
      'lives for a number of seconds',
      { ...federation, 'dynamic/ttl': 'PT1H' },
      rangeOf('federation token', 43_200),
    ],
    ['lives no longer than its issuer allows', { ...whole, 'dynamic/ttl': 3001 }, TOO_LONG],
  ])('%s', (_, annotations, message) => {
    expect(load(variable(annotations))).toMatchObject(refused(message))
    const tried = account.dryRun('POST', variable(annotations), { policy: 'data', as: 'acme:host:user' })
    expect(tried).toMatchObject({ status: 422, body: { status: 'Invalid YAML' } })
    expect(JSON.stringify(tried.body)).toContain(JSON.stringify(message).slice(1, -1))
  })

  test('stands in its place, and only there', () => {
    expect(load(variable(whole, 'key'))).toMatchObject(
      refused("The dynamic variable 'data/key' is not in the correct path"),
    )
    expect(load(variable({ 'dynamic/method': 'x' }, 'key'))).toMatchObject({ status: 201 })
  })

  test('is not loaded by who reads its issuer without using it', () => {
    expect(load(variable(whole), 'acme:host:reader')).toMatchObject(refused(NOT_FOUND))
    expect(load(variable(whole), 'acme:user:admin')).toMatchObject({ status: 201 })
  })

  test('keeps the rules when it is changed', () => {
    expect(load(variable(whole))).toMatchObject({ status: 201 })
    const changed = variable({ ...whole, 'dynamic/ttl': 5000 })
    expect(account.load('PATCH', changed, { policy: 'data', as: 'acme:host:user' })).toMatchObject(
      refused(TOO_LONG),
    )
  })

  test('is an ordinary one while the feature is off', () => {
    account = new Account()
    account.load('POST', POLICIES)
    expect(load(variable({}))).toMatchObject({ status: 201 })
    expect(load(variable(whole, 'key'))).toMatchObject({ status: 201 })
  })
})

test('no table is read whole for them', () => {
  const plans = account.plans('POST', variable(whole), 'data')
  const issuers = plans.find(({ sql }) => sql.includes('FROM issuers i'))
  expect(issuers?.steps.filter((step) => /^SCAN (i|r|p)\b/.test(step))).toEqual([])
})
