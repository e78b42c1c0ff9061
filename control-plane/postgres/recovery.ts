// What is asked of a Postgres in recovery: to take log from nobody, what it holds, to begin a timeline of its own
// (cluster 7.4, 3 and 8).
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DomainError } from '#shared/base/errors.ts'
import type { Clock } from '#shared/base/time.ts'
import type { Lsn } from '../coordination/keys.ts'
import { knowsLater, takeNumbers, timelineHeld } from './data.ts'
import { writeDurably } from './durable.ts'
import type { Instance } from './instance.ts'
import { historyFile, parseHistory, timelineOfSegment } from './timeline.ts'
import { until } from './waiting.ts'

const CUT_OFF_WITHIN_MS = 10_000
const REPLAYED_WITHIN_MS = 60_000
const PROMOTED_WITHIN_MS = 30_000

/**
 * Nothing comes any more when this resolves, nor after a restart. The process that asks for log reads the settings in
 * its own time, and says nothing of it; but it looks for them before it says that it pauses.
 */
export async function cutOff(instance: Instance, clock: Clock): Promise<void> {
  if (instance.isCutOff()) return
  const { asker } = instance
  await instance.apply({ source: '' })
  try {
    await asker.ask('SELECT pg_wal_replay_pause()')
    await until(clock, CUT_OFF_WITHIN_MS, 'the end of taking log', async () => {
      const [row] = await asker.ask('SELECT pg_get_wal_replay_pause_state() AS state')
      return row?.state === 'paused'
    })
  } finally {
    await asker.ask('SELECT pg_wal_replay_resume()')
  }
  await until(clock, CUT_OFF_WITHIN_MS, 'the end of taking log', async () => {
    const left = await asker.ask("SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walreceiver'")
    return left.length === 0
  })
  instance.wasCutOff()
}

// It waits so for log that is not there, when all that is there is replayed; or before it looks once more.
const REPLAY = `SELECT (pg_last_wal_receive_lsn() - '0/0')::bigint AS received,
  (pg_last_wal_replay_lsn() - '0/0')::bigint AS replayed,
  EXISTS (SELECT 1 FROM pg_stat_activity
    WHERE backend_type = 'startup' AND wait_event = 'RecoveryRetrieveRetryInterval') AS idle`

type Replay = { readonly received: Lsn | null; readonly replayed: Lsn; readonly idle: boolean }

const replayOf = async ({ asker }: Instance): Promise<Replay> => (await asker.ask(REPLAY))[0] as Replay

/** All that is held, flushed, a record that has come in part included. After `cutOff`. */
export async function receivedHere(instance: Instance, clock: Clock): Promise<Lsn> {
  let end = 0
  await until(clock, REPLAYED_WITHIN_MS, 'the replay of what is held', async () => {
    const { received, replayed, idle } = await replayOf(instance)
    end = Math.max(received ?? 0, replayed)
    // After a start nobody has counted what is held, and it is known when all of it is replayed.
    return received !== null || idle
  })
  return end
}

/** Before what is left is taken for a part of a record: by then the replay has looked for more at least twice. */
const STILL_MS = 2_500

/** The end of the last whole record. After `cutOff`. */
export async function wholeRecordsEnd(instance: Instance, clock: Clock): Promise<Lsn> {
  let replayed = -1
  let since = clock.monotonic()
  await until(clock, REPLAYED_WITHIN_MS, 'the replay of what is held', async () => {
    const now = await replayOf(instance)
    if (now.replayed !== replayed) since = clock.monotonic()
    replayed = now.replayed
    if (now.received === null) return now.idle
    return replayed >= now.received || (now.idle && clock.monotonic() - since >= STILL_MS)
  })
  return replayed
}

/** Of the last record before `end`: to have begun to follow a Leader is not to have anything of him. */
export async function timelineOf({ room, asker }: Instance, end: Lsn): Promise<number> {
  const [row] = await asker.ask("SELECT pg_size_bytes(current_setting('wal_segment_size')) AS bytes")
  return timelineHeld(room, end, row!.bytes as number)
}

export type Promoted = { readonly timeline: number; readonly fork: Lsn }

/** Follows nobody, and goes onto exactly the timeline after `above`, or after its own. */
export async function promote(instance: Instance, above: number, clock: Clock): Promise<Promoted> {
  const { room } = instance
  await cutOff(instance, clock)
  const own = await timelineOf(instance, await receivedHere(instance, clock))
  // It has begun to follow a Leader of whom it has nothing: his timeline must not become the parent of its own.
  if (await knowsLater(room, own)) {
    await instance.end()
    await instance.launch({ onto: own })
  }
  await takeNumbers(room, own, above)
  await instance.asker.ask('SELECT pg_promote(false)')
  await until(clock, PROMOTED_WITHIN_MS, 'the promotion', async () => {
    const [row] = await instance.asker.ask('SELECT pg_is_in_recovery() AS recovering')
    return row?.recovering === false
  })
  // Whoever starts it from now on, even by hand: in recovery (I4).
  await writeDurably(join(room.cluster, 'standby.signal'), '', room.runAs)
  const promoted = await begun(instance)
  const expected = Math.max(above, own) + 1
  if (promoted.timeline !== expected)
    throw new DomainError(
      'unavailable',
      `Postgres went onto timeline ${promoted.timeline} instead of ${expected}`,
    )
  return promoted
}

/** The control file says so only after a checkpoint; the name of what is being written says it at once. */
async function begun({ room, asker }: Instance): Promise<Promoted> {
  const [row] = await asker.ask('SELECT pg_walfile_name(pg_current_wal_lsn()) AS segment')
  const timeline = timelineOfSegment(row!.segment as string)
  const text = await readFile(join(room.cluster, 'pg_wal', historyFile(timeline)), 'utf8')
  const fork = parseHistory(timeline, text).forks.at(-1)
  if (fork === undefined)
    throw new DomainError('unavailable', `timeline ${timeline} does not say where it was begun`)
  return { timeline, fork: fork.end }
}

/** Of the cluster that this data began with; the same in every copy of it. */
export async function systemIdOf({ asker }: Instance): Promise<string> {
  const [row] = await asker.ask('SELECT system_identifier::text AS id FROM pg_control_system()')
  return row!.id as string
}
