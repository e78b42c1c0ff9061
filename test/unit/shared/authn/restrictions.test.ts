// A restriction that is overlooked lets a role in from where it must not come: what is unknown, empty or doubled is refused.
import { describe, expect, test } from 'vitest'
import { mustFollow, mustMatch, type Rules, restrictionsOf } from '#shared/authn/restrictions.ts'

const of = (annotations: Record<string, string>, service?: string, services?: boolean) =>
  Object.fromEntries(
    restrictionsOf({ authenticator: 'authn-x', service }, new Map(Object.entries(annotations)), services),
  )

describe('which annotations are restrictions', () => {
  test('those of the service go before those of all services, in any order', () => {
    const own = { 'authn-x/prod/group': 'own' }
    const all = { 'authn-x/group': 'all', 'authn-x/name': 'n' }
    for (const annotations of [
      { ...own, ...all },
      { ...all, ...own },
    ])
      expect(of(annotations, 'prod')).toEqual({ group: 'own', name: 'n' })
    expect(of({ ...own, ...all })).toEqual({ group: 'all', name: 'n' })
    expect(of({ ...own, ...all }, 'dev')).toEqual({ group: 'all', name: 'n' })
  })

  test.each<[string, Record<string, string>, string | undefined, Record<string, string>]>([
    ['of another authenticator', { 'authn-xy/group': 'a', 'authn-y/group': 'a' }, 'prod', {}],
    ['of a service whose name goes on', { 'authn-x/prod/gke/group': 'a' }, 'prod', {}],
    ['of a service with a slash in its name', { 'authn-x/prod/gke/group': 'a' }, 'prod/gke', { group: 'a' }],
    ['of a service whose name has marks of patterns', { 'authn-x/prod/group': 'a' }, 'p.od', {}],
    ['without a name', { 'authn-x/': 'a', 'authn-x/prod/': 'b' }, 'prod', { '': 'b' }],
    ['of others', { description: 'd', 'note/authn-x/group': 'a', 'authn-x': 'b' }, 'prod', {}],
    ['with a name of JavaScript', { 'authn-x/constructor': 'a' }, 'prod', { constructor: 'a' }],
  ])('%s', (_, annotations, service, expected) => {
    expect(of(annotations, service)).toEqual(expected)
  })

  test('where there are no services, all that stands below', () => {
    expect(of({ 'authn-x/a/group': 'a', 'authn-x/b': 'b' }, undefined, false)).toEqual({
      'a/group': 'a',
      b: 'b',
    })
  })
})

const faultOf = (names: readonly string[], rules: Partial<Rules>, value = 'v'): string | undefined => {
  try {
    mustFollow(new Map(names.map((name) => [name, value])), { known: ['a', 'b', 'c', 'd'], ...rules })
    return undefined
  } catch (error) {
    return (error as Error).message.slice(0, 'CONJ00000E'.length)
  }
}

test.each<[string, readonly string[], Partial<Rules>, string | undefined]>([
  ['nothing is asked for', [], {}, undefined],
  ['all required', ['a', 'b'], { required: ['a', 'b'] }, undefined],
  ['one required is absent', ['a'], { required: ['a', 'b'] }, 'CONJ00057E'],
  ['one of several', ['b'], { anyOf: ['a', 'b'] }, undefined],
  ['none of several', ['c'], { anyOf: ['a', 'b'] }, 'CONJ00069E'],
  ['exactly one', ['a', 'c'], { oneOf: ['a', 'b'] }, undefined],
  ['exactly one, and there is none', ['c'], { oneOf: ['a', 'b'] }, 'CONJ00131E'],
  ['exactly one, and there are two', ['a', 'b'], { oneOf: ['a', 'b'] }, 'CONJ00131E'],
  ['at most one, and there is none', ['c'], { exclusive: [['a', 'b']] }, undefined],
  [
    'at most one of each',
    ['a', 'c'],
    {
      exclusive: [
        ['a', 'b'],
        ['c', 'd'],
      ],
    },
    undefined,
  ],
  [
    'two of one',
    ['a', 'c', 'd'],
    {
      exclusive: [
        ['a', 'b'],
        ['c', 'd'],
      ],
    },
    'CONJ00055E',
  ],
  ['one that nobody knows', ['a', 'x'], { required: ['a'] }, 'CONJ00050E'],
  ['one without a name', [''], {}, 'CONJ00050E'],
])('%s', (_, names, rules, expected) => {
  expect(faultOf(names, rules)).toBe(expected)
})

test('one without a value is refused', () => {
  expect(faultOf(['a'], {}, '')).toBe('CONJ00100E')
  expect(faultOf(['a'], {}, ' \n')).toBe('CONJ00100E')
})

test('each must be what the credential says, to the letter', () => {
  const match = (value: string, said: string | undefined) => () =>
    mustMatch(new Map([['a', value]]), () => said)
  expect(match('v', 'v')).not.toThrow()
  expect(() => mustMatch(new Map(), () => undefined)).not.toThrow()
  for (const said of ['V', 'v ', 'vv', '', undefined]) expect(match('v', said)).toThrow(/^CONJ00049E/)
})

test('what is refused is told without its value', () => {
  const secret = 'the-value'
  const refused = [
    () => mustFollow(new Map([['x', secret]]), { known: ['a'] }),
    () => mustMatch(new Map([['a', secret]]), () => 'another-value'),
  ]
  for (const refuse of refused) {
    expect(refuse).toThrow(/^CONJ/)
    expect(refuse).not.toThrow(/value\b/)
  }
})
