// What positions and histories say about two logs.
import { expect, test } from 'vitest'
import {
  firstHistory,
  historyFile,
  howToFollow,
  type LogEnd,
  newestWith,
  numbersToTake,
  parseHistory,
  parseLsn,
  timelineAt,
  timelineOfFile,
} from '#control-plane/postgres/timeline.ts'

test('a position is a number of bytes', () => {
  expect(parseLsn('0/0')).toBe(0)
  expect(parseLsn('16/B374D848')).toBe(0x16_b374_d848)
  expect(parseLsn('FFFFF/FFFFFFFF')).toBe(2 ** 52 - 1)
})

test('a history names each timeline that was left, and where', () => {
  const text = '1\t0/174AC88\tno recovery target specified\n\n2\t0/4016B60\tbefore 2026-11-21\n# nothing\n'
  expect(parseHistory(5, text)).toEqual({
    timeline: 5,
    forks: [
      { timeline: 1, end: 0x174ac88 },
      { timeline: 2, end: 0x4016b60 },
    ],
  })
  // One that only takes up a number.
  expect(parseHistory(4, '')).toEqual({ timeline: 4, forks: [] })
})

test('files of histories are known by their names', () => {
  expect(historyFile(26)).toBe('0000001A.history')
  expect(timelineOfFile('0000001A.history')).toBe(26)
  for (const name of ['0000001a.history', '1A.history', '0000001A.history.new', '00000001000000000000001A'])
    expect(timelineOfFile(name)).toBeUndefined()
})

const history = parseHistory(5, '1\t0/100\t\n3\t0/200\t\n')

test('a record that ends where a timeline was left is on that one', () => {
  expect([0xff, 0x100, 0x101, 0x200, 0x201].map((end) => timelineAt(history, end))).toEqual([1, 1, 3, 3, 5])
  expect(timelineAt(firstHistory, 7)).toBe(1)
})

test('the newest timeline that has a byte is known by the segments', () => {
  const MiB = 1024 * 1024
  const names = [
    '000000020000000000000003',
    '000000020000000000000004',
    '000000030000000000000004',
    '00000005.history',
    '000000070000000000000004.partial',
    'archive_status',
  ]
  expect(newestWith(names)).toBe(3)
  expect(newestWith(names, 4 * 16 * MiB, 16 * MiB)).toBe(2)
  expect(newestWith(names, 4 * 16 * MiB + 1, 16 * MiB)).toBe(3)
  expect(newestWith(names, 6 * 16 * MiB, 16 * MiB)).toBeUndefined()
  expect(newestWith(['0000000A00000001000000FF'], 2 * 2 ** 32, 16 * MiB)).toBe(10)
  expect(newestWith(['0000000A0000000100000003'], 2 * 2 ** 32, 1024 * MiB)).toBe(10)
  expect(newestWith([])).toBeUndefined()
})

test('numbers are taken up from the next one to the one that is named, but for those that are taken', () => {
  expect(numbersToTake(new Set(), 2, 5)).toEqual([3, 4, 5])
  expect(numbersToTake(new Set([4, 9]), 2, 5)).toEqual([3, 5])
  expect(numbersToTake(new Set(), 5, 5)).toEqual([])
  expect(numbersToTake(new Set(), 6, 5)).toEqual([])
})

const leader: LogEnd = { systemId: '77', timeline: 5, end: 0x300 }

test.each([
  ['nothing', undefined, 'copy', false],
  ['the same timeline, behind', { timeline: 5, end: 0x2f0 }, 'stream', undefined],
  ['the same timeline, level', { timeline: 5, end: 0x300 }, 'stream', undefined],
  ['the same timeline, beyond', { timeline: 5, end: 0x301 }, 'copy', true],
  ['one that was left, up to there', { timeline: 3, end: 0x200 }, 'stream', undefined],
  ['one that was left, beyond', { timeline: 3, end: 0x201 }, 'copy', true],
  ['an older one, beyond', { timeline: 1, end: 0x180 }, 'copy', true],
  ['one beside it', { timeline: 4, end: 0x10 }, 'copy', true],
  ['one after it', { timeline: 6, end: 0x10 }, 'copy', true],
] as const)('who holds %s', (_what, own, kind, diverged) => {
  const held = own === undefined ? undefined : { systemId: '77', ...own }
  const how = howToFollow(held, leader, history)
  expect(how.kind).toBe(kind)
  expect('diverged' in how ? how.diverged : undefined).toBe(diverged)
})

test("data of another cluster is nobody's to replace", () => {
  const how = howToFollow({ systemId: '78', timeline: 5, end: 0x10 }, leader, history)
  expect(how).toMatchObject({
    kind: 'refuse',
    because: expect.stringContaining('of another cluster (system 78'),
  })
})
