// What a credential names is a claim of whoever sent it: a name that nobody can have is asked about nowhere. Settings that hold
// secrets are opened for each request anew.
import { describe, expect, test } from 'vitest'
import { authenticatorOf } from '#shared/authn/catalogue.ts'
import { type Prover, Refused } from '#shared/authn/contract.ts'
import { authenticate, type Circumstances } from '#shared/authn/pipeline.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import type { Keyring } from '#shared/secret/keyring.ts'

const PREFIX = 'acme:host:'

async function claiming(role: string) {
  let reads = 0
  const read = () => {
    reads++
    throw new Error('it was asked')
  }
  const around = { listed: ['authn-x'], store: { read }, clientIp: '192.0.2.1', io: {} }
  const attempt = { operation: 'authenticate', account: 'acme', authenticator: 'authn-x', login: undefined }
  const prover: Prover = { variables: [], claim: () => ({ role, evidence: undefined }), prove: () => ({}) }
  const verdict = await authenticate(
    attempt as unknown as Parameters<typeof authenticate>[0],
    { held: { switchedOn: true }, variables: new Map(), annotations: new Map() },
    around as unknown as Circumstances,
    prover,
  ).catch((error: Error) => {
    // The store has been asked, which is all that is looked at.
    expect(error.message).toBe('it was asked')
  })
  return { reads, verdict }
}

test('a role of the longest id is looked for', async () => {
  expect(await claiming(PREFIX.padEnd(limits.idBytes, 'x'))).toEqual({ reads: 1, verdict: undefined })
})

test('one of a longer id is not, and its name is not written down', async () => {
  const { reads, verdict } = await claiming(PREFIX.padEnd(limits.idBytes + 1, 'x'))
  expect(reads).toBe(0)
  expect(verdict).toMatchObject({ role: undefined, known: false, refused: { kind: 'no_role' } })
})

describe('settings', () => {
  const opened = async (holdsNoSecrets: boolean): Promise<number> => {
    let opens = 0
    const keyring: Pick<Keyring, 'open'> = {
      open: (_, sealed) => {
        opens++
        return sealed
      },
    }
    const variables = new Map([['issuer', { id: 'v', version: 1, sealed: utf8('https://ci') }]])
    const seen: unknown[] = []
    const prover: Prover = {
      variables: ['issuer'],
      ...(holdsNoSecrets ? { holdsNoSecrets: true } : {}),
      claim(_, { prefix, values }) {
        seen.push([prefix, values.get('issuer')])
        throw new Refused('enough')
      },
      prove: () => ({}),
    }
    for (let i = 0; i < 3; i++) {
      const attempt = { operation: 'authenticate', account: 'acme', authenticator: 'authn-x', service: 'ci' }
      await authenticate(
        attempt as unknown as Parameters<typeof authenticate>[0],
        { held: { switchedOn: true }, variables, annotations: new Map() },
        { listed: [], io: { keyring } } as unknown as Circumstances,
        prover,
      )
    }
    expect(seen).toEqual(Array(3).fill(['acme:variable:conjur/authn-x/ci/', 'https://ci']))
    return opens
  }

  test('that hold no secret are opened once for the same rows', async () => {
    expect(await opened(true)).toBe(1)
  })

  test('that may hold one are not remembered', async () => {
    expect(await opened(false)).toBe(3)
  })

  test('of which authenticators are remembered', () => {
    const rows = [
      'authn-jwt',
      'authn-oidc',
      'authn-ldap',
      'authn-k8s',
      'authn-iam',
      'authn-azure',
      'authn-gcp',
    ]
    expect(rows.filter((name) => authenticatorOf(name)?.prover?.holdsNoSecrets)).toEqual(['authn-jwt'])
  })
})
