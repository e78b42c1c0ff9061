// What a credential names is a claim of whoever sent it: a name that nobody can have is asked about nowhere.
import { expect, test } from 'vitest'
import type { Prover } from '#shared/authn/contract.ts'
import { authenticate, type Circumstances } from '#shared/authn/pipeline.ts'
import { limits } from '#shared/base/limits.ts'

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
