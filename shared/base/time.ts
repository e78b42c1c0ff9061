// Wall time says when, monotonic time says how long. They are different types, because mixing them is how
// leases and ages break when somebody sets the clock.

/** Milliseconds since 1970-01-01T00:00:00Z. */
export type Wall = number & { readonly clock: 'wall' }
/** Milliseconds of a clock that never goes back; its zero means nothing. */
export type Monotonic = number & { readonly clock: 'monotonic' }

export interface Clock {
  wall(): Wall
  monotonic(): Monotonic
  /** Resolves after `ms`, or at once when the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const wall = (ms: number): Wall => ms as Wall
export const monotonic = (ms: number): Monotonic => ms as Monotonic

/** `2026-01-05T10:20:30.000+00:00`: the form of resource and role JSON (http-api 2). */
export function jsonInstant(at: number): string {
  return new Date(at).toISOString().replace('Z', '+00:00')
}

/** `2026-01-05T10:20:30Z`: whole seconds, as tokens and rotation times are printed (http-api 9, 14). */
export function secondsInstant(at: number): string {
  return new Date(at).toISOString().replace(/\.\d{3}Z$/, 'Z')
}

const DURATION =
  /^P(?=.)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?$/
const unitsMs = [365 * 86_400_000, 30 * 86_400_000, 7 * 86_400_000, 86_400_000, 3_600_000, 60_000, 1_000]

/** An ISO 8601 duration in milliseconds, months counted as 30 days and years as 365; undefined when it is none, or nothing. */
export function durationMs(text: string): number | undefined {
  const parts = text.length > 60 ? null : DURATION.exec(text)
  if (parts === null) return undefined
  const total = unitsMs.reduce((sum, unit, i) => sum + Number(parts[i + 1] ?? 0) * unit, 0)
  return total > 0 && Number.isSafeInteger(total) ? total : undefined
}
