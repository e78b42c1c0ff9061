// How much of the change log is kept for Followers that were away (cluster 6.3): all of it, up to an age and a
// size. Whoever is further behind takes a snapshot.
import type { LoggedCommit } from './change-log.ts'
import type { Database } from './connection.ts'
import type { Head } from './storing.ts'

export type RetentionBounds = { readonly ageMs: number; readonly bytes: number }

export type CommitSource = {
  head(): Head
  onCommit(listener: (commit: LoggedCommit) => void): () => void
}

/** Commits looked at by one statement. */
const STEP = 1_000

/**
 * The returned function cuts what is over a bound, oldest first. The newest commit always stays: its hash is what
 * a resuming Follower is compared with. The size is counted along, so that a cut costs what it removes and not what
 * it keeps.
 */
export function createTrim(
  database: Database,
  source: CommitSource,
  bounds: RetentionBounds,
): () => Promise<void> {
  const known = source.head().position.seq
  let held: number | undefined
  let added = 0
  source.onCommit(({ bytes }) => {
    added += bytes
  })

  async function heldAtStart(): Promise<number> {
    const text = 'SELECT COALESCE(SUM(octet_length(changes)), 0) AS bytes FROM change_log WHERE seq <= $1'
    const { rows } = await database.query(text, [known])
    return Number(rows[0]!.bytes)
  }

  /** Cuts one step; false when the rest is within the bounds. */
  async function cut(newest: number, newestAt: number, from: number): Promise<boolean> {
    const { rows } = await database.query(
      'SELECT seq, MIN(at) AS at, SUM(octet_length(changes)) AS bytes FROM change_log WHERE seq < $1 ' +
        `GROUP BY seq ORDER BY seq LIMIT ${STEP}`,
      [newest],
    )
    let upTo = 0
    let removed = 0
    let n = 0
    for (; n < rows.length; n++) {
      const row = rows[n]!
      const tooOld = Number(row.at) < newestAt - bounds.ageMs
      if (!tooOld && from - removed <= bounds.bytes) break
      upTo = Number(row.seq)
      removed += Number(row.bytes)
    }
    if (upTo === 0) return false
    await database.query('DELETE FROM change_log WHERE seq <= $1', [upTo])
    held = (held ?? 0) - removed
    return n === STEP
  }

  return async () => {
    held ??= await heldAtStart()
    const newest = source.head().position.seq
    const { rows } = await database.query('SELECT at FROM change_log WHERE seq = $1 LIMIT 1', [newest])
    if (rows[0] === undefined) return
    while (await cut(newest, Number(rows[0].at), held + added));
  }
}
