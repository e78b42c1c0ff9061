// Keys must be hard to guess and look as clients expect them (http-api 4).
import { describe, expect, test } from 'vitest'
import { drawApiKey } from '#shared/token/api-key.ts'
import { runSeed, seeded } from '../../../support/random.ts'

/** The reverse of Crockford's base32, by hand. */
const numberOf = (text: string): number =>
  [...text].reduce((sum, c) => sum * 32 + '0123456789abcdefghjkmnpqrstvwxyz'.indexOf(c), 0)

const fromBytes = (bytes: readonly number[]): string => drawApiKey(() => Uint8Array.from(bytes))

describe('an API key', () => {
  test('is eight 32-bit numbers, highest byte first, each in base32 without leading zeros', () => {
    expect(fromBytes(Array(32).fill(0))).toBe('00000000')
    expect(fromBytes(Array(32).fill(0xff))).toBe('3zzzzzz'.repeat(8))
    const counting = Array.from({ length: 32 }, (_, i) => (i % 4 === 3 ? i >> 2 : 0))
    expect(fromBytes(counting)).toBe('01234567')
    expect(fromBytes([0x12, 0x34, 0x56, 0x78, ...Array(28).fill(0)])).toBe('938nkr0000000')
    expect(numberOf('938nkr')).toBe(0x12345678)
  })

  test('is made of 32 random bytes, all of which count', () => {
    const random = seeded(runSeed('api-key'))
    const bytes = Array.from({ length: 32 }, () => random.int(128, 256))
    const key = fromBytes(bytes)
    expect(key).toMatch(/^[0-9a-hjkmnp-tv-z]{56}$/)
    for (let i = 0; i < 8; i++) {
      const [a, b, c, d] = bytes.slice(i * 4)
      expect(numberOf(key.slice(i * 7, i * 7 + 7))).toBe(a! * 2 ** 24 + b! * 2 ** 16 + c! * 256 + d!)
    }
    for (let i = 0; i < 32; i++) {
      expect(fromBytes(bytes.map((byte, at) => (at === i ? byte ^ 1 : byte)))).not.toBe(key)
    }
    expect(() => drawApiKey((length) => new Uint8Array(length - 1))).toThrow(RangeError)
  })
})
