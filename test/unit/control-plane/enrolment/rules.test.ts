// Who gets a certificate and who comes in with one, as plain values: every refusal names what to do.
import { describe, expect, test } from 'vitest'
import {
  type CertificateRow,
  judgeEntry,
  judgeRenewal,
  judgeSeed,
  type SeedFacts,
  type SeedRow,
} from '#control-plane/enrolment/rules.ts'
import { type LinkName, links, roleClasses, type Shown } from '#shared/enrolment/names.ts'

const clusterId = 'c'.repeat(32)
const seed: SeedRow = {
  id: 'id',
  secretHash: 'hash',
  node: 'edge-1',
  kind: 'follower',
  replicationSet: 'full',
  serviceRole: 'all',
  hosts: [],
  expiresAt: 1_000,
  serial: undefined,
}
const certificate: CertificateRow = {
  ...{ clusterId, roleClass: 'follower', node: 'edge-1' },
  ...{ serial: '4a', keyHash: 'key', notAfter: 5_000, replacedBy: undefined, revokedBecause: undefined },
}
const facts: SeedFacts = {
  clusterId,
  now: 500,
  request: { clusterId, node: 'edge-1', kind: 'follower' },
  keyHash: 'key',
  seed,
  given: undefined,
  isExpected: true,
}
const used = { seed: { ...seed, serial: '4a' }, given: certificate }

describe('a seed', () => {
  test('is good once, until its last moment', () => {
    expect(judgeSeed(facts)).toEqual({ kind: 'issue' })
    expect(judgeSeed({ ...facts, now: 1_000 })).toEqual({ kind: 'issue' })
  })

  test('gives the same certificate to the same key again, also when it is late', () => {
    expect(judgeSeed({ ...facts, ...used, now: 2_000 })).toEqual({ kind: 'again', serial: '4a' })
  })

  test.each([
    ['SEED_FOREIGN', { request: { ...facts.request, clusterId: 'd'.repeat(32) } }, 'make one here'],
    ['REQUEST_INVALID', { keyHash: undefined }, 'P-256'],
    ['SEED_UNKNOWN', { seed: undefined }, 'make a new one'],
    ['SEED_WRONG_NODE', { request: { ...facts.request, node: 'edge-2' } }, 'is for follower edge-1'],
    ['SEED_WRONG_NODE', { request: { ...facts.request, kind: 'standby' } }, 'not for standby edge-1'],
    ['SEED_USED', { ...used, keyHash: 'other' }, '"holdfast seed follower edge-1"'],
    ['SEED_USED', { ...used, given: { ...certificate, revokedBecause: 'by x' } }, 'make a new one'],
    ['SEED_USED', { ...used, given: undefined }, 'make a new one'],
    ['SEED_EXPIRED', { now: 1_001 }, '"holdfast seed follower edge-1"'],
    ['NODE_NOT_EXPECTED', { isExpected: false }, 'conjur/cluster/<name>'],
  ] as const)('%s', (code, change, words) => {
    expect(judgeSeed({ ...facts, ...change })).toEqual({
      kind: 'refuse',
      refusal: { code, message: expect.stringContaining(words) },
    })
  })
})

describe('a renewal', () => {
  const replaced = { ...certificate, replacedBy: '4b' }
  const newer = { ...certificate, serial: '4b', keyHash: 'next' }
  test('is given once for a certificate, and again to the key that it was given to', () => {
    expect(judgeRenewal({ keyHash: 'next', shown: certificate, newer: undefined })).toEqual({ kind: 'issue' })
    expect(judgeRenewal({ keyHash: 'next', shown: replaced, newer })).toEqual({ kind: 'again', serial: '4b' })
  })

  test('but to no second holder of the same certificate', () => {
    const verdict = judgeRenewal({ keyHash: 'third', shown: replaced, newer })
    expect(verdict).toMatchObject({ kind: 'refuse', refusal: { code: 'CERT_REPLACED' } })
    const forgotten = judgeRenewal({ keyHash: 'next', shown: replaced, newer: undefined })
    expect(forgotten).toMatchObject({ kind: 'refuse' })
  })
})

describe('a connection', () => {
  const shown = (roleClass: CertificateRow['roleClass'], of = clusterId): Shown => ({
    kind: 'trusted',
    serial: '4a',
    notAfter: 5_000,
    name: { clusterId: of, roleClass, node: 'edge-1' },
  })
  const enter = (link: LinkName, given: Shown, held: CertificateRow | undefined = certificate) => {
    const entry = judgeEntry({ clusterId, link, shown: given, held })
    return entry.kind === 'admit' ? 'admitted' : entry.refusal.code
  }

  test('comes in by the links of its class and by no other', () => {
    const table = Object.fromEntries(
      roleClasses.map((roleClass) => [
        roleClass,
        (Object.keys(links) as LinkName[]).filter(
          (link) => enter(link, shown(roleClass), { ...certificate, roleClass }) === 'admitted',
        ),
      ]),
    )
    expect(table).toEqual({
      control: ['renewal', 'replication', 'coordination'],
      dr: ['renewal', 'replication', 'coordination'],
      follower: ['changes', 'audit', 'renewal'],
    })
  })

  test('without a certificate, with a foreign, unknown or revoked one, does not come in', () => {
    expect(enter('changes', { kind: 'nothing' })).toBe('CERT_MISSING')
    expect(enter('changes', { kind: 'untrusted', why: 'it has run out' })).toBe('CERT_FOREIGN')
    expect(enter('changes', shown('follower', 'd'.repeat(32)))).toBe('CERT_FOREIGN')
    const nameless: Shown = { kind: 'trusted', serial: '4a', notAfter: 1, name: undefined }
    expect(enter('changes', nameless)).toBe('CERT_FOREIGN')
    const revoked = { ...certificate, revokedBecause: 'by x' }
    expect(enter('changes', shown('follower'), revoked)).toBe('CERT_REVOKED')
    const entry = judgeEntry({ clusterId, link: 'changes', shown: shown('follower'), held: undefined })
    expect(entry).toMatchObject({ refusal: { code: 'CERT_UNKNOWN' } })
  })
})
