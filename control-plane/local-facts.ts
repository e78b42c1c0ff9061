// What the process that answers clients knows of its own node, whatever the node is: its Postgres and its disk. Asked in
// the background, so that `/health` waits for neither.
import { statfs } from 'node:fs/promises'
import { type Space, spaceFrom } from '#shared/base/space.ts'
import type { Clock } from '#shared/base/time.ts'
import type { Session } from './ledger/connection.ts'
import { type ReplicationFacts, readReplication } from './postgres/replication.ts'

/** Undefined: it does not answer. */
export type LocalFacts = {
  readonly replication: ReplicationFacts | undefined
  readonly space: Space | undefined
}

export const unknownFacts: LocalFacts = { replication: undefined, space: undefined }

const REFRESH_MS = 500
/** What takes longer is no answer: nothing that is shown is older than a second. */
const PATIENCE_MS = 500

export const spaceOf = async (folder: string): Promise<Space> => spaceFrom(await statfs(folder))

/** Keeps asking until the signal is aborted; the result tells the newest answers at once. */
export function watchLocal(
  session: Session,
  folder: string,
  clock: Clock,
  signal: AbortSignal,
): () => LocalFacts {
  const replication = newest(() => readReplication(session), clock, signal)
  const space = watchSpace(folder, clock, signal)
  return () => ({ replication: replication(), space: space() })
}

/** The same of the disk alone, where there is no Postgres here. */
export const watchSpace = (folder: string, clock: Clock, signal: AbortSignal): (() => Space | undefined) =>
  newest(() => spaceOf(folder), clock, signal)

/** One question at a time, however long it takes; an answer that is late is there when it comes. */
function newest<T>(ask: () => Promise<T>, clock: Clock, signal: AbortSignal): () => T | undefined {
  let known: T | undefined
  void (async () => {
    while (!signal.aborted) {
      const answered = new AbortController()
      void clock.sleep(PATIENCE_MS, answered.signal).then(() => {
        if (!answered.signal.aborted) known = undefined
      })
      // Whoever shows it says that it does not answer; why is in the log of Postgres, or of the kernel.
      known = await ask().catch(() => undefined)
      answered.abort()
      await clock.sleep(REFRESH_MS, signal)
    }
  })()
  return () => known
}
