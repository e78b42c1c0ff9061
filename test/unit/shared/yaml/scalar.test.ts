// What unquoted scalars mean in YAML 1.1 (policy 2.2).
import { describe, expect, test } from 'vitest'
import { scalarClass } from '#shared/yaml/scalar.ts'

describe('scalars', () => {
  test.each([
    ['NilClass', ['', '~', 'null', 'Null', 'NULL']],
    ['TrueClass', ['yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON']],
    ['FalseClass', ['no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF']],
    ['Integer', ['0', '5', '-5', '+5', '12345', '1_000', '0755', '0x1F', '0b101']],
    ['Float', ['1.5', '-1.5', '.5', '1e3', '1.5e-3', '.inf', '-.INF', '.nan']],
    ['Date', ['2026-01-05']],
    ['Time', ['2026-01-05 10:20:30', '2026-01-05T10:20:30Z', '2026-01-05 10:20:30.5 +01:00']],
    ['String', ['alice', 'y', 'n', 'yEs', '10.1.0.0/16', '192.168.1.7', 'a1', '1a', '-', '0x', 'P1D']],
  ] as const)('%s', (expected, texts) => {
    expect(texts.map((text) => [text, scalarClass(text)])).toEqual(texts.map((text) => [text, expected]))
  })

  test('a long text is not searched twice', () => {
    expect(scalarClass('1'.repeat(1_000_000))).toBe('Integer')
    expect(scalarClass(`${'1_'.repeat(500_000)}x`)).toBe('String')
  })
})
