// The baseline of writes: one row and one commit per transaction, in the Leader's own Postgres.
import { connect } from '#control-plane/ledger/connection.ts'

/** Commits per second of some connections. */
export async function bareCommits(url: string, clients: number, seconds: number): Promise<number> {
  const database = connect(url)
  try {
    await database.query('CREATE TABLE IF NOT EXISTS bench_bare (id bigint PRIMARY KEY, value text)')
    const stopAt = performance.now() + seconds * 1000
    let commits = 0
    await Promise.all(
      Array.from({ length: clients }, async (_, c) => {
        for (let n = 0; performance.now() < stopAt; n++) {
          const text =
            'INSERT INTO bench_bare VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET value = excluded.value'
          await database.prepared('bench_bare', text, [c, String(n)])
          commits++
        }
      }),
    )
    return commits / seconds
  } finally {
    await database.query('DROP TABLE IF EXISTS bench_bare')
    await database.close()
  }
}
