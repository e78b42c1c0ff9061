// What is at stake: every audit record is at the Leader exactly once, numbered and chained, and whoever loses or
// changes one is found out (I10); a record that cannot be stored is refused within a second (I9).
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type AuditStore, auditMigrations, createAuditStore } from '#control-plane/audit/store.ts'
import type { Outbox } from '#control-plane/ledger/change-log.ts'
import type { Database } from '#control-plane/ledger/connection.ts'
import { migrate } from '#control-plane/ledger/migrate.ts'
import { chainStart, extend } from '#shared/audit/chain.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { chained, fetchLine, noLines } from '../support/audit-lines.ts'
import { type ManualClock, manualClock } from '../support/manual-clock.ts'
import { emptyDatabase, testServer } from '../support/postgres.ts'
import { runSeed, seeded } from '../support/random.ts'

type Stored = {
  procid: string
  msgid: string
  incarnation: string
  seq: number
  prev_hash: string
  hash: string
  line: string
}

/** An outbox in memory; `onRead` and `onTrim` run before the call is answered. */
function memoryOutbox(hooks: { onRead?: () => void; onTrim?: () => void } = {}) {
  let lines: { readonly id: number; readonly line: string }[] = []
  let last = 0
  const outbox: Outbox = {
    async read(afterId) {
      const left = lines.filter(({ id }) => id > afterId)
      hooks.onRead?.()
      const groups = left.slice(0, 400).map(({ id, line }) => ({ id, lines: [line] }))
      return { groups, more: left.length > 400 }
    },
    async trim(upToId) {
      hooks.onTrim?.()
      lines = lines.filter(({ id }) => id > upToId)
    },
    async continueAfter(id) {
      if (last >= id) return false
      last = id
      return true
    },
    subscribe: () => () => undefined,
  }
  const add = (...added: string[]): void => {
    lines = [...lines, ...added.map((line) => ({ id: ++last, line }))]
  }
  return { outbox, add, held: () => lines.length }
}

let database: Database
let clock: ManualClock
let reports: string[]
beforeEach(async () => {
  database = await emptyDatabase()
  clock = manualClock()
  reports = []
  await migrate(database, auditMigrations)
})
afterEach(() => database.close())

const open = (outbox: Outbox = noLines, over: Database = database): Promise<AuditStore> =>
  createAuditStore({
    database: over,
    outbox,
    node: 'leader-1',
    random: randomBytes,
    clock,
    report: (message) => void reports.push(message),
  })

async function stored(node: string): Promise<Stored[]> {
  const { rows } = await database.query(
    'SELECT procid, msgid, incarnation, seq, prev_hash, hash, line FROM messages WHERE node = $1 ORDER BY id',
    [node],
  )
  return rows as Stored[]
}

function expectOneChain(rows: readonly Stored[]): void {
  let at = chainStart
  for (const row of rows) {
    expect(row.prev_hash).toBe(at.hash)
    at = extend(at, row.line)
    expect({ seq: row.seq, hash: row.hash }).toEqual(at)
  }
}

const numbered = (count: number, prefix = 'r'): string[] =>
  Array.from({ length: count }, (_, i) => fetchLine(`${prefix}${i + 1}`))

describe('records of the Leader itself', () => {
  test('are numbered and chained in the order of their requests', async () => {
    const store = await open()
    await Promise.all(numbered(1_200).map((line) => store.append([line])))
    const rows = await stored('leader-1')
    expect(rows.map(({ procid }) => procid)).toEqual(Array.from({ length: 1_200 }, (_, i) => `r${i + 1}`))
    expectOneChain(rows)
  })

  test('are refused when the database does not answer, also those that waited behind others', async () => {
    const store = await open()
    await store.append(numbered(1, 'before'))
    const other = await database.session()
    await other.query('BEGIN')
    await other.query('LOCK TABLE messages IN ACCESS EXCLUSIVE MODE')

    const outcome = (promise: Promise<void>) =>
      promise.then(
        () => 'stored',
        (error) => error.code as string,
      )
    const first = outcome(store.append(numbered(1, 'first')))
    await clock.sleeping(limits.auditPatienceMs)
    clock.advance(limits.auditPatienceMs / 2)
    const second = outcome(store.append(numbered(1, 'second')))
    clock.advance(limits.auditPatienceMs / 2)
    expect(await first).toBe('audit_unavailable')
    // The second has used up half of its patience already.
    await clock.sleeping(limits.auditPatienceMs / 2)
    clock.advance(limits.auditPatienceMs / 2)
    expect(await second).toBe('audit_unavailable')

    await other.query('COMMIT')
    other.release()
    await store.append(numbered(1, 'after'))
    const rows = await stored('leader-1')
    expect(rows.at(-1)!.procid).toBe('after1')
    expectOneChain(rows)
  })

  test('wait a little longer after a turn of the event loop that was longer than their patience', async () => {
    const store = await open()
    const other = await database.session()
    await other.query('BEGIN')
    await other.query('LOCK TABLE messages IN ACCESS EXCLUSIVE MODE')
    const first = store.append(numbered(1, 'first'))
    await clock.sleeping(limits.auditPatienceMs)
    // The timer is late: as when a large policy was planned meanwhile.
    clock.advance(limits.auditPatienceMs * 3)
    await clock.sleeping(limits.auditLastTryMs)
    await other.query('COMMIT')
    other.release()
    await first
    expect((await stored('leader-1')).map(({ procid }) => procid)).toEqual(['first1'])
  })

  test('are refused at once when too many wait', async () => {
    const store = await open()
    const all = Array.from({ length: limits.auditAppendsWaiting + 1 }, () => store.append(numbered(1)))
    await expect(all.at(-1)).rejects.toMatchObject({ code: 'audit_unavailable' })
    await Promise.all(all.slice(0, -1))
  })

  test('a Postgres that is killed refuses them, and stores them again when it is back', async () => {
    const store = await open()
    await store.append(numbered(3, 'before'))
    process.kill((await testServer()).pid()!, 'SIGKILL')
    const refused = new Set<string>()
    let storedAfter = 0
    // Sessions may outlive the killed server for a moment, so the first of these may still be stored.
    for (let attempt = 1; refused.size === 0 || storedAfter < 3; attempt++) {
      const answer = await store.append(numbered(1, `after${attempt}-`)).then(
        () => 'stored',
        (error) => error.code as string,
      )
      if (answer === 'stored') storedAfter += refused.size
      else {
        refused.add(answer)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    expect([...refused]).toEqual(['audit_unavailable'])
    const rows = await stored('leader-1')
    expect(rows.slice(0, 3).map(({ procid }) => procid)).toEqual(['before1', 'before2', 'before3'])
    expectOneChain(rows)
  })

  test('a name with a character that the database cannot hold is stored all the same', async () => {
    const store = await open()
    await store.append([fetchLine('r1', 'acme:variable:a\u0000b'), fetchLine('r2', 'acme:variable:\ud800')])
    const rows = await stored('leader-1')
    expect(rows.map(({ procid }) => procid)).toEqual(['r1', 'r2'])
    expectOneChain(rows)
  })
})

describe('records of Followers', () => {
  const from = { node: 'follower-1', incarnation: 'i1' }

  test('arrive exactly once, whatever is sent again by whom', async () => {
    const random = seeded(runSeed('audit receive'))
    const store = await open()
    const records = chained(numbered(400))
    let acknowledged = 0
    while (acknowledged < records.length) {
      // An old connection and a new one: both start at or before what is acknowledged.
      const batches = [0, 0].map(() => {
        const start = random.int(0, acknowledged + 1)
        return records.slice(start, start + random.int(0, 60))
      })
      const answers = await Promise.allSettled(batches.map((batch) => store.receive(from, batch)))
      for (const answer of answers) {
        if (answer.status !== 'fulfilled') continue
        expect(answer.value.kind).toBe('stored')
        acknowledged = Math.max(acknowledged, answer.value.seq)
      }
    }
    const rows = await stored('follower-1')
    expect(rows.map(({ line }) => line)).toEqual(records.map(({ line }) => line))
    expectOneChain(rows)
    expect(await store.held(from)).toBe(400)
  })

  test('an empty batch changes nothing, even when it is stored late', async () => {
    const store = await open()
    let passed: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      passed = resolve
    })
    const slow: Database = {
      ...database,
      transaction: (body) =>
        database.transaction((session) =>
          body({
            ...session,
            query: async (text, params) => {
              const result = await session.query(text, params)
              if (text.startsWith('SELECT last_seq')) await gate
              return result
            },
          }),
        ),
    }
    const late = (await open(noLines, slow)).receive(from, [])
    expect(await store.receive(from, chained(numbered(5)))).toEqual({ kind: 'stored', seq: 5 })
    passed()
    await late
    expect(await store.held(from)).toBe(5)
  })

  test('a gap is refused, stores nothing, and is recorded once', async () => {
    const store = await open()
    const records = chained(numbered(9))
    await store.receive(from, records.slice(0, 3))
    for (let attempt = 0; attempt < 3; attempt++)
      expect(await store.receive(from, records.slice(5))).toEqual({ kind: 'gap', seq: 6 })
    expect(await store.held(from)).toBe(3)
    const alarms = (await stored('leader-1')).filter(({ msgid }) => msgid === 'audit')
    expect(alarms.map(({ line }) => line)).toEqual([
      expect.stringMatching(/^<85>1 .* audit .*node="follower-1" incarnation="i1" seq="6".*operation="gap"/),
    ])
    // What was missing may still come.
    expect(await store.receive(from, records)).toEqual({ kind: 'stored', seq: 9 })
  })

  test.each([
    ['the newest known record', 5],
    ['an older known record', 2],
    ['the record after the known ones', 6],
  ])('another history is refused from %s on, and recorded', async (_, seq) => {
    const store = await open()
    const lines = numbered(8)
    await store.receive(from, chained(lines.slice(0, 5)))
    const other = chained(lines.map((line, i) => (i + 1 === Math.min(seq, 5) ? fetchLine('changed') : line)))
    expect(await store.receive(from, other.slice(seq - 1, seq))).toEqual({ kind: 'fork', seq })
    expect((await stored('follower-1')).map(({ line }) => line)).toEqual(lines.slice(0, 5))
    const alarms = (await stored('leader-1')).filter(({ msgid }) => msgid === 'audit')
    expect(alarms).toHaveLength(1)
    expect(alarms[0]!.line).toContain('operation="fork"')
  })

  test('a new incarnation is a new stream', async () => {
    const store = await open()
    await store.receive(from, chained(numbered(5)))
    const again = await store.receive({ node: 'follower-1', incarnation: 'i2' }, chained(numbered(2)))
    expect(again).toEqual({ kind: 'stored', seq: 2 })
  })
})

describe('records of writes', () => {
  test('of a Leader whose ledger was restored are stored all the same, and somebody is told', async () => {
    const before = memoryOutbox()
    before.add(fetchLine('a'), fetchLine('b'))
    await (await open(before.outbox)).drain()
    expect(reports).toEqual([])
    const restored = memoryOutbox()
    const store = await open(restored.outbox)
    expect(reports).toEqual([expect.stringContaining('older than the audit database')])
    restored.add(fetchLine('c'))
    await store.drain()
    expect((await stored('leader-1')).map(({ procid }) => procid)).toEqual(['a', 'b', 'c'])
  })

  test('go from the outbox into the database in order, and are trimmed', async () => {
    const { outbox, add, held } = memoryOutbox()
    const store = await open(outbox)
    add(...numbered(1_100))
    await store.drain()
    const rows = await stored('leader-1')
    expect(rows.map(({ procid }) => procid)).toEqual(Array.from({ length: 1_100 }, (_, i) => `r${i + 1}`))
    expectOneChain(rows)
    expect(held()).toBe(0)
  })

  test('a line that comes while the outbox is read is not left behind', async () => {
    let arrive: (() => void) | undefined
    const { outbox, add, held } = memoryOutbox({
      onRead() {
        const arriving = arrive
        arrive = undefined
        arriving?.()
      },
    })
    const store = await open(outbox)
    let joined: Promise<void> | undefined
    arrive = () => {
      add(...numbered(1))
      joined = store.drain()
    }
    await store.drain()
    await joined
    expect(held()).toBe(0)
    expect(await stored('leader-1')).toHaveLength(1)
  })

  test('a crash between commit and trim stores nothing twice', async () => {
    let crash = true
    const { outbox, add, held } = memoryOutbox({
      onTrim() {
        if (crash) throw new Error('crashed')
      },
    })
    add(...numbered(3))
    await expect((await open(outbox)).drain()).rejects.toMatchObject({ code: 'audit_unavailable' })
    crash = false
    add(fetchLine('r4'))
    await (await open(outbox)).drain()
    const rows = await stored('leader-1')
    expect(rows.map(({ procid }) => procid)).toEqual(['r1', 'r2', 'r3', 'r4'])
    expectOneChain(rows)
    expect(held()).toBe(0)
  })

  test('a commit whose outcome is unknown, and which is still under way, stores nothing twice', async () => {
    let reads = 0
    const { outbox, add, held } = memoryOutbox({
      // The server is through with it only when the second pass has read the same lines.
      onRead: () => void (++reads === 2 && commit()),
    })
    add(...numbered(3))
    let commit: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      commit = resolve
    })
    let written: () => void = () => undefined
    const reached = new Promise<void>((resolve) => {
      written = resolve
    })
    let under: Promise<unknown> = Promise.resolve()
    // The connection is lost to the client, and the server commits in its own time.
    const cutOff: Database = {
      ...database,
      async transaction(body) {
        under = database.transaction(async (session) => {
          const result = await body(session)
          written()
          await gate
          return result
        })
        await reached
        throw new Error('connection lost')
      },
    }
    await expect((await open(outbox, cutOff)).drain()).rejects.toMatchObject({ code: 'audit_unavailable' })
    await Promise.all([under, (await open(outbox)).drain()])
    const rows = await stored('leader-1')
    expect(rows.map(({ procid }) => procid)).toEqual(['r1', 'r2', 'r3'])
    expectOneChain(rows)
    expect(held()).toBe(0)
  })

  test('drains again after the database was gone', async () => {
    const { outbox, add } = memoryOutbox()
    let gone = false
    const store = await open(outbox, {
      ...database,
      query: (text, params) => (gone ? Promise.reject(new Error('gone')) : database.query(text, params)),
    })
    add(...numbered(2))
    gone = true
    await expect(store.drain()).rejects.toMatchObject({ code: 'audit_unavailable' })
    gone = false
    await store.drain()
    expect(await stored('leader-1')).toHaveLength(2)
  })
})
