// The Authorization header as clients write it, and as nobody should (http-api 3).
import { describe, expect, test } from 'vitest'
import { toBase64, utf8 } from '#shared/base/bytes.ts'
import { basicOfHeader, tokenOfHeader } from '#shared/token/header.ts'
import { runSeed, seeded } from '../../../support/random.ts'

describe('a token header', () => {
  test.each([
    ['Token token="abc="', 'abc='],
    ['Token token=""', ''],
    ['Token token="  abc \t"', 'abc'],
    ['Token token="abc", realm="x"', 'abc", realm="x'],
    ['Token token="a"b"', 'a"b'],
    ['Token token="abc" ', 'abc'],
  ])('%j holds what stands between its first and its last quote', (header, token) => {
    expect(tokenOfHeader(header)).toBe(token)
  })

  test.each([
    undefined,
    '',
    'abc',
    'Token',
    'Token token=',
    'Token token="',
    'Token token=abc',
    "Token token='abc'",
    ' Token token="abc"',
    'Token  token="abc"',
    'token token="abc"',
    'Bearer abc',
    'Basic YTpi, Token token="abc"',
  ])('%j is none', (header) => {
    expect(tokenOfHeader(header)).toBeUndefined()
  })
})

describe('a basic header', () => {
  test('gives back login and secret, whatever they hold', () => {
    const seed = runSeed('basic-header')
    const random = seeded(seed)
    const pieces = ['a', 'é', '😀', '"', ' ', '/', '%2F', '\n', '+', '@']
    const draw = (from: readonly string[]): string =>
      Array.from({ length: random.int(0, 8) }, () => random.pick(from)).join('')
    for (let i = 0; i < 500; i++) {
      const expected = { login: draw(pieces), secret: draw([...pieces, ':']) }
      const encoded = toBase64(utf8(`${expected.login}:${expected.secret}`))
      const written = random.pick([encoded, encoded.replaceAll('=', '')])
      const scheme = random.pick(['Basic', 'basic', 'BASIC'])
      const header = `${scheme}${random.pick([' ', '  '])}${written}${random.pick(['', ' '])}`
      expect(basicOfHeader(header), `seed ${seed}, case ${i}`).toEqual(expected)
    }
  })

  const basic = (text: string): string => `Basic ${toBase64(utf8(text))}`
  test.each([
    undefined,
    '',
    'Basic',
    'Basic ',
    'Basic YTpi YTpi',
    'Basic *',
    'Basic A',
    'BasicYTpi',
    basic('no colon'),
    basic('a\0b:c'),
    basic('a:b\0'),
    `Basic ${toBase64(Uint8Array.of(0x61, 0x3a, 0xff))}`,
    // CESU-8: half of a surrogate pair is no UTF-8.
    `Basic ${toBase64(Uint8Array.of(0x61, 0x3a, 0xed, 0xa0, 0x80))}`,
  ])('%j is none', (header) => {
    expect(basicOfHeader(header)).toBeUndefined()
  })
})
