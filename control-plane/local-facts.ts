// What the process that answers clients knows of its own node, whatever the node is: its Postgres and its disk. Asked in
// the background, so that `/health` waits for neither.
import { statfs } from 'node:fs/promises'
import type { Clock } from '#shared/base/time.ts'
import type { Session } from './ledger/connection.ts'
import { type ReplicationFacts, readReplication } from './postgres/replication.ts'

export type Space = { readonly kbytes: number; readonly inodes: number }

/** Undefined: it does not answer. */
export type LocalFacts = {
  readonly replication: ReplicationFacts | undefined
  readonly space: Space | undefined
}

export const unknownFacts: LocalFacts = { replication: undefined, space: undefined }

const REFRESH_MS = 500
/** What takes longer is no answer: nothing that is shown is older than a second. */
const PATIENCE_MS = 500

export async function spaceOf(folder: string): Promise<Space> {
  const { bavail, bsize, ffree } = await statfs(folder)
  return { kbytes: Math.floor((bavail * bsize) / 1024), inodes: ffree }
}

/** Keeps asking until the signal is aborted; the result tells the newest answers at once. */
export function watchLocal(
  session: Session,
  folder: string,
  clock: Clock,
  signal: AbortSignal,
): () => LocalFacts {
  const replication = newest(() => readReplication(session), clock, signal)
  const space = newest(() => spaceOf(folder), clock, signal)
  return () => ({ replication: replication(), space: space() })
}

/** One question at a time, however long it takes; an answer that is late is there when it comes. */
function newest<T>(ask: () => Promise<T>, clock: Clock, signal: AbortSignal): () => T | undefined {
  let known: T | undefined
  void (async () => {
    while (!signal.aborted) {
      const answered = new AbortController()
      void clock.sleep(PATIENCE_MS, answered.signal).then(() => {
        if (!answered.signal.aborted) known = undefined
      })
      known = await ask().catch(() => undefined)
      answered.abort()
      await clock.sleep(REFRESH_MS, signal)
    }
  })()
  return () => known
}
