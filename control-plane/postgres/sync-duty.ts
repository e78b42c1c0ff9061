// For whom commits wait, changed so that nobody is released by what was said before (cluster 6.1). A process of Postgres
// may still run with older names when newer ones are in force: every list that somebody may still go by is kept here.
import type { Clock } from '#shared/base/time.ts'
import type { Copy, Lsn } from '../coordination/keys.ts'
import { connect } from '../ledger/connection.ts'
import type { Instance } from './instance.ts'
import { NOBODY, syncNamesOf } from './settings.ts'
import { until } from './waiting.ts'

export type SyncDuty = {
  /** Of a Postgres that was started anew: for nobody that there is. */
  reset(): void
  /** Resolves when a commit was seen to wait. */
  prove(): Promise<void>
  set(names: readonly Copy[]): Promise<{ readonly end: Lsn }>
}

type Names = readonly string[]

const PROVED_WITHIN_MS = 5_000
const ENDED_WITHIN_MS = 10_000

const covers = (old: Names, names: Names): boolean => names.every((name) => old.includes(name))

/** Whose senders may release a commit without all of `names`: those of any list that does not have all of them. */
export const outdated = (inForce: readonly Names[], names: Names): string[] =>
  inForce.some((old) => !covers(old, names)) ? [...new Set(inForce.flat())] : []

export function createSyncDuty(instance: Instance, url: string, clock: Clock): SyncDuty {
  let inForce: readonly Names[] = [[NOBODY]]
  let proofs = 0

  const prove = (): Promise<void> => proveWaiting(instance, url, clock, `holdfast proof ${++proofs}`)

  /** Until it is known that nobody goes by the older ones, both may be in force. */
  async function apply(names: Names): Promise<readonly Names[]> {
    const before = inForce
    if (!before.some((old) => covers(old, names) && covers(names, old))) inForce = [...before, names]
    await instance.apply({ syncNames: syncNamesOf(names) })
    return before
  }

  return {
    reset() {
      inForce = [[NOBODY]]
    },
    prove,
    async set(names) {
      if (names.length > 0 && inForce.some((old) => old.length === 0)) {
        await apply([NOBODY])
        await prove()
        inForce = inForce.filter((old) => old.length > 0)
      }
      const ended = outdated(await apply(names), names)
      if (ended.length > 0) {
        await endSenders(instance, clock, ended)
        inForce = [names]
      }
      // A Standby that has everything says so only when something comes, and who waits for it is released then.
      await instance.asker.ask("SELECT pg_logical_emit_message(true, 'holdfast', 'named')")
      const [row] = await instance.asker.ask("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint AS end")
      return { end: row!.end as number }
    },
  }
}

/**
 * Whether commits wait at all is a flag in memory, set by a process that reads the settings in its own time. A commit of
 * nothing is made, again until one is seen waiting; it is released like any other, and never ended by us.
 */
async function proveWaiting({ asker }: Instance, url: string, clock: Clock, name: string): Promise<void> {
  const database = connect(`${url}&application_name=${encodeURIComponent(name)}`, 1)
  let commit: Promise<unknown> | undefined
  const once = async (): Promise<void> => {
    await database.query("SELECT pg_logical_emit_message(true, 'holdfast', 'waits')").catch(() => undefined)
    commit = undefined
  }
  try {
    await until(clock, PROVED_WITHIN_MS, 'a commit that waits', async () => {
      commit ??= once()
      const waiting = await asker.ask(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'SyncRep'",
        [name],
      )
      return waiting.length > 0
    })
  } finally {
    void Promise.resolve(commit).then(() => database.close())
  }
}

/** They come again by themselves, with the settings of now. */
async function endSenders({ asker }: Instance, clock: Clock, names: Names): Promise<void> {
  const senders = await asker.ask(
    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender' AND application_name = ANY($1)",
    [names],
  )
  const pids = senders.map(({ pid }) => pid)
  await until(clock, ENDED_WITHIN_MS, 'the end of what sends log by older settings', async () => {
    const left = await asker.ask('SELECT 1 FROM pg_stat_activity WHERE pid = ANY($1)', [pids])
    return left.length === 0
  })
}
