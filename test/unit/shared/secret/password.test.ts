// Which passwords may be chosen (http-api 9), and that only the right one is taken (P8).
import { describe, expect, test } from 'vitest'
import { hashPassword, passwordFault, verifyPassword } from '#shared/secret/password.ts'
import { runSeed, seeded } from '../../../support/random.ts'

const salt = new Uint8Array(16).fill(7)

describe('the rule', () => {
  test.each([
    ['AAaa1!aaaaaa', true],
    ['AAaa1!aaaaa', false],
    [`AAaa1!${'a'.repeat(122)}`, true],
    [`AAaa1!${'a'.repeat(123)}`, false],
    ['Aaaa1!aaaaaa', false],
    ['AAAAAA1!AAAa', false],
    ['AAaa!!aaaaaa', false],
    ['AAaa11aaaaaa', false],
    ['AAaa1 aaaaaa', true],
    ['AAaa1!aaaaa\n', false],
    ['AAaa1!aaaaa\r', false],
    ['ÄÖaa1!aaaaaa', true],
    ['😀AAaa1aaaaaa', true],
    // Counted in characters, not in UTF-16 units: these are eleven.
    ['😀😀😀AAaa1aaa', false],
    ['', false],
  ])('%j: %s', (password, fits) => {
    expect(passwordFault(password) === undefined).toBe(fits)
  })

  test('agrees with a naive twin', () => {
    const seed = runSeed('password')
    const random = seeded(seed)
    const pool = ['a', 'b', 'z', 'A', 'Z', '0', '9', '!', ' ', '_', '\n', 'ß', 'É', '😀']
    let fitting = 0
    for (let i = 0; i < 20_000; i++) {
      const characters = Array.from({ length: random.int(8, 18) }, () => random.pick(pool))
      const kinds = { upper: 0, lower: 0, digit: 0, special: 0, line: 0 }
      for (const c of characters) {
        if ('AZÉ'.includes(c)) kinds.upper++
        else if ('abzß'.includes(c)) kinds.lower++
        else if ('09'.includes(c)) kinds.digit++
        else kinds.special++
        if (c === '\n') kinds.line++
      }
      const fits =
        characters.length >= 12 &&
        kinds.upper >= 2 &&
        kinds.lower >= 2 &&
        kinds.digit >= 1 &&
        kinds.special >= 1 &&
        kinds.line === 0
      if (fits) fitting++
      const password = characters.join('')
      expect(passwordFault(password) === undefined, `seed ${seed}: ${JSON.stringify(password)}`).toBe(fits)
    }
    expect(fitting).toBeGreaterThan(1_000)
  })

  test('what is wrong is said without the password', () => {
    expect(passwordFault('hunter2')).not.toContain('hunter2')
  })
})

describe('a hash', () => {
  test('takes its own password and no other', async () => {
    const hash = await hashPassword('AAaa1!aaaaaa', salt)
    expect(hash).toMatch(/^scrypt\$32768\$8\$1\$[^$]+\$[^$]+$/)
    expect(hash).not.toContain('AAaa1')
    expect(await verifyPassword('AAaa1!aaaaaa', hash)).toBe(true)
    for (const other of ['AAaa1!aaaaab', 'AAaa1!aaaaaa ', 'aAaa1!aaaaaa', '']) {
      expect(await verifyPassword(other, hash)).toBe(false)
    }
  })

  test('with another salt is another', async () => {
    const [one, two] = await Promise.all([
      hashPassword('AAaa1!aaaaaa', salt),
      hashPassword('AAaa1!aaaaaa', new Uint8Array(16).fill(8)),
    ])
    expect(one).not.toBe(two)
  })

  test('a role without a password has none that fits, not even an empty one', async () => {
    expect(await verifyPassword('', undefined)).toBe(false)
    expect(await verifyPassword('AAaa1!aaaaaa', undefined)).toBe(false)
  })
})
