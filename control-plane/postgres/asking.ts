// Questions to our own Postgres, one at a time on a connection that is kept open, each with a bound.
import type { Clock } from '#shared/base/time.ts'
import { connect, type Database, type HeldSession } from '../ledger/connection.ts'
import { within } from './waiting.ts'

export type Row = Readonly<Record<string, unknown>>

export type Asker = {
  /** Rejected when there is no answer in time; the connection is not used again then. */
  ask(text: string, params?: readonly unknown[], withinMs?: number): Promise<readonly Row[]>
  close(): Promise<void>
}

const ASK_WITHIN_MS = 5_000

/** What it writes waits for nobody: it is nobody's data. */
export const waitingForNobody = (url: string): string =>
  `${url}&options=${encodeURIComponent('-c synchronous_commit=local')}`

export function createAsker(url: string, clock: Clock): Asker {
  const database: Database = connect(waitingForNobody(url), 1)
  return {
    async ask(text, params = [], withinMs = ASK_WITHIN_MS) {
      const giveUpAt = clock.monotonic() + withinMs
      const session = await sessionWithin(database, clock, withinMs)
      try {
        const left = Math.max(1, giveUpAt - clock.monotonic())
        const { rows } = await within(clock, left, 'an answer of Postgres', session.query(text, params))
        session.release()
        return rows
      } catch (error) {
        session.release(true)
        throw error
      }
    },
    close: () => database.close(),
  }
}

/** Rejected when there is none in time; one that comes later is closed. */
export function sessionWithin(database: Database, clock: Clock, withinMs: number): Promise<HeldSession> {
  const opening = database.session()
  return within(clock, withinMs, 'a connection to the database', opening).catch((error: unknown) => {
    // Nobody waits for it any more, and the caller learns that there was none: why it failed later is of no use.
    opening.then((late) => late.release(true)).catch(() => undefined)
    throw error
  })
}
