// Names in certificates are read as strictly as they are written.
import { describe, expect, test } from 'vitest'
import { limits } from '#shared/base/limits.ts'
import { ADDRESS, hostOf, NODE_NAME, nameIn, renewalDueAt, uriOf } from '#shared/enrolment/names.ts'

const clusterId = '0123456789abcdef'.repeat(2)
const uri = (path: string) => `URI:spiffe://${path}`

describe('the name of a node', () => {
  test('is read back as it was written', () => {
    const name = { clusterId, roleClass: 'dr', node: 'db-2.example' } as const
    expect(nameIn(`URI:${uriOf(name)}, DNS:db-2.example, IP Address:10.0.0.1`)).toEqual(name)
  })

  test.each([
    undefined,
    '',
    'DNS:edge-1',
    uri(`${clusterId}/leader/edge-1`),
    uri(`${clusterId}/control/edge-1/x`),
    uri(`${clusterId}/control/`),
    uri(`${clusterId.toUpperCase()}/control/edge-1`),
    `${uri(`${clusterId}/control/a`)}, ${uri(`${clusterId}/follower/a`)}`,
    `DNS:"x, ${uri(`${clusterId}/control/a`)}"`,
  ])('is not in %s', (names) => {
    expect(nameIn(names)).toBeUndefined()
  })

  test.each(['a', 'edge-1', 'node.example.com', 'x'.repeat(63)])('may be %s', (name) => {
    expect(NODE_NAME.test(name)).toBe(true)
  })
  test.each(['', '-a', 'a-', 'a/b', 'a b', 'a,b', 'a"', 'x'.repeat(64), 'é'])('may not be %s', (name) => {
    expect(NODE_NAME.test(name)).toBe(false)
  })
})

test.each([
  ['leader:5432', 'leader'],
  ['10.0.0.1:1', '10.0.0.1'],
  ['[::1]:5432', '::1'],
])('an address has a host and a port: %s', (address, host) => {
  expect(ADDRESS.test(address)).toBe(true)
  expect(hostOf(address)).toBe(host)
})
test.each(['leader', ':5432', 'leader:', 'https://leader:1', 'a/b:1', '::1:5432'])(
  '%s is none',
  (address) => {
    expect(ADDRESS.test(address)).toBe(false)
  },
)

test('a renewal is due at two thirds of the life since the issue', () => {
  const issuedAt = 1_000_000_000
  const validity = {
    notBefore: issuedAt - limits.certificateBackdatedMs,
    notAfter: issuedAt + limits.certificateLifeMs,
  }
  expect(renewalDueAt(validity)).toBe(issuedAt + (limits.certificateLifeMs * 2) / 3)
})
