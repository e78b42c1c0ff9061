// What is at stake: a Follower that cannot get on with its Leader stays what it is, comes back ever more slowly,
// and says why.
import { expect, test } from 'vitest'
import { follow, type LinkStatus } from '#edge-follower/link/link.ts'
import { HashMismatch, type ReplicaStore } from '#edge-follower/store/replica.ts'
import type { Position } from '#shared/ledger/position.ts'
import { backoffMs } from '#shared/replication/backoff.ts'
import {
  decodeToLeader,
  encodeMessage,
  type ToFollower,
  type ToLeader,
} from '#shared/replication/messages.ts'
import type { Dial } from '#shared/replication/wire.ts'
import { manualClock } from '../../../support/manual-clock.ts'
import { wirePair } from '../../../support/wire-pair.ts'

const contentHash = 'a'.repeat(64)
const at = (seq: number): Position => ({ epoch: 1, seq })
const welcome = (mode: 'live' | 'snapshot'): ToFollower => ({
  type: 'welcome',
  position: at(5),
  mode,
  reason: null,
  leaderUrl: null,
  leaderTime: 0,
})
const commit = (seq: number): ToFollower => ({
  type: 'commit',
  position: at(seq),
  at: 0,
  contentHash,
  part: 0,
  parts: 1,
  changes: [],
})
const emptySnapshot: Extract<ToFollower, { type: 'snapshot' }> = {
  type: 'snapshot',
  header: { id: 'abc', position: at(5), contentHash, at: 0, chunks: 0 },
}

/** A second welcome is out of turn. */
const endsTheSession = welcome('live')

/** A copy that holds 1.5; `mismatch` makes everything that is stored differ from the Leader's. */
function fakeStore(mismatch = false) {
  const applied: number[] = []
  const newestAt: number[] = []
  const check = (): void => {
    if (mismatch) throw new HashMismatch('1.6')
  }
  const store: ReplicaStore = {
    held: () => ({ position: at(5), contentHash }),
    apply(commit, time) {
      check()
      applied.push(commit.position.seq)
      newestAt.push(time)
    },
    staged: () => undefined,
    stageBegin: () => undefined,
    stageChunk: () => undefined,
    stageFinish(time) {
      check()
      newestAt.push(time)
      return { position: at(5), contentHash }
    },
    stageDrop: () => undefined,
  }
  return { ...store, applied, newestAt }
}

/** `says`: what the Leader of each connection says after hello; when there is none left, it cannot be reached. */
function start(store: ReplicaStore, says: ToFollower[][]) {
  const clock = manualClock()
  const stopping = new AbortController()
  const heard: ToLeader[][] = []
  const statuses: LinkStatus[] = []
  const reports: string[] = []
  const alarms: string[] = []
  const dial: Dial = async () => {
    const script = says.shift()
    if (script === undefined) throw new Error('the Leader cannot be reached')
    const { near, far } = wirePair()
    const messages: ToLeader[] = []
    heard.push(messages)
    const listening = (async () => {
      for await (const frame of far.messages()) messages.push(decodeToLeader(frame))
    })()
    for (const message of script) await far.send(encodeMessage(message))
    void listening
    return near
  }
  const done = follow(
    {
      store,
      dial,
      clock,
      random: () => 1,
      set: 'full',
      incarnation: 1,
      keys: [],
      gunzip: (packed) => packed,
      onApplied: () => undefined,
      onStatus: (status) => void statuses.push(status),
      report: (message) => void reports.push(message),
      alarm: (message) => void alarms.push(message),
    },
    stopping.signal,
  )
  return {
    heard,
    statuses,
    reports,
    alarms,
    done,
    /** Waits for the pause of this length, and ends it. */
    async pause(ms: number): Promise<void> {
      await clock.sleeping(ms)
      clock.advance(ms)
    },
    async stop(): Promise<void> {
      stopping.abort()
      await done
    },
  }
}

test('pauses double up to five seconds, or one where nobody was met, and are spread over their second half', () => {
  const pauses = (met: boolean) => [0, 1, 2, 5, 6, 1_000].map((failures) => backoffMs(failures, met, 1))
  expect(pauses(true)).toEqual([100, 200, 400, 3_200, 5_000, 5_000])
  expect(pauses(false)).toEqual([100, 200, 400, 1_000, 1_000, 1_000])
  expect(backoffMs(3, true, 0)).toBe(400)
})

test('a Leader that cannot be reached is tried every second, so that a new one is found soon, and reported once', async () => {
  const running = start(fakeStore(), [])
  for (const ms of [100, 200, 400, 800, 1_000, 1_000, 1_000]) await running.pause(ms)
  await running.stop()
  expect(running.reports).toEqual(['the link to the Leader ended: the Leader cannot be reached'])
  expect(running.statuses.at(-1)).toMatchObject({
    state: 'connecting',
    lastError: 'the Leader cannot be reached',
  })
})

test('a snapshot that never fits is asked for ever more slowly, though every session begins well', async () => {
  const bad = [welcome('snapshot'), emptySnapshot]
  const running = start(fakeStore(true), [bad, bad, bad, bad])
  for (const ms of [100, 200, 400, 800]) await running.pause(ms)
  await running.stop()
  expect(running.heard.flat().filter(({ type }) => type === 'error')).toHaveLength(4)
})

test('after a commit was stored, pauses are short again', async () => {
  const store = fakeStore()
  const running = start(store, [[commit(6)], [commit(6)], [welcome('live'), commit(6), commit(8)]])
  for (const ms of [100, 200, 100]) await running.pause(ms)
  await running.stop()
  expect(store.applied).toEqual([6])
})

test('a link that is stopped while it dials, or while the Leader is silent, ends', async () => {
  await start(fakeStore(), [[]]).stop()
  const silent = start(fakeStore(), [[welcome('live')]])
  while (silent.statuses.at(-1)?.state !== 'live') await new Promise((resolve) => setImmediate(resolve))
  await silent.stop()
  expect(silent.reports).toEqual([])
})

test('a copy that was found wrong is not offered again until a snapshot is complete', async () => {
  const mismatching = [welcome('live'), commit(6)]
  const running = start(fakeStore(true), [mismatching, [welcome('live')]])
  await running.pause(100)
  await running.pause(200)
  await running.stop()
  const hellos = running.heard.map(([first]) => first)
  expect(hellos).toMatchObject([{ held: { position: at(5) } }, { held: null }])
  expect(running.heard[0]).toContainEqual({
    type: 'error',
    code: 'HASH_MISMATCH',
    message: expect.stringContaining('1.6'),
  })
  expect(running.statuses.map(({ lastError }) => lastError)).toContainEqual(
    expect.stringContaining('not held here'),
  )
})

test('a copy that differs, or is ahead, is an alarm until a snapshot is complete', async () => {
  const ahead: ToFollower = { ...welcome('snapshot'), reason: 'POSITION_AHEAD' } as ToFollower
  const running = start(fakeStore(), [
    [ahead, endsTheSession],
    [ahead, emptySnapshot, endsTheSession],
  ])
  await running.pause(100)
  await running.pause(100)
  await running.stop()
  expect(running.alarms).toEqual(Array(2).fill('a snapshot is taken: POSITION_AHEAD, the Leader is at 1.5'))
  const seen = running.statuses.map(({ distrust }) => distrust)
  expect(seen.slice(0, seen.indexOf('POSITION_AHEAD'))).toEqual([undefined, undefined])
  expect(seen.at(-1)).toBeUndefined()

  const wrong = start(fakeStore(true), [[welcome('live'), commit(6)]])
  await wrong.pause(100)
  await wrong.stop()
  expect(wrong.statuses.at(-1)).toMatchObject({ distrust: 'HASH_MISMATCH' })
  expect(wrong.alarms).toEqual([expect.stringContaining('1.6')])
})

test('data is as old as the Leader says on its own clock, and never younger', async () => {
  const now = Date.UTC(2026, 0, 5)
  const minute = 60_000
  const store = fakeStore()
  const greeting = (leaderTime: number): ToFollower => ({ ...welcome('live'), leaderTime }) as ToFollower
  const made = (seq: number, time: number): ToFollower => ({ ...commit(seq), at: time }) as ToFollower
  const running = start(store, [
    // A Leader whose clock is a minute ahead sends what it made three seconds ago, then something from the future.
    [
      greeting(now + minute),
      made(6, now + minute - 3_000),
      made(7, now + minute + 5_000),
      made(8, now + minute),
      endsTheSession,
    ],
    // One whose clock is behind, and a snapshot that it made an hour ago.
    [
      { ...welcome('snapshot'), leaderTime: now - minute } as ToFollower,
      { ...emptySnapshot, header: { ...emptySnapshot.header, at: now - minute - 60 * minute } },
      endsTheSession,
    ],
  ])
  await running.pause(100)
  await running.pause(100)
  await running.stop()
  const ages = store.newestAt.map((time) => now - time)
  // The first pause is 100 ms of our own clock.
  expect(ages).toEqual([3_000, 0, 5_000, 60 * minute - 100])
})

test('SUPERSEDED ends the link for good', async () => {
  const running = start(fakeStore(), [[{ type: 'error', code: 'SUPERSEDED', message: 'a newer one' }]])
  await running.done
  expect(running.statuses.at(-1)).toMatchObject({ state: 'superseded', lastError: 'SUPERSEDED: a newer one' })
})
