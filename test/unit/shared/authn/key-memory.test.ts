// What a request may have of a source's keys, on a clock that a test moves: the limiter, freshness, and the end of keys.
import { expect, test } from 'vitest'
import {
  fetchEnded,
  type HeldKeys,
  type Moment,
  nothing,
  type Remembered,
  wantCheck,
  wantKey,
} from '#shared/authn/key-memory.ts'
import { limits } from '#shared/base/limits.ts'
import { monotonic, wall } from '#shared/base/time.ts'
import { runSeed, seeded } from '../../../support/random.ts'

const START = Date.UTC(2026, 0, 5)
const DAY = 24 * 60 * 60 * 1000
const at = (ms: number): Moment => ({ wall: wall(START + ms), monotonic: monotonic(ms) })
const keys = (...kids: string[]): HeldKeys['keys'] => ({ keys: kids.map((kid) => ({ kty: 'RSA', kid })) })
const fetchedAt = (ms: number, ...kids: string[]): HeldKeys => ({
  keys: keys(...kids),
  fetchedAt: wall(START + ms),
  fetch: 0,
})
const holding = (ms: number, ...kids: string[]): Remembered => ({ ...nothing, held: fetchedAt(ms, ...kids) })
const want = (state: Remembered, kid: string | undefined, ms: number, maxAgeMs = DAY) =>
  wantKey(state, kid, at(ms), maxAgeMs)

test('what is held answers, and nobody is asked', () => {
  const state = holding(0, 'a')
  for (const kid of ['a', undefined])
    expect(want(state, kid, limits.keysFreshMs - 1)).toEqual([
      state,
      { kind: 'held', held: state.held, refresh: false },
    ])
})

test('who is first to want a key fetches, the others wait for that', () => {
  const [first, found] = want(nothing, 'a', 0)
  expect(found).toEqual({ kind: 'fetch', joins: false })
  const [second, joined] = want(first, 'b', 0)
  expect(joined).toEqual({ kind: 'fetch', joins: true })
  expect(second.waiting).toBe(2)
  expect(fetchEnded(second, fetchedAt(0, 'a'))).toMatchObject({ isFetching: false, waiting: 0 })
})

test('no more wait than are allowed to: the others have what is held, or nothing', () => {
  const full = { ...nothing, isFetching: true, waiting: limits.keyFetchWaiting }
  expect(want(full, 'a', 0)[1]).toEqual({ kind: 'limited' })
  const held = fetchedAt(0, 'a')
  expect(want({ ...full, held }, 'b', 0)[1]).toEqual({ kind: 'held', held, refresh: false })
})

test('unknown names of keys: ten fetches in 300 s, and one more for each that is as long ago (http-api 8.8)', () => {
  let state: Remembered = holding(0, 'a')
  let fetches = 0
  const ask = (ms: number) => {
    const [next, found] = want(state, 'x', ms)
    if (found.kind === 'fetch') fetches++
    state = found.kind === 'fetch' ? fetchEnded(next, fetchedAt(ms, 'a')) : next
    return found.kind
  }
  for (let ms = 0; ms < 300_000; ms += 100) ask(ms)
  expect(fetches).toBe(10)
  expect(ask(299_999)).toBe('held')
  expect(ask(300_000)).toBe('fetch')
  expect(ask(300_000)).toBe('held')
  expect(ask(300_100)).toBe('fetch')
})

test('whatever is asked when, no 300 s have more than ten such fetches', () => {
  const random = seeded(runSeed('key memory'))
  let state: Remembered = nothing
  const fetches: number[] = []
  for (let ms = 0; ms < 5_000_000; ms += random.int(0, 20_000)) {
    const [next, found] = want(state, random.pick(['a', 'b', 'x', undefined]), ms)
    state = next
    if (found.kind === 'fetch' && !found.joins) fetches.push(ms)
    const ends = state.isFetching && random.next() < 0.7
    if (ends) state = fetchEnded(state, random.next() < 0.3 ? fetchedAt(ms, 'a', 'b') : undefined)
  }
  expect(fetches.length).toBeGreaterThan(20)
  for (const [i, ms] of fetches.entries())
    expect(ms - (fetches[i - 10] ?? -Infinity)).toBeGreaterThanOrEqual(300_000)
})

test('the limiter before any keys: nothing', () => {
  let state: Remembered = nothing
  for (let n = 0; n < 10; n++) state = fetchEnded(want(state, 'a', n)[0], undefined)
  expect(want(state, 'a', 11)[1]).toEqual({ kind: 'limited' })
  expect(want(state, 'a', 300_000)[1]).toEqual({ kind: 'fetch', joins: false })
})

test('older ones are refreshed while they answer, and a failed refresh is not tried again at once', () => {
  const state = holding(0, 'a')
  const [refreshing, found] = want(state, 'a', limits.keysFreshMs)
  expect(found).toEqual({ kind: 'held', held: state.held, refresh: true })
  expect(want(refreshing, 'a', limits.keysFreshMs)[1]).toMatchObject({ kind: 'held', refresh: false })
  const failed = fetchEnded(refreshing, undefined)
  const retryAt = limits.keysFreshMs + limits.keysRefreshRetryMs
  expect(want(failed, 'a', retryAt - 1)[1]).toMatchObject({ kind: 'held', refresh: false })
  expect(want(failed, 'a', retryAt)[1]).toMatchObject({ kind: 'held', refresh: true })
  expect(failed.wanted).toEqual([])
})

test('a key that the provider has taken back answers no more after the refresh', () => {
  const [refreshing] = want(holding(0, 'a', 'b'), 'a', limits.keysFreshMs)
  const state = fetchEnded(refreshing, fetchedAt(limits.keysFreshMs, 'b'))
  expect(want(state, 'a', limits.keysFreshMs)[1]).toEqual({ kind: 'fetch', joins: false })
})

test('keys of a provider that is away prove tokens until their time is over', () => {
  const state = holding(0, 'a')
  expect(want(state, 'a', DAY - 1)[1].kind).toBe('held')
  const [fetching, found] = want(state, 'a', DAY)
  expect(found.kind).toBe('fetch')
  expect(want(fetchEnded(fetching, undefined), 'a', DAY)[1].kind).toBe('fetch')
})

test('a clock that was set back makes no key good for ever', () => {
  expect(want(holding(DAY, 'a'), 'a', 0)[1].kind).toBe('fetch')
  expect(want(holding(DAY - 1, 'a'), 'a', 0)[1]).toMatchObject({ kind: 'held', refresh: true })
})

test('the same keys stay the same object', () => {
  const state = holding(0, 'a')
  const same = fetchEnded(state, fetchedAt(7, 'a'))
  expect(same.held!.keys).toBe(state.held!.keys)
  expect(same.held!.fetchedAt).toBe(START + 7)
  expect(fetchEnded(state, fetchedAt(7, 'b')).held!.keys).toEqual(keys('b'))
})

test('status checks have an allowance of their own', () => {
  let state: Remembered = nothing
  for (let n = 0; n < limits.keyChecks; n++) {
    const [next, found] = wantCheck(state, at(n))
    expect(found).toBe('fetch')
    expect(wantCheck(next, at(n))[1]).toBe('join')
    state = fetchEnded(next, undefined)
  }
  expect(wantCheck(state, at(100))[1]).toBe('told')
  expect(want(state, 'a', 100)[1].kind).toBe('fetch')
  expect(wantCheck(state, at(limits.keyFetchesPerMs))[1]).toBe('fetch')
})
