// A reader that asks for fresh data gets it or is told so: a header that cannot be read is refused, never forgotten (cluster 6.4).
import { describe, expect, test } from 'vitest'
import { conditionsOf, unmet } from '#shared/api/conditions.ts'
import type { RawRequest } from '#shared/api/request.ts'

const read = (headers: Record<string, string>) =>
  conditionsOf({ header: (name: string) => headers[name] } as RawRequest)

describe('conditions', () => {
  test('are none without headers', () => {
    const none = read({})
    expect(none).toEqual({ minPosition: undefined, maxAgeMs: undefined, wait: false })
    expect(unmet(none, { position: { epoch: 0, seq: 0 }, ageMs: 1e9 })).toBeUndefined()
  })

  test.each([
    { 'holdfast-min-position': '' },
    { 'holdfast-min-position': '1' },
    { 'holdfast-min-position': '1.-2' },
    { 'holdfast-min-position': '1.2.3' },
    { 'holdfast-min-position': '1.2 ' },
    { 'holdfast-min-position': '1.٢' },
    { 'holdfast-min-position': `1.${'9'.repeat(16)}` },
    { 'holdfast-max-age-ms': '' },
    { 'holdfast-max-age-ms': '-1' },
    { 'holdfast-max-age-ms': '1e3' },
    { 'holdfast-max-age-ms': '5', 'holdfast-inconsistent': 'Wait' },
  ])('%j is refused', (headers) => {
    expect(() => read(headers as Record<string, string>)).toThrow(
      expect.objectContaining({ code: 'bad_request' }),
    )
  })

  test('a position is met by itself and all later ones, of later leaderships too', () => {
    const asked = read({ 'holdfast-min-position': '2.10', 'holdfast-inconsistent': 'wait' })
    expect(asked.wait).toBe(true)
    const at = (epoch: number, seq: number) => unmet(asked, { position: { epoch, seq }, ageMs: 0 })
    expect([at(2, 10), at(2, 11), at(3, 1)]).toEqual([undefined, undefined, undefined])
    expect(at(2, 9)).toBe('this node has position 2.9, not yet 2.10')
    expect(at(1, 99)).toContain('not yet 2.10')
  })

  test('an age is met up to its last millisecond', () => {
    const asked = read({ 'holdfast-max-age-ms': '100' })
    const at = (ageMs: number) => unmet(asked, { position: { epoch: 1, seq: 1 }, ageMs })
    expect(at(100)).toBeUndefined()
    expect(at(101)).toContain('101 ms old, more than 100 ms')
  })
})
