/** Wait before the next attempt: doubled up to five seconds, and spread so that Followers do not come all at once. `random`: 0…1. */
export function backoffMs(failures: number, random: number): number {
  const full = Math.min(5_000, 100 * 2 ** Math.min(failures, 10))
  return full / 2 + (full / 2) * random
}
