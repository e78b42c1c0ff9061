// Time in a Worker: it stands still between two events, so a computation cannot be timed with it.
import { type Clock, monotonic, wall } from '#shared/base/time.ts'

export const workerClock: Clock = {
  wall: () => wall(Date.now()),
  monotonic: () => monotonic(performance.now()),
  sleep(ms, signal) {
    if (signal?.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      signal?.addEventListener('abort', done)
    })
  },
}
