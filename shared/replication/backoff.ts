/** Nobody leads: a new Leader is to be found within two seconds, and to be asked in vain costs a balancer little. */
const MOST_UNMET_MS = 1_000
/** A Leader that was met and could not be gone on with: each try may cost it a snapshot. */
const MOST_MET_MS = 5_000

/** Wait before the next attempt: doubled up to its most, and spread so that Followers do not come all at once. `random`: 0…1. */
export function backoffMs(failures: number, met: boolean, random: number): number {
  const most = met ? MOST_MET_MS : MOST_UNMET_MS
  const full = Math.min(most, 100 * 2 ** Math.min(failures, 10))
  return full / 2 + (full / 2) * random
}
