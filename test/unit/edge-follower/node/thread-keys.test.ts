// Keys between the main thread of a Follower and its server threads: who asks whom, and how often.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type KeysWanted, keySetsOfMain, type ThreadKeys, tellKeys } from '#edge-follower/node/thread-keys.ts'
import { createKeySets, type KeyOwner, type KeySource } from '#shared/authn/key-sets.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { limits } from '#shared/base/limits.ts'
import { outgoingThrough } from '#shared/node/outgoing.ts'
import { IdentityProvider, KEYS } from '../../../support/identity-provider.ts'
import { type ManualClock, manualClock } from '../../../support/manual-clock.ts'

const MAX_AGE_MS = 24 * 60 * 60 * 1000
const nowhere = { found: new Map<string, string>(), keep: () => undefined, forget: () => undefined }

let provider: IdentityProvider
let clock: ManualClock
let owner: KeyOwner
let source: KeySource
beforeEach(async () => {
  provider = await IdentityProvider.start()
  clock = manualClock()
  const outgoing = outgoingThrough(parseRanges(['127.0.0.1'], 'test'))
  owner = createKeySets({ outgoing, clock, maxAgeMs: MAX_AGE_MS, kept: nowhere })
  source = { kind: 'jwks', url: provider.jwksUri, ca: undefined }
})
afterEach(() => provider.goAway())

/** A thread, and what it has asked; messages are copied as between threads. */
function thread(): ThreadKeys & { readonly asked: KeysWanted[] } {
  const asked: KeysWanted[] = []
  const keys: ThreadKeys = keySetsOfMain(
    (id, wanted) => {
      asked.push(wanted)
      void tellKeys(owner, structuredClone(wanted)).then((told) => keys.told(id, structuredClone(told)))
    },
    clock,
    MAX_AGE_MS,
  )
  return { ...keys, asked }
}

test('one provider is asked once for all threads, and a thread asks no more while its keys are fresh', async () => {
  const threads = [thread(), thread(), thread()]
  const sets = await Promise.all(threads.map((one) => one.find(source, 'key-1')))
  expect(provider.asked(KEYS)).toHaveLength(1)
  clock.advance(limits.keysFreshMs - 1)
  for (const [i, one] of threads.entries()) {
    expect(await one.find(source, 'key-1')).toBe(sets[i])
    expect(one.asked).toHaveLength(1)
  }
})

test('keys that it has are not sent again, and the same ones stay the same object', async () => {
  const one = thread()
  const set = await one.find(source, 'key-1')
  expect(await one.find(source, 'x')).toBe(set)
  clock.advance(limits.keysFreshMs)
  for (let n = 0; n < 3; n++) {
    expect(await one.find(source, 'key-1')).toBe(set)
    await owner.find(source, 'key-1')
    clock.advance(limits.keysAskedMs)
  }
  expect(new Set(one.asked.map((wanted) => wanted.what === 'keys' && wanted.had)).size).toBeGreaterThan(1)
})

test('while the provider is away a thread asks now and then, not for each token', async () => {
  const one = thread()
  const set = await one.find(source, 'key-1')
  await provider.goAway()
  clock.advance(limits.keysFreshMs)
  for (let n = 0; n < 10; n++) expect(await one.find(source, 'key-1')).toBe(set)
  expect(one.asked).toHaveLength(2)
  clock.advance(limits.keysAskedMs)
  expect(await one.find(source, 'key-1')).toBe(set)
  expect(one.asked).toHaveLength(3)
})

test('a key that is new, and one that was taken back', async () => {
  const [one, other] = [thread(), thread()]
  await Promise.all([one.find(source, 'key-1'), other.find(source, 'key-1')])
  await provider.rotate()
  expect((await one.find(source, 'key-2')).keys.map(({ kid }) => kid)).toEqual(['key-2'])
  expect((await other.find(source, 'key-1')).keys.map(({ kid }) => kid)).toEqual(['key-1'])
  clock.advance(limits.keysFreshMs)
  expect((await other.find(source, 'key-1')).keys.map(({ kid }) => kid)).toEqual(['key-2'])
})

test('unknown names of keys at all threads use up one allowance', async () => {
  const threads = [thread(), thread(), thread()]
  for (let n = 0; n < 30; n++) await threads[n % 3]!.find(source, `x${n}`)
  expect(provider.asked(KEYS)).toHaveLength(limits.keyFetches)
})

test('what is refused is refused in the same words, and keys end at the threads, too', async () => {
  const one = thread()
  await one.find(source, 'key-1')
  await one.check(source)
  await provider.goAway()
  const away = {
    name: 'Refused',
    kind: 'unauthorized',
    message: 'CONJ00087E Failed to fetch keys: it cannot be asked (ECONNREFUSED)',
  }
  await expect(one.check(source)).rejects.toMatchObject(away)
  clock.advance(MAX_AGE_MS)
  for (let n = 0; n < limits.keyFetches; n++)
    await expect(one.find(source, 'key-1')).rejects.toMatchObject(away)
  await expect(one.find(source, 'key-1')).rejects.toMatchObject({ kind: 'unavailable' })
})
