// What is revoked reaches every control node with the ledger. Here it is made to hold at this node's Postgres: who shows such
// a certificate is not let in, and who came in with it is put out (cluster 4).
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { connect, type Session } from '../ledger/connection.ts'

export type HeedingOptions = {
  /** Of the main database on this node; it may be away, in recovery, or not made yet. */
  readonly url: () => string
  /** Gives Postgres this list of revoked certificates, PEM; it is in force when this resolves. */
  readonly apply: (revocations: string) => Promise<void>
  readonly clock: Clock
  readonly report: (message: string) => void
}

/** Until the signal is aborted. */
export async function heedRevocations(options: HeedingOptions, signal: AbortSignal): Promise<void> {
  const { clock, report } = options
  const database = connect(options.url(), 1)
  let applied = ''
  let failed = ''
  while (!signal.aborted) {
    try {
      const list = await revocationsIn(database)
      if (list !== applied) await options.apply(list)
      applied = list
      const ended = list === '' ? 0 : await endRevoked(database)
      if (ended > 0) report(`${ended} connections with revoked certificates were ended`)
      failed = ''
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      // A node without data has no ledger yet.
      if (failed === '' && applied !== '') report(`revoked certificates cannot be looked up: ${why}`)
      failed = why
    }
    await clock.sleep(limits.revocationsLookMs, signal)
  }
  await database.close()
}

async function revocationsIn(session: Session): Promise<string> {
  const { rows } = await session.query(
    'SELECT revocations FROM node_authorities ORDER BY created_at DESC, serial',
  )
  return rows.map((row) => String(row.revocations)).join('')
}

/** Postgres shows serials as decimal numbers. */
async function endRevoked(session: Session): Promise<number> {
  const { rows } = await session.query(
    "SELECT serial FROM node_certificates WHERE revoked_at IS NOT NULL AND role_class IN ('control', 'dr')",
  )
  if (rows.length === 0) return 0
  const serials = rows.map((row) => BigInt(`0x${String(row.serial)}`).toString())
  const { rowCount } = await session.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_ssl WHERE client_serial = ANY($1::numeric[])',
    [serials],
  )
  return rowCount
}
