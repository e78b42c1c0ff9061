// Waiting with a bound: whatever is asked of Postgres is answered in its time, or rejected.
import { DomainError } from '#shared/base/errors.ts'
import type { Clock } from '#shared/base/time.ts'

export const POLL_MS = 10

/** Throws `unavailable` when `work` takes longer; it goes on by itself then. */
export async function within<T>(clock: Clock, ms: number, what: string, work: Promise<T>): Promise<T> {
  const over = new AbortController()
  const late = clock.sleep(ms, over.signal).then((): T => {
    throw new DomainError('unavailable', `${what}: not within ${ms} ms`)
  })
  // Without a listener the clock's own error would end the process when the work has won.
  late.catch(() => undefined)
  try {
    return await Promise.race([work, late])
  } finally {
    over.abort()
  }
}

/** Asks again until it is so. Throws `unavailable` when that takes longer. */
export async function until(
  clock: Clock,
  ms: number,
  what: string,
  isSo: () => Promise<boolean>,
): Promise<void> {
  const giveUpAt = clock.monotonic() + ms
  while (!(await isSo())) {
    if (clock.monotonic() > giveUpAt) throw new DomainError('unavailable', `${what}: not within ${ms} ms`)
    await clock.sleep(POLL_MS)
  }
}
