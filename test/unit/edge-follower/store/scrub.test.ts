// A copy whose bytes changed on the disk is found, and serves no more.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ReplicaStore } from '#edge-follower/store/replica.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { type ScrubOptions, scrub, scrubOnce } from '#edge-follower/store/scrub.ts'
import type { Sqlite } from '#edge-follower/store/sqlite.ts'
import { limits } from '#shared/base/limits.ts'
import { type Clock, wall } from '#shared/base/time.ts'
import { put } from '#shared/ledger/change.ts'
import { rowDigest } from '#shared/ledger/digest.ts'
import { tableNames } from '#shared/ledger/tables.ts'
import { inMemory, takeSnapshot } from '../../../support/copy.ts'
import { manualClock } from '../../../support/manual-clock.ts'
import { runSeed, seeded } from '../../../support/random.ts'
import { randomChanges, Source } from '../../../support/source.ts'

const seed = runSeed('scrub')
let sqlite: Sqlite
let replica: ReplicaStore
let source: Source
const never = new AbortController().signal
beforeEach(() => {
  sqlite = inMemory()
  replica = createReplicaStore(sqlite)
  source = new Source()
  source.commit(randomChanges(seeded(seed), 400))
  source.commit([
    put('heartbeats', { id: 1, at: 1 }),
    put('roles', { id: 'acme:user:fixed', policy: null, created_at: 1 }),
  ])
  takeSnapshot(replica, source)
})
afterEach(() => sqlite.close())

/** Rests at once; `between` is what others do meanwhile. */
function resting(between: (rest: number) => void = () => undefined): Clock {
  let rest = 0
  return {
    ...manualClock(),
    sleep: () => {
      between(++rest)
      return Promise.resolve()
    },
  }
}

const pass = (options: Partial<ScrubOptions> = {}) =>
  scrubOnce({ sqlite, clock: resting(), sliceRows: 7, ...options }, never)
const rowCount = (): number => tableNames.reduce((sum, table) => sum + source.rows(table).length, 0)

describe('a pass', () => {
  test('looks at every row once, whatever the size of its slices', async () => {
    for (const sliceRows of [1, 2, 7, 10_000]) {
      expect(await pass({ sliceRows })).toEqual({ kind: 'sound', rows: rowCount(), totalCompared: true })
    }
    expect(await pass({ sliceBytes: 1 })).toEqual({ kind: 'sound', rows: rowCount(), totalCompared: true })
  })

  test('brings only so many bytes into memory at once', async () => {
    const sealed = new Uint8Array(100_000)
    for (let version = 1; version <= 5; version++) {
      const secret = put('secrets', { resource: 'large', version, sealed, expires_at: null })
      replica.apply(source.commit([secret]), wall(0))
    }
    let largest = 0
    const watched: Sqlite = {
      ...sqlite,
      all(sql, params) {
        const rows = sqlite.all(sql, params)
        const bytes = rows.map((row) => (row.sealed instanceof Uint8Array ? row.sealed.length : 0))
        largest = Math.max(
          largest,
          bytes.reduce((sum, one) => sum + one, 0),
        )
        return rows
      },
    }
    expect(await pass({ sqlite: watched, sliceBytes: 250_000 })).toMatchObject({ kind: 'sound' })
    expect(largest).toBeLessThanOrEqual(250_000)
  })

  test('finds a cell that was changed', async () => {
    sqlite.run("UPDATE roles SET created_at = 2 WHERE id = 'acme:user:fixed'", [])
    expect(await pass()).toEqual({ kind: 'corrupt', what: 'a row of roles differs from its digest at 1.2' })
  })

  test('finds a row that is gone', async () => {
    sqlite.run("DELETE FROM roles WHERE id = 'acme:user:fixed'", [])
    expect(await pass()).toMatchObject({ kind: 'corrupt', what: expect.stringContaining('do not add up') })
  })

  test('finds a row that nobody sent, although its digest is right', async () => {
    const row = { id: 'acme:user:mallory', policy: null, created_at: 1 }
    sqlite.run('INSERT INTO roles VALUES (?1, ?2, ?3, ?4)', [row.id, null, 1, rowDigest('roles', row)])
    expect(await pass()).toMatchObject({ kind: 'corrupt', what: expect.stringContaining('do not add up') })
  })

  test('says of a page that cannot be read that it is damage', async () => {
    const broken: Sqlite = {
      ...sqlite,
      all(sql, params) {
        if (sql.includes('FROM permissions'))
          throw Object.assign(new Error('malformed'), { code: 'SQLITE_CORRUPT' })
        return sqlite.all(sql, params)
      },
    }
    const what = 'permissions cannot be read (SQLITE_CORRUPT) at 1.2'
    expect(await pass({ sqlite: broken })).toEqual({ kind: 'corrupt', what })
  })

  test('compares the sum although heartbeats come meanwhile', async () => {
    const clock = resting(() => replica.apply(source.heartbeat(), wall(0)))
    expect(await pass({ clock })).toMatchObject({ kind: 'sound', totalCompared: true })
  })

  test('data that changes meanwhile is no damage', async () => {
    const random = seeded(7)
    const clock = resting(() => replica.apply(source.commit(randomChanges(random, 3)), wall(0)))
    expect(await pass({ clock })).toMatchObject({ kind: 'sound', totalCompared: false })
    const switched = resting((rest) => {
      if (rest === 4) takeSnapshot(replica, source)
    })
    expect(await pass({ clock: switched })).toMatchObject({ kind: 'sound', totalCompared: false })
  })

  test('of a copy that does not exist yet is nothing', async () => {
    const empty = inMemory()
    createReplicaStore(empty)
    expect(await pass({ sqlite: empty })).toEqual({ kind: 'nothing' })
    empty.close()
  })
})

describe('the scrubber', () => {
  test('passes again and again until something is wrong, says it once and ends', async () => {
    const found: string[] = []
    const pauses: number[] = []
    const clock: Clock = {
      ...manualClock(),
      sleep(ms) {
        if (ms === limits.scrubPauseMs && pauses.push(ms) === 3) {
          sqlite.run("UPDATE roles SET created_at = 2 WHERE id = 'acme:user:fixed'", [])
        }
        return Promise.resolve()
      },
    }
    let sound = 0
    const onSound = () => sound++
    const onCorrupt = (what: string) => found.push(what)
    await scrub({ sqlite, clock, onSound, onCorrupt, report: found.push }, never)
    expect(sound).toBe(3)
    expect(found).toEqual(['a row of roles differs from its digest at 1.2'])
    expect(pauses).toHaveLength(3)
  })

  test('reports a pass that failed for another reason, and tries again', async () => {
    const stopping = new AbortController()
    const reports: string[] = []
    let fail = true
    const failing: Sqlite = {
      ...sqlite,
      all(sql, params) {
        if (fail) throw new Error('busy')
        return sqlite.all(sql, params)
      },
    }
    const clock: Clock = {
      ...manualClock(),
      sleep(ms) {
        if (ms === limits.scrubPauseMs) {
          if (!fail) stopping.abort()
          fail = false
        }
        return Promise.resolve()
      },
    }
    const onCorrupt = () => reports.push('corrupt')
    const onSound = () => undefined
    const report = (text: string) => reports.push(text)
    await scrub({ sqlite: failing, clock, onSound, onCorrupt, report }, stopping.signal)
    expect(reports).toEqual(['the copy was not scrubbed: busy'])
  })
})
