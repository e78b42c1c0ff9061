// What is at stake: a token of somebody else's pipeline becomes a host that it was not meant for (http-api 8.8).
import { describe, expect, test } from 'vitest'
import { annotationsBelow, claimAt, claimRules, hostNamed, mustMeet } from '#shared/authn/claims.ts'

const claims = {
  sub: 'me',
  'a/b': 'flat',
  a: { b: 'nested', 'c.d': { e: 'deep' } },
  list: ['x'],
  number: 7,
  yes: true,
  nothing: null,
  '': 'unnamed',
  empty: '',
}

/** The words of a refusal; 'taken' when there is none. */
const outcome = (run: () => unknown): unknown => {
  try {
    return run() ?? 'taken'
  } catch (error) {
    return (error as Error).message
  }
}

test.each([
  ['sub', 'me'],
  ['a/b', 'flat'],
  ['a/c.d/e', 'deep'],
  ['a/c', undefined],
  ['list/0', undefined],
  ['sub/length', undefined],
  ['__proto__', undefined],
  ['constructor/name', undefined],
  ['a/__proto__/b', undefined],
  ['nothing', null],
  ['nothing/x', undefined],
])('the claim at %s', (path, value) => {
  expect(claimAt(claims, path)).toEqual(value)
})

describe('the host that a claim names', () => {
  test.each([
    ['sub', undefined, 'me'],
    ['a/c.d/e', undefined, 'deep'],
    ['sub', 'apps', 'apps/me'],
    ['sub', 'apps/ci/', 'apps/ci/me'],
  ])('%s in %s', (property, path, host) => {
    expect(hostNamed(claims, property, path)).toBe(host)
  })

  test('one slash stands between the branch and the name', () => {
    expect(hostNamed({ sub: '/me' }, 'sub', 'apps/')).toBe('apps/me')
    expect(hostNamed({ sub: '/me' }, 'sub', undefined)).toBe('/me')
  })

  test.each([
    ['sub//x', 'CONJ00117E'],
    ['1a', 'CONJ00117E'],
    ['', 'CONJ00117E'],
    ['absent', 'CONJ00081E'],
    ['nothing', 'CONJ00081E'],
    ['empty', 'CONJ00081E'],
    ['list', 'CONJ00118E'],
    ['number', 'CONJ00118E'],
    ['a', 'CONJ00118E'],
  ])('%s names none', (property, code) => {
    expect(outcome(() => hostNamed(claims, property, 'apps'))).toMatch(code)
  })

  test('a name that no store can hold is no name', () => {
    for (const sub of ['a\0b', 'a\ud800'])
      expect(outcome(() => hostNamed({ sub }, 'sub', undefined))).toMatch('CONJ00118E')
  })
})

describe('the settings of rules', () => {
  test('are lists with spaces between', () => {
    const { enforced, aliases } = claimRules('ref, google/claim,claim.ant...', 'branch: ref, _:claim_name')
    expect(enforced).toEqual(['ref', 'google/claim', 'claim.ant...'])
    expect([...aliases]).toEqual([
      ['branch', 'ref'],
      ['_', 'claim_name'],
    ])
  })

  test.each([
    ['a,', 'CONJ00107E'],
    [',a', 'CONJ00107E'],
    ['a,,b', 'CONJ00107E'],
    ['a, a', 'CONJ00108E'],
    ['%@^#[{]}$', 'CONJ00104E'],
    ['a//b', 'CONJ00104E'],
    ['-a', 'CONJ00104E'],
    ['a\nb', 'CONJ00104E'],
    ['exp, iss', 'CONJ00105E'],
    ['aud', 'CONJ00105E'],
  ])('enforced-claims %j', (text, code) => {
    expect(outcome(() => claimRules(text, undefined))).toMatch(code)
  })

  test.each([
    ['a:b,', 'CONJ00110E'],
    ['a', 'CONJ00111E'],
    ['a:b:c', 'CONJ00111E'],
    [':b', 'CONJ00111E'],
    ['a:', 'CONJ00111E'],
    ['a:b,a:c', 'CONJ00113E'],
    ['a:c,b:c', 'CONJ00113E'],
    ['a/b:c', 'CONJ00114E'],
    ['a:%', 'CONJ00104E'],
    ['é:b', 'CONJ00104E'],
    ['branch:exp', 'CONJ00105E'],
    ['jti:sub', 'CONJ00105E'],
  ])('claim-aliases %j', (text, code) => {
    expect(outcome(() => claimRules(undefined, text))).toMatch(code)
  })

  test('no value of a setting is in the words', () => {
    for (const text of ['hush%', 'hush,hush', 'hush//x'])
      expect(outcome(() => claimRules(text, undefined))).not.toMatch('hush')
    for (const text of ['hush', 'hush:a,hush:b', 'a:hush,b:hush', 'hush/x:a'])
      expect(outcome(() => claimRules(undefined, text))).not.toMatch('hush')
  })
})

describe('the annotations of a role', () => {
  const meets = (annotations: Record<string, string>, enforced?: string, aliases?: string): unknown =>
    outcome(() => mustMeet(claims, new Map(Object.entries(annotations)), claimRules(enforced, aliases)))

  test('are those below the service', () => {
    const all = new Map([
      ['authn-jwt/ci/sub', '1'],
      ['authn-jwt/ci/a/b', '2'],
      ['authn-jwt/sub', '3'],
      ['authn-jwt/ci', '4'],
      ['authn-jwt/ci2/sub', '5'],
      ['authn-oidc/ci/sub', '6'],
    ])
    expect([...annotationsBelow(all, 'authn-jwt/ci/')]).toEqual([
      ['sub', '1'],
      ['a/b', '2'],
    ])
  })

  test.each<[Record<string, string>, (string | undefined)?, string?]>([
    [{ sub: 'me' }],
    [{ 'a/b': 'flat' }],
    [{ sub: 'me', 'a/c.d/e': 'deep' }, 'sub'],
    [{ who: 'me' }, undefined, 'who:sub'],
    [{ who: 'me' }, 'sub', 'who:sub'],
    [{ who: 'deep' }, 'a/c.d/e', 'who:a/c.d/e'],
    [{ sub: 'me' }, undefined, 'branch:ref'],
  ])('%j are met', (annotations, enforced, aliases) => {
    expect(meets(annotations, enforced, aliases)).toBe('taken')
  })

  test.each<[string, Record<string, string>, (string | undefined)?, string?]>([
    ['CONJ00099E', {}],
    ['CONJ00049E', { sub: 'you' }],
    ['CONJ00049E', { sub: 'ME' }],
    ['CONJ00049E', { sub: 'me ' }],
    ['CONJ00049E', { sub: 'me', 'a/b': 'nested' }],
    ['CONJ00049E', { list: 'x' }],
    ['CONJ00049E', { list: '["x"]' }],
    ['CONJ00049E', { number: '7' }],
    ['CONJ00049E', { yes: 'true' }],
    ['CONJ00049E', { a: '[object Object]' }],
    ['CONJ00084E', { absent: 'x' }],
    ['CONJ00084E', { nothing: 'null' }],
    ['CONJ00084E', { 'sub/sub': 'me' }],
    ['CONJ00100E', { sub: '' }],
    ['CONJ00100E', { sub: 'me', empty: ' ' }],
    ['CONJ00119E', { '': 'unnamed' }],
    ['CONJ00119E', { 'a//b': 'flat' }],
    ['CONJ00119E', { sub: 'me', '0x': 'y' }],
    ['CONJ00069E', { sub: 'me', iat: '1' }],
    ['CONJ00069E', { aud: 'me' }],
    ['CONJ00057E', { number: '7' }, 'sub'],
    ['CONJ00057E', { sub: 'me' }, 'sub,ref'],
    ['CONJ00057E', { sub: 'me' }, 'ref', 'sub:sub2'],
    // An annotation of an aliased claim would go around its alias.
    ['CONJ00069E', { sub: 'me' }, undefined, 'who:sub'],
    ['CONJ00049E', { sub: 'me' }, undefined, 'sub:a/b'],
    ['CONJ00084E', { sub: 'me' }, undefined, 'sub:ref'],
  ])('%s: %j', (code, annotations, enforced, aliases) => {
    expect(meets(annotations, enforced, aliases)).toMatch(code)
  })

  test('no value of a claim is in the words', () => {
    expect(meets({ 'a/b': 'x' })).not.toMatch('flat')
    expect(meets({ sub: 'x' })).not.toMatch('me ')
  })
})
