// Time that stands still until a test moves it.
import { type Clock, monotonic, wall } from '#shared/base/time.ts'

export type ManualClock = Clock & {
  /** Moves time on, and wakes who has slept long enough, in the order of their hours. */
  advance(ms: number): void
  /** Resolves when somebody sleeps for `ms`; at once when somebody already does. */
  sleeping(ms: number): Promise<void>
}

type Sleeper = { readonly ms: number; readonly until: number; readonly wake: () => void }

export function manualClock(startAt = Date.UTC(2026, 0, 5)): ManualClock {
  let elapsed = 0
  const sleepers = new Set<Sleeper>()
  const watchers = new Set<{ readonly ms: number; readonly seen: () => void }>()
  return {
    wall: () => wall(startAt + elapsed),
    monotonic: () => monotonic(elapsed),
    sleep(ms, signal) {
      return new Promise((resolve) => {
        if (signal?.aborted) return resolve()
        const sleeper: Sleeper = {
          ms,
          until: elapsed + ms,
          wake() {
            sleepers.delete(sleeper)
            resolve()
          },
        }
        sleepers.add(sleeper)
        signal?.addEventListener('abort', sleeper.wake, { once: true })
        for (const watcher of watchers) {
          if (watcher.ms !== ms) continue
          watchers.delete(watcher)
          watcher.seen()
        }
      })
    },
    advance(ms) {
      elapsed += ms
      const due = [...sleepers].filter(({ until }) => until <= elapsed).sort((a, b) => a.until - b.until)
      for (const sleeper of due) sleeper.wake()
    },
    sleeping(ms) {
      if ([...sleepers].some((sleeper) => sleeper.ms === ms)) return Promise.resolve()
      return new Promise((seen) => void watchers.add({ ms, seen }))
    },
  }
}
