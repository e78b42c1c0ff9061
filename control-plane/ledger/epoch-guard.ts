// The database itself refuses a Leader that has been deposed (cluster 7.5): an advisory lock, because shared row
// locks on one hot row would write to the log with every write.
import { DomainError } from '#shared/base/errors.ts'
import { isRefusal, type Session } from './connection.ts'

const EPOCH_LOCK = 7_305_101

// One message of three statements: each has its own view of the database, so the epoch is read after the lock was
// waited for, and not before.
const BEGIN = `BEGIN; SELECT pg_advisory_xact_lock_shared(${EPOCH_LOCK}); SELECT MAX(epoch) AS epoch FROM cluster_epoch`

/** Begins a write transaction that holds the epoch as it is until its end. Throws `stale_epoch`. */
export async function beginGuarded(session: Session, epoch: number): Promise<void> {
  const { rows } = await session.query(BEGIN)
  const current = Number(rows[0]?.epoch ?? 0)
  if (current !== epoch) {
    throw new DomainError(
      'stale_epoch',
      `this node leads in epoch ${epoch}, the database is at epoch ${current}`,
    )
  }
}

/** Grows with every promotion of a Postgres, so histories that parted are told from one another. */
// Of what is being written: the control file knows the new one only after the first checkpoint.
const TIMELINE =
  "(SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer)"

/** Begins a transaction beside which nobody writes. Throws `policy_conflict` when that takes longer than `waitMs`. */
export async function beginAlone(session: Session, waitMs: number): Promise<void> {
  await session.query(`BEGIN; SET LOCAL lock_timeout = ${waitMs}`)
  try {
    await session.query(`SELECT pg_advisory_xact_lock(${EPOCH_LOCK})`)
  } catch (cause) {
    if (!isRefusal(cause)) throw cause
    throw new DomainError('policy_conflict', 'a write is under way', { cause })
  }
}

/** The epoch of a node that leads alone: the newest one, or 1 in a new database. Only a new leadership raises it. */
export async function currentEpoch(session: Session, node: string, now: number): Promise<number> {
  await session.query(
    `INSERT INTO cluster_epoch (epoch, node, started_at, timeline) SELECT 1, $1, $2, ${TIMELINE} WHERE NOT EXISTS (SELECT 1 FROM cluster_epoch)`,
    [node, now],
  )
  return newestEpoch(session)
}

/**
 * Waits for every write of the old epoch to end, and lets none of them begin again. Done already, it changes nothing.
 * Throws `stale_epoch` when the database is at a later one.
 */
export async function raiseEpoch(session: Session, epoch: number, node: string, now: number): Promise<void> {
  if ((await newestEpoch(session)) === epoch) return
  await session.query(`SELECT pg_advisory_xact_lock(${EPOCH_LOCK})`)
  const current = await newestEpoch(session)
  if (current > epoch)
    throw new DomainError('stale_epoch', `epoch ${epoch} cannot begin, the database is at epoch ${current}`)
  await session.query(
    `INSERT INTO cluster_epoch (epoch, node, started_at, timeline) VALUES ($1, $2, $3, ${TIMELINE})`,
    [epoch, node, now],
  )
}

const END_WRITERS =
  "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND " +
  `objid = ${EPOCH_LOCK} AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) ` +
  'AND pid <> pg_backend_pid()'

/** Ends the connections of those who write just now. What they were writing is rolled back. */
export async function endWriters(session: Session): Promise<void> {
  await session.query(END_WRITERS)
}

/** 0 where nobody ever led. */
export async function newestEpoch(session: Session): Promise<number> {
  const { rows } = await session.query('SELECT MAX(epoch) AS epoch FROM cluster_epoch')
  return Number(rows[0]?.epoch ?? 0)
}
