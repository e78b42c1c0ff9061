// A file does not stay as large as it once had to be.
import { statSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { reclaimSpace } from '#edge-follower/node/reclaim.ts'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { limits } from '#shared/base/limits.ts'
import { type Clock, wall } from '#shared/base/time.ts'
import { put } from '#shared/ledger/change.ts'
import { contentIn, contentOf, takeSnapshot, temporaryFolder } from '../../../support/copy.ts'
import { manualClock } from '../../../support/manual-clock.ts'
import { Source } from '../../../support/source.ts'

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => folder.remove())

function filled(source: Source): ReturnType<typeof openSqlite> {
  const sealed = new Uint8Array(20_000)
  source.commit(
    Array.from({ length: 300 }, (_, version) =>
      put('secrets', { resource: 'v', version, sealed, expires_at: null }),
    ),
  )
  const sqlite = openSqlite(`${folder.path}/data.db`, 'writer')
  const replica = createReplicaStore(sqlite)
  takeSnapshot(replica, source)
  takeSnapshot(replica, source)
  return sqlite
}

/** Ends at the second look; `between` is what others do between two steps. */
function untilLookedAgain(stopping: AbortController, between: () => void): Clock {
  let looks = 0
  return {
    ...manualClock(),
    sleep(ms) {
      if (ms !== limits.reclaimPauseMs) between()
      else if (++looks === 2) stopping.abort()
      return Promise.resolve()
    },
  }
}

test('after a snapshot the pages of the old data go back in steps, between which commits go on', async () => {
  const source = new Source()
  const sqlite = filled(source)
  const replica = createReplicaStore(sqlite)
  const size = (): number => {
    sqlite.all('PRAGMA wal_checkpoint(TRUNCATE)', [])
    return statSync(`${folder.path}/data.db`).size
  }
  const before = size()
  const stopping = new AbortController()
  let steps = 0
  const clock = untilLookedAgain(stopping, () => {
    steps++
    replica.apply(source.heartbeat(), wall(0))
  })
  const reports: string[] = []
  await reclaimSpace({ sqlite, clock, report: (text) => reports.push(text) }, stopping.signal)
  expect(reports).toEqual([])
  expect(steps).toBeGreaterThan(10)
  expect(size()).toBeLessThan(before * 0.65)
  expect(contentIn(sqlite)).toEqual(contentOf(source))
  expect(sqlite.all('PRAGMA integrity_check', [])).toEqual([{ integrity_check: 'ok' }])
  sqlite.close()
})

test('a failure is reported, and the next look comes', async () => {
  const sqlite = filled(new Source())
  const stopping = new AbortController()
  const reports: string[] = []
  sqlite.close()
  const clock = untilLookedAgain(stopping, () => undefined)
  await reclaimSpace({ sqlite, clock, report: (text) => reports.push(text) }, stopping.signal)
  expect(reports).toEqual([expect.stringContaining('free pages were not given back: ')])
})
