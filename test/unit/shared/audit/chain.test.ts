import { describe, expect, test } from 'vitest'
import { chainStart, extend, fitBatch } from '#shared/audit/chain.ts'
import { chained } from '../../../support/audit-lines.ts'

const lines = ['a', 'b', 'c', 'd', 'e']
const records = chained(lines)
const endAfter = (count: number) => lines.slice(0, count).reduce(extend, chainStart)

describe('a chain', () => {
  test('has the number of its lines, and a hash that stands for all of them in their order', () => {
    expect(endAfter(5).seq).toBe(5)
    const others = [
      ['a', 'b', 'c', 'e', 'd'],
      ['a', 'b', 'c', 'd', 'E'],
      ['a', 'b', 'c', 'd e', ''],
      ['ab', '', 'c', 'd', 'e'],
    ]
    const hashes = others.map((other) => other.reduce(extend, chainStart).hash)
    expect(new Set([...hashes, endAfter(5).hash]).size).toBe(others.length + 1)
  })

  test('number and text cannot be shifted into each other', () => {
    const at = (seq: number, line: string) => extend({ seq: seq - 1, hash: chainStart.hash }, line).hash
    expect(at(1, '2 x')).not.toBe(at(12, 'x'))
    expect(at(1, ' 2 x')).not.toBe(at(12, ' x'))
  })

  test('has a form that other programs can compute: SHA-256 of the hash before, the number, a space, the line', () => {
    expect(extend(chainStart, 'a').hash).toBe(
      '187a33fc7bce156a0929b90b7958c82e13bc083ee387a1303dcaa7eec9e35b67',
    )
  })
})

describe('a batch', () => {
  test('that continues the chain fits, whole or in pieces', () => {
    for (let cut = 0; cut <= 5; cut++) {
      const verdict = fitBatch(endAfter(cut), records.slice(cut))
      expect(verdict).toEqual({ kind: 'fits', end: endAfter(5), fresh: records.slice(cut) })
    }
  })

  test('that repeats what is known brings the rest', () => {
    expect(fitBatch(endAfter(3), records)).toEqual({
      kind: 'fits',
      end: endAfter(5),
      fresh: records.slice(3),
    })
    expect(fitBatch(endAfter(5), records.slice(1, 3))).toEqual({ kind: 'fits', end: endAfter(5), fresh: [] })
  })

  test('after a hole, or with one, is a gap', () => {
    expect(fitBatch(endAfter(1), records.slice(2))).toEqual({ kind: 'gap', expected: 2, got: 3 })
    const holed = [...records.slice(0, 2), ...records.slice(3)]
    expect(fitBatch(chainStart, holed)).toEqual({ kind: 'gap', expected: 3, got: 4 })
  })

  test('with numbers that do not rise is a gap', () => {
    const repeated = [records[0]!, records[1]!, records[1]!]
    expect(fitBatch(chainStart, repeated)).toEqual({ kind: 'gap', expected: 3, got: 2 })
  })

  test('of another history is a fork: at its first line, within it, and at the end that is known', () => {
    const other = chained(['a', 'X', 'c', 'd', 'e'])
    expect(fitBatch(endAfter(2), other.slice(2))).toEqual({ kind: 'fork', seq: 3 })
    const changed = records.map((record, i) => (i === 1 ? { ...record, line: 'X' } : record))
    expect(fitBatch(chainStart, changed)).toEqual({ kind: 'fork', seq: 3 })
    expect(fitBatch(endAfter(2), other.slice(0, 2))).toEqual({ kind: 'fork', seq: 2 })
  })
})
