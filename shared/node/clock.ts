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
