// A value that was sealed comes back as itself under its own record and key, and under nothing else (I14, cluster 11).
import { describe, expect, test } from 'vitest'
import { fromUtf8, utf8 } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { createKeyring, type Keyring, recordId } from '#shared/secret/keyring.ts'
import { runSeed, seeded } from '../../../support/random.ts'

const key = (fill: number): Uint8Array => new Uint8Array(32).fill(fill)
const ring = (current: number, ...versions: number[]): Keyring =>
  createKeyring({ versions: new Map(versions.map((v) => [v, key(v & 0xff)])), current }, randomBytes)
const record = recordId('secrets', 'acme:variable:db/pw', 3)
const refused = (open: () => Uint8Array) =>
  expect(open).toThrow(expect.objectContaining({ code: 'data_key_invalid' }))

describe('a sealed value', () => {
  test('comes back, whatever it is and whatever its size', () => {
    const seed = runSeed('keyring')
    const random = seeded(seed)
    const keyring = ring(1, 1)
    for (const size of [
      0,
      1,
      15,
      16,
      17,
      4_096,
      1_048_576,
      ...Array.from({ length: 200 }, () => random.int(0, 300)),
    ]) {
      const plain = Uint8Array.from({ length: size }, () => random.int(0, 256))
      const id = recordId('secrets', `acme:variable:${random.int(0, 1e9)}`, random.int(1, 99))
      const sealed = keyring.seal(id, plain)
      expect(Uint8Array.from(keyring.open(id, sealed)), `seed ${seed}, ${size} bytes`).toEqual(plain)
      expect(sealed).toHaveLength(size + 31)
    }
  })

  test('never looks the same twice, and shows nothing of what is in it', () => {
    const keyring = ring(1, 1)
    const plain = utf8('correct horse battery staple')
    const texts = Array.from({ length: 100 }, () => keyring.seal(record, plain).toHex())
    expect(new Set(texts.map((text) => text.slice(38, 62))).size).toBe(100)
    for (const text of texts) expect(text).not.toContain(plain.subarray(0, 6).toHex())
  })

  test('with any bit changed, or cut anywhere, or longer, is refused', () => {
    const keyring = ring(1, 1, 2)
    const sealed = keyring.seal(record, utf8('value'))
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const changed = Uint8Array.from(sealed)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      refused(() => keyring.open(record, changed))
    }
    for (let length = 0; length < sealed.length; length++)
      refused(() => keyring.open(record, sealed.subarray(0, length)))
    refused(() => keyring.open(record, Uint8Array.from([...sealed, 0])))
  })

  test.each([
    recordId('secrets', 'acme:variable:db/pw', 2),
    recordId('secrets', 'acme:variable:db/pw2', 3),
    recordId('credentials', 'acme:variable:db/pw', 3),
    '',
  ])('does not open as %j', (other) => {
    const keyring = ring(1, 1)
    refused(() => keyring.open(other, keyring.seal(record, utf8('value'))))
  })

  test('an error names the record and holds neither value nor key', () => {
    const sealed = ring(1, 1).seal(record, utf8('hunter2'))
    const other = createKeyring({ versions: new Map([[1, key(9)]]), current: 1 }, randomBytes)
    const message = (() => {
      try {
        return String(other.open(record, sealed))
      } catch (error) {
        return `${error} ${JSON.stringify(error)}`
      }
    })()
    expect(message).toContain(record)
    expect(message).not.toContain('hunter2')
    expect(message).not.toContain('09'.repeat(8))
  })
})

describe('versions of the data key', () => {
  test('a value opens under the version it was sealed with, while the ring has it', () => {
    const sealed = ring(1, 1).seal(record, utf8('old'))
    expect(fromUtf8(ring(2, 1, 2).open(record, sealed))).toBe('old')
    refused(() => ring(2, 2).open(record, sealed))
  })

  test('new values are sealed under the current one, up to the highest number', () => {
    for (const version of [1, 255, 256, 65_535]) {
      const sealed = ring(version, 1, version).seal(record, utf8('new'))
      expect([sealed[1], sealed[2]]).toEqual([version >> 8, version & 0xff])
      expect(fromUtf8(ring(1, 1, version).open(record, sealed))).toBe('new')
    }
  })

  test.each([0, 16, 31, 33])('a key of %d bytes is refused', (length) => {
    const versions = new Map([[1, new Uint8Array(length)]])
    expect(() => createKeyring({ versions, current: 1 }, randomBytes)).toThrow(
      `has ${length} bytes instead of 32`,
    )
  })

  test('a ring without its current key is refused', () => {
    expect(() => ring(2, 1)).toThrow('no data key of the current version 2')
  })
})
