// What is at stake: between a Follower's queue and the Leader's database no audit record is lost, doubled or
// exchanged, whatever happens to the connection and to either store (I10).
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createAuditReceiver } from '#control-plane/audit/receiver.ts'
import { type AuditStore, auditMigrations, createAuditStore } from '#control-plane/audit/store.ts'
import type { Database } from '#control-plane/ledger/connection.ts'
import { migrate } from '#control-plane/ledger/migrate.ts'
import { type ForwarderStatus, forwardAudit } from '#edge-follower/link/audit-forwarder.ts'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { type AuditQueue, createAuditQueue } from '#edge-follower/store/audit-queue.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import type { Clock } from '#shared/base/time.ts'
import { systemClock } from '#shared/node/clock.ts'
import { decodeAuditToLeader, encodeMessage, PROTOCOL } from '#shared/replication/messages.ts'
import { chained, fetchLine, noLines } from '../support/audit-lines.ts'
import { manualClock } from '../support/manual-clock.ts'
import { emptyDatabase } from '../support/postgres.ts'
import { runSeed, seeded } from '../support/random.ts'
import { wirePair } from '../support/wire-pair.ts'

/** Pauses take one turn of the event loop, and links are not idle so long that they show life. */
const hasty: Clock = {
  ...systemClock,
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (ms < limits.auditPingMs || signal?.aborted) setImmediate(resolve)
      else signal?.addEventListener('abort', () => resolve(), { once: true })
    }),
}

let database: Database
let store: AuditStore
let folder: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-audit-'))
  database = await emptyDatabase()
  await migrate(database, auditMigrations)
  store = await createAuditStore({
    database,
    outbox: noLines,
    report: () => undefined,
    node: 'leader-1',
    random: randomBytes,
    clock: systemClock,
  })
})
afterEach(async () => {
  await database.close()
  rmSync(folder, { recursive: true })
})

const queueFile = () => join(folder, 'audit-0.db')

function openQueue(): AuditQueue & { close(): void } {
  const sqlite = openSqlite(queueFile(), 'writer')
  const queue = createAuditQueue({
    sqlite,
    budget: { records: limits.auditQueueRecords, bytes: limits.auditQueueBytes },
    now: () => 0,
    random: randomBytes,
    endOfTurn: setImmediate,
  })
  return { ...queue, close: () => sqlite.close() }
}

type Running = {
  readonly statuses: ForwarderStatus[]
  readonly reports: string[]
  readonly alarms: string[]
  readonly frames: number[]
  until(holds: () => boolean): Promise<void>
  stop(): Promise<void>
}

/** A Follower's forwarder and a Leader's receiver; `passes` decides which message breaks the connection. */
function forward(queue: AuditQueue, passes: () => boolean = () => true): Running {
  const stopping = new AbortController()
  const statuses: ForwarderStatus[] = []
  const reports: string[] = []
  const alarms: string[] = []
  const frames: number[] = []
  const served = new Set<Promise<void>>()
  const done = forwardAudit(
    {
      queue,
      clock: hasty,
      random: () => 0,
      onStatus: (status) => void statuses.push(status),
      report: (message) => void reports.push(message),
      async dial() {
        const pair = wirePair((message) => {
          frames.push(message.length)
          return passes()
        })
        const alarm = (what: string, node: string, seq: number) => void alarms.push(`${what} ${node} ${seq}`)
        const serving = createAuditReceiver({ store, alarm })
          .receive('follower-1', pair.far)
          .catch(() => pair.cut())
          .finally(() => served.delete(serving))
        served.add(serving)
        return pair.near
      },
    },
    stopping.signal,
  )
  return {
    statuses,
    reports,
    alarms,
    frames,
    async until(holds) {
      while (!holds()) await new Promise((resolve) => setImmediate(resolve))
    },
    async stop() {
      stopping.abort()
      await done
      await Promise.all(served)
    },
  }
}

async function stored(node = 'follower-1'): Promise<{ line: string; seq: number; msgid: string }[]> {
  const { rows } = await database.query(
    'SELECT line, seq, msgid FROM messages WHERE node = $1 ORDER BY incarnation, seq',
    [node],
  )
  return rows as { line: string; seq: number; msgid: string }[]
}

const lines = (count: number, prefix = 'r'): string[] =>
  Array.from({ length: count }, (_, i) => fetchLine(`${prefix}${i + 1}`))

describe('the audit stream', () => {
  test('brings every record once, in order, over connections that break at any message', async () => {
    const random = seeded(runSeed('audit stream'))
    const queue = openQueue()
    const running = forward(queue, () => random.next() > 0.2)
    const all = lines(3_000)
    for (let from = 0; from < all.length; ) {
      const upTo = from + random.int(1, 60)
      await queue.append(all.slice(from, upTo))
      from = upTo
    }
    await running.until(() => queue.pending().records === 0)
    await running.stop()
    const rows = await stored()
    expect(rows.map(({ seq }) => seq)).toEqual(all.map((_, i) => i + 1))
    expect(rows.map(({ line }) => line)).toEqual(all)
    expect(running.alarms).toEqual([])
    queue.close()
  })

  test('records that clients have made large go in several messages', async () => {
    const queue = openQueue()
    const large = Array.from({ length: 40 }, (_, i) =>
      fetchLine(`r${i}`, `acme:variable:${'x'.repeat(30_000)}`),
    )
    await queue.append(large)
    const running = forward(queue)
    await running.until(() => queue.pending().records === 0)
    await running.stop()
    expect(await stored()).toHaveLength(40)
    expect(Math.max(...running.frames)).toBeLessThan(limits.partTargetBytes * 2)
    queue.close()
  })

  test('a queue that is an old copy of itself is refused, and keeps what the Leader has not', async () => {
    const queue = openQueue()
    await queue.append(lines(5))
    queue.close()
    copyFileSync(queueFile(), join(folder, 'copy.db'))
    const current = openQueue()
    await current.append(lines(5, 'later'))
    const first = forward(current)
    await first.until(() => current.pending().records === 0)
    await first.stop()
    current.close()

    rmSync(queueFile())
    for (const extra of ['-wal', '-shm']) rmSync(queueFile() + extra, { force: true })
    copyFileSync(join(folder, 'copy.db'), queueFile())
    const old = openQueue()
    await old.append(lines(12, 'other'))
    const second = forward(old)
    await second.until(() => second.alarms.length >= 3)
    await second.stop()
    // The five that both have may go; of the others none.
    expect(old.read(0, 100).filter(({ line }) => line.includes(' other'))).toHaveLength(12)
    expect(new Set(second.alarms)).toEqual(new Set(['fork follower-1 6']))
    expect(second.statuses).toContain('refused')
    expect(second.reports).toEqual(['audit is not forwarded: the Leader refused record 6: fork'])
    const recorded = (await stored('leader-1')).filter(({ msgid }) => msgid === 'audit')
    expect(recorded).toHaveLength(1)
    old.close()
  })

  test('a Leader that has lost what it acknowledged finds the gap, and the Follower keeps the rest', async () => {
    const queue = openQueue()
    await queue.append(lines(5))
    const first = forward(queue)
    await first.until(() => queue.pending().records === 0)
    await first.stop()
    await database.query('TRUNCATE messages, audit_streams')
    const second = forward(queue)
    await queue.append(lines(2, 'new'))
    await second.until(() => second.alarms.length >= 2)
    await second.stop()
    expect(queue.pending().records).toBe(2)
    expect(new Set(second.alarms)).toEqual(new Set(['gap follower-1 6']))
    expect(second.statuses.at(-1)).not.toBe('connected')
    queue.close()
  })
})

test('an idle link shows that it is alive, and how much waits behind it', async () => {
  const queue = openQueue()
  await queue.append(lines(3))
  const { near, far } = wirePair()
  const receiver = createAuditReceiver({ store, alarm: () => undefined })
  const served = receiver.receive('follower-1', far)
  const clock = manualClock()
  const stopping = new AbortController()
  const onStatus = () => undefined
  const report = () => undefined
  const done = forwardAudit(
    { queue, clock, random: () => 0, onStatus, report, dial: async () => near },
    stopping.signal,
  )
  await clock.sleeping(limits.auditPingMs)
  while (receiver.queued('follower-1') !== 3) await new Promise((resolve) => setImmediate(resolve))
  expect(receiver.queued('follower-2')).toBeUndefined()
  while (queue.pending().records > 0) await new Promise((resolve) => setImmediate(resolve))
  clock.advance(limits.auditPingMs)
  while (receiver.queued('follower-1') !== 0) await new Promise((resolve) => setImmediate(resolve))
  stopping.abort()
  await Promise.all([done, served])
  expect(receiver.queued('follower-1')).toBeUndefined()
  queue.close()
})

describe('the receiver', () => {
  const talk = async (...messages: Parameters<typeof encodeMessage>[0][]) => {
    const { near, far } = wirePair()
    const receiver = createAuditReceiver({ store, alarm: () => undefined })
    const served = receiver.receive('follower-1', far)
    for (const message of messages) await near.send(encodeMessage(message))
    const answers: string[] = []
    const reading = (async () => {
      for await (const frame of near.messages()) answers.push(new TextDecoder().decode(frame))
    })()
    return { near, receiver, served, answers, reading }
  }
  const records = () => ({ type: 'records' as const, records: chained(lines(2)) })

  test('refuses records before a greeting, and a protocol that it does not speak', async () => {
    const early = await talk(records())
    await expect(early.served).rejects.toThrow('before hello')
    const strange = await talk({ type: 'hello', protocol: 999, incarnation: 'i' })
    await strange.served
    await strange.reading
    expect(strange.answers.map((answer) => JSON.parse(answer))).toEqual([
      { type: 'refused', reason: 'VERSION_UNSUPPORTED', seq: 0 },
    ])
  })

  test('stores under the name of the entrance, whatever the sender says', async () => {
    const hello = { type: 'hello' as const, protocol: PROTOCOL, incarnation: 'i', node: 'somebody-else' }
    const { near, served, answers, reading } = await talk(hello, records())
    while (answers.length < 2) await new Promise((resolve) => setImmediate(resolve))
    near.close()
    await Promise.all([served, reading])
    expect(answers.map((answer) => JSON.parse(answer))).toEqual([
      { type: 'stored', seq: 0 },
      { type: 'stored', seq: 2 },
    ])
    expect(await stored('somebody-else')).toEqual([])
    expect(await stored('follower-1')).toHaveLength(2)
  })

  test('a message with more records than a batch may have is malformed', () => {
    const many = { type: 'records' as const, records: chained(lines(limits.auditBatchRecords + 1)) }
    expect(() => decodeAuditToLeader(encodeMessage(many))).toThrow('malformed')
  })
})
