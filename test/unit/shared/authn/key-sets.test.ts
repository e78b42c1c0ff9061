// Key sets that are fetched from a real provider, by the door of Node, on a clock that a test moves.
import { exportJWK, generateKeyPair, type JWK } from 'jose'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createKeySets, type KeptKeySets, type KeySource } from '#shared/authn/key-sets.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { limits } from '#shared/base/limits.ts'
import { outgoingThrough } from '#shared/node/outgoing.ts'
import { certificatesFor } from '../../../support/certificates.ts'
import { DISCOVERY, IdentityProvider, KEYS } from '../../../support/identity-provider.ts'
import { type ManualClock, manualClock } from '../../../support/manual-clock.ts'

const DAY = 24 * 60 * 60 * 1000
const outgoing = outgoingThrough(parseRanges(['127.0.0.0/8'], 'test'))

let provider: IdentityProvider
let clock: ManualClock
beforeEach(async () => {
  provider = await IdentityProvider.start()
  clock = manualClock()
})
afterEach(() => provider.goAway())

/** What a restart would find. */
function memoryOf(texts = new Map<string, string>()): KeptKeySets & { texts: Map<string, string> } {
  return {
    texts,
    found: new Map(texts),
    keep: (name, text) => void texts.set(name, text),
    forget: (name) => void texts.delete(name),
  }
}
const keySetsOf = (kept: KeptKeySets = memoryOf()) => createKeySets({ outgoing, clock, maxAgeMs: DAY, kept })
const jwks = (): KeySource => ({ kind: 'jwks', url: provider.jwksUri, ca: undefined })
const issuer = (): KeySource => ({ kind: 'provider', url: provider.url, ca: undefined })
const kidsOf = ({ keys }: { keys: JWK[] }) => keys.map(({ kid }) => kid)
const unauthorized = (message: string) => ({ kind: 'unauthorized', message })

test('a set is fetched once for all that want it at once, and then remembered', async () => {
  const keySets = keySetsOf()
  const release = provider.hold()
  const found = Array.from({ length: 50 }, () => keySets.find(jwks(), 'key-1'))
  release()
  const sets = await Promise.all(found)
  expect(new Set(sets).size).toBe(1)
  expect(kidsOf(sets[0]!)).toEqual(['key-1'])
  expect(await keySets.find(jwks(), 'key-1')).toBe(sets[0])
  expect(provider.asked(KEYS)).toHaveLength(1)
})

test('a thousand unknown names of keys: the limiter’s allowance, and a new key is found within it', async () => {
  const keySets = keySetsOf()
  await keySets.find(jwks(), 'key-1')
  await provider.rotate({ keep: true })
  expect(kidsOf(await keySets.find(jwks(), 'key-2'))).toEqual(['key-1', 'key-2'])
  for (let n = 0; n < 1_000; n++) expect(kidsOf(await keySets.find(jwks(), `x${n}`))).toContain('key-2')
  expect(provider.asked(KEYS)).toHaveLength(limits.keyFetches)
  clock.advance(limits.keyFetchesPerMs)
  await keySets.find(jwks(), 'x')
  expect(provider.asked(KEYS)).toHaveLength(limits.keyFetches + 1)
})

test('the limiter before any keys is told apart from a provider that cannot be asked', async () => {
  const keySets = keySetsOf()
  await provider.goAway()
  for (let n = 0; n < limits.keyFetches; n++)
    await expect(keySets.find(jwks(), 'key-1')).rejects.toMatchObject(
      unauthorized('CONJ00087E Failed to fetch keys: it cannot be asked (ECONNREFUSED)'),
    )
  await expect(keySets.find(jwks(), 'key-1')).rejects.toMatchObject({
    kind: 'unavailable',
    message: expect.stringMatching(/^CONJ00044E /),
  })
})

test('keys of a provider that is away stay good until their time is over, and no longer', async () => {
  const keySets = keySetsOf()
  const set = await keySets.find(issuer(), 'key-1')
  await provider.goAway()
  clock.advance(DAY - 1)
  expect(await keySets.find(issuer(), 'key-1')).toBe(set)
  clock.advance(1)
  await expect(keySets.find(issuer(), 'key-1')).rejects.toMatchObject(
    unauthorized('CONJ00011E Provider cannot be discovered: it cannot be asked (ECONNREFUSED)'),
  )
})

test('a key that was taken back is dropped at the second use after five minutes, and nobody waits', async () => {
  const keySets = keySetsOf()
  await provider.rotate({ keep: true })
  expect(kidsOf(await keySets.find(jwks(), 'key-1'))).toEqual(['key-1', 'key-2'])
  await provider.rotate()
  clock.advance(limits.keysFreshMs)
  const release = provider.hold()
  expect(kidsOf(await keySets.find(jwks(), 'key-1'))).toEqual(['key-1', 'key-2'])
  release()
  expect(kidsOf(await keySets.find(jwks(), 'key-3'))).toEqual(['key-3'])
  expect(kidsOf(await keySets.find(jwks(), 'key-1'))).toEqual(['key-3'])
})

test('a fault of ours while nobody waits ends nothing, and is told to whoever joins', async () => {
  let isFull = false
  const keep = (): void => {
    if (isFull) throw new Error('no room')
  }
  const keySets = keySetsOf({ ...memoryOf(), keep })
  await keySets.find(jwks(), 'key-1')
  isFull = true
  clock.advance(limits.keysFreshMs)
  const release = provider.hold()
  expect(kidsOf(await keySets.find(jwks(), 'key-1'))).toEqual(['key-1'])
  const joined = keySets.find(jwks(), 'another')
  release()
  await expect(joined).rejects.toThrow('no room')
  expect(kidsOf(await keySets.find(jwks(), 'key-1'))).toEqual(['key-1'])
})

test('a slash at the end of an issuer is no other issuer', async () => {
  const keySets = keySetsOf()
  const set = await keySets.find({ ...issuer(), url: `${provider.url}/ ` }, 'key-1')
  expect(await keySets.find(issuer(), 'key-1')).toBe(set)
  provider.answer(DISCOVERY, () => ({ body: { ...provider.discovery(), issuer: `${provider.url}/` } }))
  expect(kidsOf(await keySetsOf().find(issuer(), 'key-1'))).toEqual(['key-1'])
})

test('another authority is another source', async () => {
  const secure = await IdentityProvider.start(await certificatesFor('127.0.0.1'))
  try {
    const keySets = keySetsOf()
    const source: KeySource = { kind: 'provider', url: secure.url, ca: secure.ca }
    expect(kidsOf(await keySets.find(source, 'key-1'))).toEqual(['key-1'])
    for (const ca of [undefined, (await certificatesFor('127.0.0.1')).ca, ''])
      await expect(keySets.find({ ...source, ca }, 'key-1')).rejects.toMatchObject({ kind: 'unauthorized' })
  } finally {
    await secure.goAway()
  }
})

const discovery = (document: object) => () =>
  provider.answer(DISCOVERY, () => ({ body: { ...provider.discovery(), ...document } }))
const keysAnswer =
  (body: unknown, status = 200) =>
  () =>
    provider.answer(KEYS, () => ({ status, body }))

test.each<[string, 'jwks' | 'provider', () => void, string]>([
  ['no such page', 'jwks', keysAnswer('', 404), 'CONJ00087E Failed to fetch keys: it was answered 404'],
  [
    'a redirect',
    'jwks',
    () => provider.answer(KEYS, () => ({ status: 302, headers: { Location: '/other' } })),
    'CONJ00087E Failed to fetch keys: it was answered 302',
  ],
  ['no JSON', 'jwks', keysAnswer('<html>'), 'CONJ00093E Failed to read keys: its answer is no JSON object'],
  ['no set', 'jwks', keysAnswer({ a: 1 }), 'CONJ00088E Keys not found: its answer is no key set'],
  [
    'none for signatures',
    'jwks',
    keysAnswer({ keys: [{ kty: 'oct', k: 'AAAA' }] }),
    'CONJ00088E Keys not found: none of those that it answered is an RSA key for signatures',
  ],
  [
    'keys of an issuer',
    'provider',
    keysAnswer('', 500),
    'CONJ00012E Failed to fetch keys from the provider: it was answered 500',
  ],
  [
    'no set of an issuer',
    'provider',
    keysAnswer([]),
    'CONJ00012E Failed to fetch keys from the provider: its answer is no JSON object',
  ],
  [
    'another issuer',
    'provider',
    discovery({ issuer: 'https://elsewhere.example' }),
    'CONJ00011E Provider cannot be discovered: its document names another issuer',
  ],
  [
    'two slashes',
    'provider',
    () => discovery({ issuer: `${provider.url}//` })(),
    'CONJ00011E Provider cannot be discovered: its document names another issuer',
  ],
  [
    'no address of keys',
    'provider',
    discovery({ jwks_uri: undefined }),
    'CONJ00011E Provider cannot be discovered: its document names no keys that can be fetched',
  ],
  [
    'keys in another protocol',
    'provider',
    discovery({ jwks_uri: 'file:///etc/passwd' }),
    'CONJ00011E Provider cannot be discovered: its document names no keys that can be fetched',
  ],
  [
    'keys in a private network',
    'provider',
    discovery({ jwks_uri: 'http://169.254.169.254/keys' }),
    'CONJ00012E Failed to fetch keys from the provider: its address is no public one: authn_private_networks says which others may be asked',
  ],
])('%s', async (_, kind, arrange, message) => {
  arrange()
  const source = kind === 'jwks' ? jwks() : issuer()
  await expect(keySetsOf().find(source, 'key-1')).rejects.toMatchObject(unauthorized(message))
})

test('an https provider’s keys are not asked for in clear, and a ca-cert is not ignored', async () => {
  const secure = await IdentityProvider.start(await certificatesFor('127.0.0.1'))
  try {
    secure.answer(DISCOVERY, () => ({ body: { ...secure.discovery(), jwks_uri: provider.jwksUri } }))
    const source: KeySource = { kind: 'provider', url: secure.url, ca: secure.ca }
    await expect(keySetsOf().find(source, 'key-1')).rejects.toThrow(
      /^CONJ00011E .* no keys that can be fetched$/,
    )
    await expect(keySetsOf().find({ ...jwks(), ca: secure.ca }, 'key-1')).rejects.toThrow(
      /CONJ00087E .*TLS misconfiguration/,
    )
    expect(provider.asked()).toEqual([])
  } finally {
    await secure.goAway()
  }
})

test('of a set only RSA keys for signatures are believed, and only their public members', async () => {
  const [good] = provider.keySet().keys
  const small = await generateKeyPair('RS256', { modulusLength: 2048, extractable: true })
  const { n } = await exportJWK(small.publicKey)
  const keys = [
    { ...good, d: 'secret', x5c: ['AAAA'], kid: 'good' },
    { ...good, kid: 'enc', use: 'enc' },
    { ...good, kid: 'other', alg: 'PS256' },
    { ...good, kid: 'symmetric', kty: 'oct', k: 'AAAA' },
    { ...good, kid: 'wraps', key_ops: ['wrapKey'] },
    { ...good, kid: 'short', n: n!.slice(0, 300) },
    { ...good, kid: 'long', n: n!.repeat(5) },
    { ...good, kid: 'exponent', e: 'A'.repeat(9) },
    { ...good, kid: 'k'.repeat(limits.providerKeyIdCharacters + 1) },
    { ...good, kid: 7 },
    { kty: 'RSA', n, e: 'AQAB' },
    null,
  ]
  provider.answer(KEYS, () => ({ body: { keys } }))
  expect((await keySetsOf().find(jwks(), 'good')).keys).toEqual([
    { kty: 'RSA', n: good!.n, e: 'AQAB', kid: 'good', alg: 'RS256', use: 'sig' },
    { kty: 'RSA', n, e: 'AQAB', use: 'sig' },
  ])
  const many = Array.from({ length: limits.providerKeys + 1 }, () => good)
  provider.answer(KEYS, () => ({ body: { keys: many } }))
  await expect(keySetsOf().find(jwks(), 'good')).rejects.toThrow(/^CONJ00093E .* more than 100$/)
})

test('a set without keys is an answer: what was held is not believed any more', async () => {
  const keySets = keySetsOf()
  await keySets.find(jwks(), 'key-1')
  provider.answer(KEYS, () => ({ body: { keys: [] } }))
  await expect(keySets.find(jwks(), 'key-2')).rejects.toThrow(/^CONJ00088E/)
  await expect(keySets.find(jwks(), 'key-1')).rejects.toThrow(/^CONJ00088E/)
})

test('what is kept is good after a start without the provider, for the rest of its time', async () => {
  const kept = memoryOf()
  await keySetsOf(kept).find(jwks(), 'key-1')
  expect([...kept.texts.values()].join()).not.toContain('127.0.0.1')
  await provider.goAway()
  clock.advance(DAY - 1)
  expect(kidsOf(await keySetsOf(memoryOf(kept.texts)).find(jwks(), 'key-1'))).toEqual(['key-1'])
  clock.advance(1)
  await expect(keySetsOf(memoryOf(kept.texts)).find(jwks(), 'key-1')).rejects.toThrow(/^CONJ00087E/)
  expect(kept.texts.size).toBe(0)
})

test('what was damaged is no key set', async () => {
  const kept = memoryOf()
  await keySetsOf(kept).find(jwks(), 'key-1')
  const [[name, text]] = [...kept.texts] as [[string, string]]
  await provider.goAway()
  for (const damaged of ['', '{}', text.slice(0, -5), text.replace('"RSA"', '"oct"')]) {
    const keySets = keySetsOf(memoryOf(new Map([[name, damaged]])))
    await expect(keySets.find(jwks(), 'key-1')).rejects.toThrow(/^CONJ00087E/)
  }
})

test('sources that were not wanted for longest are forgotten, on the disk too', async () => {
  const kept = memoryOf()
  const keySets = keySetsOf(kept)
  for (let n = 0; n <= limits.keySources; n++)
    await keySets.find({ ...jwks(), url: `${provider.jwksUri}?${n}` }, 'key-1')
  expect(kept.texts.size).toBe(limits.keySources)
  const before = provider.asked(KEYS).length
  await keySets.find({ ...jwks(), url: `${provider.jwksUri}?1` }, 'key-1')
  expect(provider.asked(KEYS)).toHaveLength(before)
  await keySets.find({ ...jwks(), url: `${provider.jwksUri}?0` }, 'key-1')
  expect(provider.asked(KEYS)).toHaveLength(before + 1)
})

test('a status check asks whatever is remembered, within bounds, and takes nothing of the limiter', async () => {
  const keySets = keySetsOf()
  for (let n = 0; n < limits.keyChecks; n++) await keySets.check(jwks())
  expect(provider.asked(KEYS)).toHaveLength(limits.keyChecks)
  expect(kidsOf(await keySets.find(jwks(), 'key-1'))).toEqual(['key-1'])
  await keySets.check(jwks())
  expect(provider.asked(KEYS)).toHaveLength(limits.keyChecks)
  await provider.rotate()
  expect(kidsOf(await keySets.find(jwks(), 'key-2'))).toEqual(['key-2'])
  await provider.goAway()
  clock.advance(limits.keyFetchesPerMs)
  await expect(keySets.check(jwks())).rejects.toThrow(/^CONJ00087E/)
  expect(kidsOf(await keySets.find(jwks(), 'key-2'))).toEqual(['key-2'])
})
