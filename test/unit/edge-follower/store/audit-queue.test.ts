// No answer leaves before its record is durable (I9), and no record is lost, renumbered or replaced (I10).
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { type AuditBudget, type AuditQueue, createAuditQueue } from '#edge-follower/store/audit-queue.ts'
import { chainStart, fitBatch } from '#shared/audit/chain.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { temporaryFolder } from '../../../support/copy.ts'

type Opened = AuditQueue & { readonly raw: ReturnType<typeof openSqlite>['raw']; close(): void }

let folder: ReturnType<typeof temporaryFolder>
let now: number
let endTurn: () => void
beforeEach(() => {
  folder = temporaryFolder()
  now = 5
})
afterEach(() => folder.remove())

const plenty: AuditBudget = { records: 1_000_000, bytes: 1_000_000_000 }

/** `endTurn` ends the turn by hand, so that a test decides what makes a group. */
function open(budget = plenty, file = 'audit.db'): Opened {
  const sqlite = openSqlite(`${folder.path}/${file}`, 'writer')
  const queue = createAuditQueue({
    sqlite,
    budget,
    now: () => now,
    random: randomBytes,
    endOfTurn: (callback) => {
      endTurn = callback
    },
  })
  return { ...queue, raw: sqlite.raw, close: () => sqlite.close() }
}

/** Appends each list as one request, all in one turn. */
async function appendGroup(queue: AuditQueue, ...requests: string[][]): Promise<void> {
  const appended = Promise.all(requests.map((lines) => queue.append(lines)))
  endTurn()
  await appended
}

const refused = expect.objectContaining({ code: 'audit_unavailable' })
const linesIn = (queue: AuditQueue, after = 0) => queue.read(after, 1_000).map(({ line }) => line)

describe('groups', () => {
  test('requests of one turn are one row, settled when it is stored and not before', async () => {
    const queue = open()
    const settled: string[] = []
    const first = queue.append(['a', 'b']).then(() => settled.push('first'))
    const second = queue.append(['c']).then(() => settled.push('second'))
    await Promise.resolve()
    expect([settled, linesIn(queue)]).toEqual([[], []])
    endTurn()
    await Promise.all([first, second])
    expect(queue.raw.prepare('SELECT first_seq, last_seq FROM audit_groups').all()).toEqual([
      { first_seq: 1, last_seq: 3 },
    ])
    expect(linesIn(queue)).toEqual(['a', 'b', 'c'])
    queue.close()
  })

  test('commits are flushed before they return', () => {
    const queue = open()
    // 2: FULL. In WAL mode anything less loses acknowledged commits with the power.
    expect(queue.raw.pragma('synchronous', { simple: true })).toBe(2)
    expect(queue.raw.pragma('journal_mode', { simple: true })).toBe('wal')
    queue.close()
  })

  test('nothing to record is nothing to wait for, and a record is one line', async () => {
    const queue = open()
    await queue.append([])
    expect(() => queue.append(['two\nlines'])).toThrow(/one line/)
    expect(queue.pending().records).toBe(0)
    queue.close()
  })

  test('records are numbered from 1 and chained, over groups and restarts, under one incarnation', async () => {
    const first = open()
    await appendGroup(first, ['a', 'b'], ['c'])
    await appendGroup(first, ['d'])
    first.close()
    const queue = open()
    await appendGroup(queue, ['é "]\\'], ['f'])
    const records = queue.read(0, 100)
    expect(records.map(({ seq, line }) => `${seq} ${line}`)).toEqual([
      '1 a',
      '2 b',
      '3 c',
      '4 d',
      '5 é "]\\',
      '6 f',
    ])
    expect(fitBatch(chainStart, records).kind).toBe('fits')
    expect(queue.incarnation).toBe(first.incarnation)
    const other = open(plenty, 'other.db')
    expect(other.incarnation).not.toBe(queue.incarnation)
    other.close()
    queue.close()
  })

  test('reading begins and ends anywhere, within groups too', async () => {
    const queue = open()
    await appendGroup(queue, ['1', '2', '3'])
    await appendGroup(queue, ['4'])
    await appendGroup(queue, ['5', '6'])
    for (let after = 0; after <= 7; after++) {
      for (let count = 1; count <= 7; count++) {
        const expected = ['1', '2', '3', '4', '5', '6'].slice(after, after + count)
        expect(queue.read(after, count).map(({ line }) => line)).toEqual(expected)
      }
    }
    queue.close()
  })

  test('listeners hear of every group that became durable', async () => {
    const queue = open()
    let heard = 0
    const stop = queue.onAppended(() => heard++)
    await appendGroup(queue, ['a'], ['b'])
    await appendGroup(queue, ['c'])
    stop()
    await appendGroup(queue, ['d'])
    expect(heard).toBe(2)
    queue.close()
  })
})

describe('acknowledgement', () => {
  test('forgets whole groups, is remembered over restarts and never goes back', async () => {
    const first = open()
    await appendGroup(first, ['1', '2', '3'])
    now = 9
    await appendGroup(first, ['4'])
    expect(first.pending()).toEqual({ records: 4, bytes: 6, oldestAt: 5 })
    first.acknowledge(2)
    expect(first.pending()).toEqual({ records: 2, bytes: 6, oldestAt: 5 })
    first.acknowledge(1)
    first.close()
    const queue = open()
    expect([queue.acknowledged(), queue.pending().records]).toEqual([2, 2])
    expect(linesIn(queue, queue.acknowledged())).toEqual(['3', '4'])
    queue.acknowledge(4)
    expect(queue.pending()).toEqual({ records: 0, bytes: 0, oldestAt: undefined })
    await appendGroup(queue, ['5'])
    expect(queue.read(4, 10).map(({ seq }) => seq)).toEqual([5])
    queue.close()
  })

  test('of records that were never made is refused', async () => {
    const queue = open()
    await appendGroup(queue, ['1'])
    expect(() => queue.acknowledge(2)).toThrow(/acknowledged 2 of 1/)
    expect(linesIn(queue)).toEqual(['1'])
    queue.close()
  })
})

describe('the budget', () => {
  test('in records: refused at once when reached, taken again when the Leader has some', async () => {
    const queue = open({ records: 3, bytes: 1_000 })
    await appendGroup(queue, ['1', '2'])
    const last = queue.append(['3'])
    await expect(queue.append(['4'])).rejects.toEqual(refused)
    endTurn()
    await last
    await expect(queue.append(['4'])).rejects.toEqual(refused)
    queue.acknowledge(2)
    await appendGroup(queue, ['4'])
    expect(queue.read(2, 10).map(({ seq, line }) => [seq, line])).toEqual([
      [3, '3'],
      [4, '4'],
    ])
    queue.close()
  })

  test('in bytes, counted again after a restart', async () => {
    const first = open({ records: 100, bytes: 10 })
    await appendGroup(first, ['12345', '12345'])
    await expect(first.append(['1'])).rejects.toEqual(refused)
    first.close()
    const queue = open({ records: 100, bytes: 10 })
    await expect(queue.append(['1'])).rejects.toEqual(refused)
    queue.acknowledge(2)
    await appendGroup(queue, ['1'])
    queue.close()
  })
})

describe('a disk that is full', () => {
  test('refuses every request of the group, burns no number, and takes records again when there is room', async () => {
    const queue = open()
    await appendGroup(queue, ['1', '2'])
    const pages = queue.raw.pragma('page_count', { simple: true }) as number
    queue.raw.pragma(`max_page_count = ${pages + 1}`)
    const long = 'x'.repeat(50_000)
    for (let attempt = 0; attempt < 3; attempt++) {
      const group = [queue.append(['lost']), queue.append([long]), queue.append(['lost', 'too'])]
      endTurn()
      const settled = await Promise.allSettled(group)
      expect(settled.map((one) => one.status === 'rejected' && one.reason)).toEqual([
        refused,
        refused,
        refused,
      ])
    }
    queue.raw.pragma('max_page_count = 1000000')
    await appendGroup(queue, ['3', long])
    const records = queue.read(0, 10)
    expect(records.map(({ seq, line }) => [seq, line])).toEqual([
      [1, '1'],
      [2, '2'],
      [3, '3'],
      [4, long],
    ])
    expect(fitBatch(chainStart, records).kind).toBe('fits')
    queue.close()
  })
})

describe('damage', () => {
  test('a stored record that was changed is not handed out as another', async () => {
    const queue = open()
    await appendGroup(queue, ['1', '2'])
    await appendGroup(queue, ['3'])
    for (const [group, lines] of [
      [1, '1\nX'],
      [3, 'X'],
      [1, '1'],
    ] as const) {
      queue.raw.exec('SAVEPOINT damage')
      queue.raw
        .prepare('UPDATE audit_groups SET lines = ? WHERE first_seq = ?')
        .run(Buffer.from(lines), group)
      expect(() => queue.read(0, 10)).toThrow(`damaged in the group of record ${group}`)
      queue.raw.exec('ROLLBACK TO damage; RELEASE damage')
    }
    expect(linesIn(queue)).toEqual(['1', '2', '3'])
    queue.close()
  })
})
