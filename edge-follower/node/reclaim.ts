// Pages that are free go back to the disk: after a snapshot half of the file is (architecture P3), after a long
// time without the Leader most of an audit queue.
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import type { NodeSqlite } from './sqlite.ts'

export type Reclaiming = {
  /** A connection that writes. */
  readonly sqlite: Pick<NodeSqlite, 'raw'>
  readonly clock: Clock
  readonly report: (message: string) => void
}

/** Looks from time to time until the signal is aborted. */
export async function reclaimSpace(reclaiming: Reclaiming, signal: AbortSignal): Promise<void> {
  for (;;) {
    await reclaiming.clock.sleep(limits.reclaimPauseMs, signal)
    if (signal.aborted) return
    try {
      await shorten(reclaiming, signal)
    } catch (error) {
      // A full or busy disk: nothing is lost by trying again later.
      reclaiming.report(
        `free pages were not given back: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
  }
}

/** In small steps, between which others write. */
async function shorten({ sqlite, clock }: Reclaiming, signal: AbortSignal): Promise<void> {
  // Few free pages are left where they are: the next rows take them.
  const enough = Math.max(limits.reclaimStepPages, count(sqlite, 'page_count') / 8)
  let free = count(sqlite, 'freelist_count')
  while (!signal.aborted && free > enough) {
    sqlite.raw.pragma(`incremental_vacuum(${limits.reclaimStepPages})`)
    const left = count(sqlite, 'freelist_count')
    // A file from before this setting keeps its pages.
    if (left >= free) return
    free = left
    await clock.sleep(limits.reclaimRestMs, signal)
  }
}

const count = ({ raw }: Reclaiming['sqlite'], pragma: 'page_count' | 'freelist_count'): number =>
  raw.pragma(pragma, { simple: true }) as number
