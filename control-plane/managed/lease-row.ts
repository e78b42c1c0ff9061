// The lease in the database: one row that says who leads, in which epoch, and when he renewed it by the database's clock.
import type { Clock } from '#shared/base/time.ts'
import { connect, type HeldSession, type Session } from '../ledger/connection.ts'
import { endWriters, newestEpoch, raiseEpoch } from '../ledger/epoch-guard.ts'
import { sessionWithin } from '../postgres/asking.ts'
import { within } from '../postgres/waiting.ts'
import type { Heard, Holder } from './lease.ts'

export type LeaseRow = {
  /** Takes the lease where nobody has it any more, with a new epoch. */
  take(): Promise<Heard>
  renew(epoch: number): Promise<Heard>
  /** Leaves it to the next who asks; what does not get through has no effect. */
  giveBack(epoch: number): Promise<void>
  close(): Promise<void>
}

export type LeaseOptions = {
  readonly url: string
  readonly node: string
  readonly lifeMs: number
  readonly renewWithinMs: number
  readonly clock: Clock
  /** Called once until the database answers again. */
  readonly report: (error: unknown) => void
}

/** A database that sleeps is woken by who connects. */
const CONNECT_WITHIN_MS = 3_000
/** Seven ways there and back, and whoever still writes is ended. */
const TAKE_WITHIN_MS = 5_000

export function createLeaseRow(options: LeaseOptions): LeaseRow {
  const { url, node, lifeMs, renewWithinMs, clock, report } = options
  const database = connect(url, 1)
  let answers = true

  /** `silent` when there is no answer in time; the connection is not used again then. */
  async function ask(withinMs: number, question: (session: Session) => Promise<Heard>): Promise<Heard> {
    let session: HeldSession | undefined
    try {
      session = await sessionWithin(database, clock, CONNECT_WITHIN_MS)
      const heard = await within(clock, withinMs, 'an answer of the database', question(session))
      session.release()
      answers = true
      return heard
    } catch (error) {
      if (answers) report(error)
      answers = false
      session?.release(true)
      return { kind: 'silent' }
    }
  }

  return {
    take: () =>
      ask(TAKE_WITHIN_MS, async (session) => {
        const seen = await look(session)
        if (!seen.over) return { kind: 'held', by: seen.holder }
        const sentAt = clock.monotonic()
        const outcome = await takeOver(session, node, lifeMs, clock.wall())
        return typeof outcome === 'number' ? { kind: 'ours', epoch: outcome, sentAt } : outcome
      }),
    renew: (epoch) =>
      ask(renewWithinMs, async (session) => {
        const sentAt = clock.monotonic()
        const { rowCount } = await session.query(RENEW, [epoch, node, lifeMs])
        if (rowCount === 1) return { kind: 'ours', epoch, sentAt }
        return { kind: 'held', by: (await look(session)).holder }
      }),
    async giveBack(epoch) {
      await ask(renewWithinMs, async (session) => {
        await session.query(GIVE_BACK, [epoch, node])
        return { kind: 'silent' }
      })
    },
    close: () => database.close(),
  }
}

const LOOK =
  "SELECT epoch, node, renewed_at + life_ms * interval '1 millisecond' < clock_timestamp() AS over FROM leader_lease"
const RENEW =
  'UPDATE leader_lease SET renewed_at = clock_timestamp(), life_ms = $3 WHERE epoch = $1 AND node = $2'
const GIVE_BACK = "UPDATE leader_lease SET renewed_at = '-infinity' WHERE epoch = $1 AND node = $2"
const TAKE = 'UPDATE leader_lease SET epoch = $1, node = $2, life_ms = $3, renewed_at = clock_timestamp()'

type Seen = { readonly holder: Holder; readonly over: boolean }

async function look(session: Session): Promise<Seen> {
  const row = (await session.query(LOOK)).rows[0]!
  return { holder: { node: row.node as string, epoch: Number(row.epoch) }, over: row.over as boolean }
}

/** The new epoch; or who has the lease after all. The row is locked first and read after it: nobody renews meanwhile. */
async function takeOver(
  session: Session,
  node: string,
  lifeMs: number,
  now: number,
): Promise<number | Heard> {
  await session.query('BEGIN; SELECT 1 FROM leader_lease FOR UPDATE')
  const seen = await look(session)
  if (!seen.over) {
    await session.query('ROLLBACK')
    return { kind: 'held', by: seen.holder }
  }
  // One that stands still within a write would be waited for.
  await endWriters(session)
  const epoch = (await newestEpoch(session)) + 1
  await raiseEpoch(session, epoch, node, now)
  await session.query(TAKE, [epoch, node, lifeMs])
  await session.query('COMMIT')
  return epoch
}
