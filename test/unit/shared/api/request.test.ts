// Queries and forms come from anybody: each is read as clients write it, or refused, and never held too long (http-api 1, 2).
import { describe, expect, test, vi } from 'vitest'
import {
  decodePercent,
  listOf,
  parametersOf,
  parseQuery,
  type Query,
  type RouteRequest,
  textOf,
} from '#shared/api/request.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { type Random, runSeed, seeded } from '../../../support/random.ts'

const plain = (query: Query): unknown => Object.fromEntries(query)

describe('a query', () => {
  test.each<[string, unknown]>([
    ['', {}],
    ['&;&', {}],
    ['a=1&b=2;c=3', { a: '1', b: '2', c: '3' }],
    ['a', { a: null }],
    ['a=', { a: '' }],
    ['=1', { '': '1' }],
    ['a=1=2', { a: '1=2' }],
    ['a=1&a=2', { a: '2' }],
    ['a=b+c%2Bd', { a: 'b c+d' }],
    ['a+b=1', { 'a b': '1' }],
    ['a%3Db=%26%3B', { 'a=b': '&;' }],
    ['a[]=1&a[]=2', { a: ['1', '2'] }],
    ['a%5B%5D=1&a[]', { a: ['1', ''] }],
    ['a[k]=v&a[l]=w&a[k]=x', { a: { k: 'x', l: 'w' } }],
    ['a[k]', { a: { k: '' } }],
    ['a=1&a[]=2', { a: ['2'] }],
    ['a[]=1&a[k]=2', { a: { k: '2' } }],
    ['a[k]=1&a[]=2', { a: ['2'] }],
    ['a[]=1&a=2', { a: '2' }],
    ['[]=1', { '[]': '1' }],
    ['a[b][c]=1', { 'a[b][c]': '1' }],
    ['a[=1&a]=2', { 'a[': '1', 'a]': '2' }],
    ['a=%F0%9F%98%80', { a: '😀' }],
    ['a=%zz&b=%&c=%4', { a: '%zz', b: '%', c: '%4' }],
    ['a=%ff&b=%C3%28&c=%ED%A0%80&d=%C0%AF', { a: '%ff', b: '%C3%28', c: '%ED%A0%80', d: '%C0%AF' }],
    ['a=%2541', { a: '%41' }],
  ])('%j', (text, expected) => {
    expect(plain(parseQuery(text))).toEqual(expected)
  })

  test.each(['a=%00', 'a%00=1', 'a[%00]=1', 'a[]=%00', '%00', 'a=\0', 'a=\ud800', '\udc00'])(
    '%j is refused: no store can hold it',
    (text) => {
      expect(() => parseQuery(text)).toThrow(expect.objectContaining({ code: 'bad_request' }))
    },
  )

  test('a key that every object has is a key like any other', () => {
    const query = parseQuery('a[__proto__]=1&a[constructor]=2&__proto__[x]=3')
    expect(Object.entries(query.get('a')!)).toEqual([
      ['__proto__', '1'],
      ['constructor', '2'],
    ])
    expect(Object.entries(query.get('__proto__')!)).toEqual([['x', '3']])
    expect(({} as { x?: unknown }).x).toBeUndefined()
  })

  test('two queries share nothing', () => {
    const first = parseQuery('a[]=1&b[k]=1')
    const second = parseQuery('a[]=2&b[k]=2')
    expect(plain(first)).toEqual({ a: ['1'], b: { k: '1' } })
    expect(plain(second)).toEqual({ a: ['2'], b: { k: '2' } })
  })

  test('comes back from what clients encode', () => {
    const seed = runSeed('query')
    const random = seeded(seed)
    for (let i = 0; i < 2_000; i++) {
      const expected = randomQuery(random)
      const pairs = Object.entries(expected).flatMap(([name, value]) => pairsOf(name, value))
      const text = pairs.map(([k, v]) => encodePair(random, k, v)).join(random.pick(['&', ';', '&&']))
      expect(plain(parseQuery(text)), `seed ${seed}, case ${i}: ${text}`).toEqual(expected)
    }
  })

  test('of the largest size has all its members', () => {
    const count = limits.bodyBytes >> 3
    const list = parseQuery('a[]=x&'.repeat(count))
    expect(listOf(list, 'a')).toHaveLength(count)
    const map = parseQuery(Array.from({ length: count }, (_, i) => `a[k${i}]=${i}`).join('&'))
    expect(Object.keys(map.get('a')!)).toHaveLength(count)
  })

  test('lists and maps grow in place: no copy per member, which would cost the square', () => {
    const setsOf = (text: string): number => {
      const set = vi.spyOn(Map.prototype, 'set')
      parseQuery(text)
      const values = new Set(set.mock.calls.filter(([name]) => name === 'a').map(([, value]) => value))
      set.mockRestore()
      return values.size
    }
    expect(setsOf('a[]=1&'.repeat(50))).toBe(1)
    expect(setsOf(Array.from({ length: 50 }, (_, i) => `a[k${i}]=1`).join('&'))).toBe(1)
  })

  test('gives a text where one is asked for, and lists of one', () => {
    const query = parseQuery('a=1&b&c[]=1&c[]=2&d[k]=v')
    const names = ['a', 'b', 'c', 'd', 'e']
    expect(names.map((name) => textOf(query, name))).toEqual(['1', ...Array(4).fill(undefined)])
    expect(names.map((name) => listOf(query, name))).toEqual([['1'], [], ['1', '2'], [], []])
  })
})

describe('percent-encoding', () => {
  test('is decoded as a naive twin does, byte by byte', () => {
    const seed = runSeed('percent')
    const random = seeded(seed)
    const pieces = [
      'a',
      '%',
      '%4',
      '%41',
      '%2F',
      '%c3',
      '%A9',
      '%f0%9f%98%80',
      '%e2%82',
      '%ac',
      '%00',
      '+',
      '%zz',
      '%ED%A0%80',
    ]
    let refused = 0
    for (let i = 0; i < 5_000; i++) {
      const text = Array.from({ length: random.int(0, 6) }, () => random.pick(pieces)).join('')
      const expected = naiveDecode(text)
      if (expected === undefined) refused++
      expect(decodePercent(text), `seed ${seed}, case ${i}: ${text}`).toBe(expected)
    }
    expect(refused).toBeGreaterThan(500)
  })
})

describe('parameters of a body', () => {
  const request = (type: string | undefined, body: string | Uint8Array): RouteRequest => ({
    params: {},
    query: parseQuery('q=1'),
    header: (name) => (name === 'content-type' ? type : undefined),
    body: typeof body === 'string' ? utf8(body) : body,
  })
  const read = (type: string | undefined, body: string | Uint8Array): unknown =>
    plain(parametersOf(request(type, body)))

  test.each<[string | undefined, string, unknown]>([
    [undefined, 'a=1&q=2', { a: '1', q: '2' }],
    ['', 'a=1', { q: '1', a: '1' }],
    ['application/x-www-form-urlencoded', 'a[]=1', { q: '1', a: ['1'] }],
    ['Application/X-WWW-Form-URLencoded ; charset=utf-8', 'a=1', { q: '1', a: '1' }],
    ['nonsense', 'a=1', { q: '1', a: '1' }],
    ['text/plain', 'a=1', { q: '1' }],
    ['application/json', '', { q: '1' }],
    ['application/json', '{"a":"1","q":2,"b":true,"c":null}', { q: '2', a: '1', b: 'true', c: null }],
    [
      'APPLICATION/JSON;charset=utf-8',
      '{"a":["1",2,null],"b":{"k":1.5}}',
      { q: '1', a: ['1', '2', 'null'], b: { k: '1.5' } },
    ],
    ['application/json', '{"a":[],"b":{}}', { q: '1', a: [], b: {} }],
  ])('of type %s: %j', (type, body, expected) => {
    expect(read(type, body)).toEqual(expected)
  })

  test('a backslash before letters is no escape', () => {
    const value = { path: 'C:\\udata\\u0000', list: ['\\ud800'], map: { '\\u0000': '\\udfff' } }
    expect(read('application/json', JSON.stringify(value))).toEqual({ q: '1', ...value })
  })

  test.each([' ', '{', '[]', '"a"', 'null', '7', '\ufeff{}', '{"a":1}x'])(
    '%j is no JSON object: 400',
    (body) => {
      const outcome = () => read('application/json', body)
      expect(outcome).toThrow(expect.objectContaining({ code: 'bad_request', message: '' }))
    },
  )

  test.each([
    '{"a":"\\u0000"}',
    '{"\\u0000":1}',
    '{"a":["\\ud800"]}',
    '{"a":{"k":"\\udc00"}}',
    '{"a":{"\\ud83d":1}}',
    '{"a":[[1]]}',
    '{"a":{"k":{}}}',
    `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`,
    `{"a":${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}}`,
  ])('JSON that no store can hold, or nested too deep, is refused (%#)', (body) => {
    expect(() => read('application/json', body)).toThrow(expect.objectContaining({ code: 'bad_request' }))
  })

  test('a form that is no UTF-8 is not looked at; one that no store can hold is refused', () => {
    expect(read(undefined, Uint8Array.of(0x61, 0x3d, 0xff))).toEqual({ q: '1' })
    expect(() => read(undefined, 'a=%00')).toThrow(expect.objectContaining({ code: 'bad_request' }))
  })
})

type Plain = { [name: string]: string | null | string[] | { [key: string]: string } }

const pieces = ['a', 'é', '😀', '&', ';', '=', '+', ' ', '%', '/', ':', '"']
const randomText = (random: Random, min: number): string =>
  Array.from({ length: random.int(min, 6) }, () => random.pick(pieces)).join('')

function randomQuery(random: Random): Plain {
  const query: Plain = {}
  for (let n = random.int(0, 5); n > 0; n--) {
    const texts = Array.from({ length: random.int(1, 4) }, () => randomText(random, 0))
    query[randomText(random, 1)] = random.pick([
      texts[0]!,
      null,
      texts,
      Object.fromEntries(texts.map((text) => [randomText(random, 1), text])),
    ])
  }
  return query
}

function pairsOf(name: string, value: Plain[string] | undefined): [string, string | null][] {
  if (Array.isArray(value)) return value.map((item) => [`${name}[]`, item])
  if (typeof value !== 'object' || value === null) return [[name, value ?? null]]
  return Object.entries(value).map(([key, item]) => [`${name}[${key}]`, item])
}

/** As the clients do: Go and Java write a space as `+`, Python as `%20`; hex digits are of either case. */
function encodePair(random: Random, name: string, value: string | null): string {
  const encode = (text: string): string => {
    const encoded = encodeURIComponent(text)
    const lower = encoded.replace(/%../g, (code) => code.toLowerCase())
    return random.pick([encoded, encoded.replaceAll('%20', '+'), lower])
  }
  return value === null ? encode(name) : `${encode(name)}=${encode(value)}`
}

function naiveDecode(text: string): string | undefined {
  const bytes: number[] = []
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== '%') bytes.push(text.charCodeAt(at))
    else {
      const hex = text.slice(at + 1, at + 3)
      if (!/^[0-9a-fA-F]{2}$/.test(hex)) return undefined
      bytes.push(Number.parseInt(hex, 16))
      at += 2
    }
  }
  // Bytes that are no UTF-8 become replacement characters, and those do not come back.
  const decoded = Buffer.from(bytes).toString('utf8')
  return Buffer.from(decoded, 'utf8').equals(Buffer.from(bytes)) ? decoded : undefined
}
