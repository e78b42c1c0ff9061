// What is remembered of one source of keys, and what a request may have of it (http-api 8.8): keys that are held, a fetch, or
// nothing. Pure: each function takes a state and the time, and returns the next state.
import { limits } from '../base/limits.ts'
import type { Clock, Monotonic, Wall } from '../base/time.ts'
import type { KeySet } from './provider-keys.ts'

export type HeldKeys = {
  /** The same object for as long as the keys are the same: whoever has read it may remember that by it. */
  readonly keys: KeySet
  readonly fetchedAt: Wall
  /** Tells one fetch of this process from another; 0: of an earlier process. */
  readonly fetch: number
}

export type Remembered = {
  readonly held: HeldKeys | undefined
  /** When fetches began because keys were wanted that are not held, and because somebody asked for the status. */
  readonly wanted: readonly Monotonic[]
  readonly checked: readonly Monotonic[]
  /** When the last fetch of any kind began. */
  readonly triedAt: Monotonic | undefined
  readonly isFetching: boolean
  /** Requests that wait for the fetch that is on its way. */
  readonly waiting: number
}

export const nothing: Remembered = {
  held: undefined,
  wanted: [],
  checked: [],
  triedAt: undefined,
  isFetching: false,
  waiting: 0,
}

export type Moment = { readonly wall: Wall; readonly monotonic: Monotonic }

export const momentOf = (clock: Clock): Moment => ({ wall: clock.wall(), monotonic: clock.monotonic() })

/**
 * `held`: these answer; `refresh`: and a fetch is to begin that nobody waits for. `fetch`: one is to begin, or is on its way
 * (`joins`), and is waited for. `limited`: nothing is held, and nobody may be asked now.
 */
export type Found =
  | { readonly kind: 'held'; readonly held: HeldKeys; readonly refresh: boolean }
  | { readonly kind: 'fetch'; readonly joins: boolean }
  | { readonly kind: 'limited' }

type Step<What> = readonly [Remembered, What]

/** A key for a token. `kid`: as it names it; undefined: it names none, and any key may be it. */
export function wantKey(
  state: Remembered,
  kid: string | undefined,
  now: Moment,
  maxAgeMs: number,
): Step<Found> {
  const held = state.held !== undefined && ageMs(state.held, now) < maxAgeMs ? state.held : undefined
  if (held !== undefined && holds(held, kid)) {
    const refresh = isRefreshDue(state, held, now)
    return [refresh ? begun(state, now) : state, { kind: 'held', held, refresh }]
  }
  const none: Found = held === undefined ? { kind: 'limited' } : { kind: 'held', held, refresh: false }
  if (state.isFetching) {
    if (state.waiting >= limits.keyFetchWaiting) return [state, none]
    return [
      { ...state, waiting: state.waiting + 1 },
      { kind: 'fetch', joins: true },
    ]
  }
  const wanted = recent(state.wanted, now)
  if (wanted.length >= limits.keyFetches) return [{ ...state, wanted }, none]
  const next = { ...begun(state, now), wanted: [...wanted, now.monotonic], waiting: 1 }
  return [next, { kind: 'fetch', joins: false }]
}

/** Whether the provider can be asked. `told`: it was asked often enough; the last answer counts. */
export function wantCheck(state: Remembered, now: Moment): Step<'fetch' | 'join' | 'told'> {
  if (state.isFetching) {
    if (state.waiting >= limits.keyFetchWaiting) return [state, 'told']
    return [{ ...state, waiting: state.waiting + 1 }, 'join']
  }
  const checked = recent(state.checked, now)
  if (checked.length >= limits.keyChecks) return [{ ...state, checked }, 'told']
  return [{ ...begun(state, now), checked: [...checked, now.monotonic], waiting: 1 }, 'fetch']
}

/** A fetch has ended; `fetched`: undefined when it failed, and then what was held stays. */
export const fetchEnded = (state: Remembered, fetched: HeldKeys | undefined): Remembered => ({
  ...state,
  held: fetched === undefined ? state.held : renewed(state.held, fetched),
  isFetching: false,
  waiting: 0,
})

/** The newer one, with the older's keys where they are the same. */
export const renewed = (older: HeldKeys | undefined, newer: HeldKeys): HeldKeys =>
  older !== undefined && JSON.stringify(older.keys) === JSON.stringify(newer.keys)
    ? { ...newer, keys: older.keys }
    : newer

export const holds = ({ keys }: HeldKeys, kid: string | undefined): boolean =>
  kid === undefined ? keys.keys.length > 0 : keys.keys.some((key) => key.kid === kid)

/** Nobody has to be asked about them yet. */
export const isFresh = (held: HeldKeys, now: Moment): boolean => ageMs(held, now) < limits.keysFreshMs

/** Of a clock that was set back the future is as far away as the past. */
const ageMs = ({ fetchedAt }: HeldKeys, { wall }: Moment): number => Math.abs(wall - fetchedAt)

export const isTooOld = (held: HeldKeys, now: Moment, maxAgeMs: number): boolean =>
  ageMs(held, now) >= maxAgeMs

/** A key that the provider has taken back is dropped by this, and one that is away is not asked at every request. */
const isRefreshDue = ({ isFetching, triedAt }: Remembered, held: HeldKeys, now: Moment): boolean =>
  !isFetching &&
  !isFresh(held, now) &&
  (triedAt === undefined || now.monotonic - triedAt >= limits.keysRefreshRetryMs)

const begun = (state: Remembered, { monotonic }: Moment): Remembered => ({
  ...state,
  triedAt: monotonic,
  isFetching: true,
})

const recent = (times: readonly Monotonic[], { monotonic }: Moment): readonly Monotonic[] =>
  times.filter((at) => monotonic - at < limits.keyFetchesPerMs)
