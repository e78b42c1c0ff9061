import { uptime } from 'node:os'
import { setTimeout as after } from 'node:timers/promises'
import { type Clock, monotonic, wall } from '../base/time.ts'

export const systemClock: Clock = {
  wall: () => wall(Date.now()),
  monotonic: () => monotonic(performance.now()),
  async sleep(ms, signal) {
    try {
      await after(ms, undefined, signal === undefined ? {} : { signal })
    } catch (error) {
      // Aborted: the sleeper was asked to stop waiting, which is no error.
      if (!signal?.aborted) throw error
    }
  },
}

/** The same zero in every process of a machine, and it goes on while the machine sleeps (CLOCK_BOOTTIME); steps of 10 ms. */
export const bootClock: Clock = { ...systemClock, monotonic: () => monotonic(uptime() * 1000) }

export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
