// How our Postgres is, asked on a connection of its own: it waits for nothing else that is being done.
import type { Clock } from '#shared/base/time.ts'
import type { Copy, Lsn } from '../coordination/keys.ts'
import type { PostgresProbe } from '../failover/hands.ts'
import { type Asker, createAsker } from './asking.ts'

export type Probing = { probe(silent: boolean): Promise<PostgresProbe>; close(): Promise<void> }

const ANSWER_WITHIN_MS = 950
/** A receiver that hears nothing asks for a sign of life after half of its time-out. */
const HEARD_WITHIN = '3 s'

const nothing: PostgresProbe = {
  answers: false,
  writes: false,
  receiving: false,
  end: 0,
  busy: false,
  replicas: new Map(),
}

/** An empty disk has nothing that could fail to answer, and may hold the first data of a cluster. */
const empty: PostgresProbe = { ...nothing, answers: true }

/** Log comes from whom this Postgres follows. */
export const RECEIVING = `EXISTS (SELECT 1 FROM pg_stat_wal_receiver
    WHERE status = 'streaming' AND last_msg_receipt_time > clock_timestamp() - interval '${HEARD_WITHIN}')`

/** Before the first record of a page there is its header, which is flushed with that record. */
const HEADER_BYTES = 40

/** Somebody is at work, or what he has left is not flushed yet. */
const BUSY = `(EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND
    (backend_type = 'client backend' AND state <> 'idle' OR backend_type = 'autovacuum worker'))
  OR NOT pg_is_in_recovery() AND pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn() >
    CASE (pg_current_wal_flush_lsn() - '0/0') % current_setting('wal_block_size')::int
      WHEN 0 THEN ${HEADER_BYTES} ELSE 0 END)`

const LOOK = `SELECT pg_is_in_recovery() AS recovering,
  (CASE WHEN pg_is_in_recovery() THEN GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint AS end,
  ${RECEIVING} AS receiving,
  ${BUSY} AS busy,
  ARRAY(SELECT application_name || ' ' || (flush_lsn - '0/0')::text FROM pg_stat_replication
    WHERE state = 'streaming' AND flush_lsn IS NOT NULL) AS replicas`

/** Through the log to the disk, and waits for no Standby. Probes are many, and each write is log for all to take. */
const WRITE_EVERY_MS = 500
const WRITE = "SELECT pg_logical_emit_message(true, 'holdfast', 'writes')"

/** @param holds whether there is data; without it nothing runs */
export function createProbing(url: string, holds: () => boolean, clock: Clock): Probing {
  const asker: Asker = createAsker(url, clock)
  let wroteAt = Number.NEGATIVE_INFINITY

  async function look(): Promise<PostgresProbe> {
    const [row] = await asker.ask(LOOK, [], ANSWER_WITHIN_MS)
    const { recovering, end, receiving, busy, replicas } = row as {
      readonly recovering: boolean
      readonly end: Lsn
      readonly receiving: boolean
      readonly busy: boolean
      readonly replicas: readonly string[]
    }
    return {
      answers: true,
      writes: !recovering,
      receiving,
      end,
      busy,
      replicas: new Map(recovering ? [] : replicas.map(flushedOf)),
    }
  }

  async function writes(withinMs: number): Promise<boolean> {
    const now = clock.monotonic()
    if (now - wroteAt < WRITE_EVERY_MS) return true
    await asker.ask(WRITE, [], withinMs)
    wroteAt = now
    return true
  }

  return {
    async probe(silent) {
      if (!holds()) return empty
      const since = clock.monotonic()
      let seen = nothing
      try {
        seen = await look()
        if (silent) return seen
        const left = Math.max(1, ANSWER_WITHIN_MS - (clock.monotonic() - since))
        return { ...seen, writes: seen.writes && (await writes(left)) }
      } catch {
        wroteAt = Number.NEGATIVE_INFINITY
        return { ...seen, writes: false }
      }
    },
    close: () => asker.close(),
  }
}

function flushedOf(line: string): readonly [Copy, Lsn] {
  const space = line.lastIndexOf(' ')
  return [line.slice(0, space), Number(line.slice(space + 1))]
}
