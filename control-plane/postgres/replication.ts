// What Postgres says of its physical replication, in the words of `/health` (cluster 9.1).
import type { Session } from '../ledger/connection.ts'
import { RECEIVING } from './probe.ts'

/** One that streams from this node; positions are texts of Postgres, and bytes. */
export type Replica = {
  readonly usename: string
  readonly application_name: string
  readonly client_addr: string | null
  readonly client_hostname: string | null
  readonly backend_start: string
  readonly state: string
  readonly sent_lsn: string | null
  readonly replay_lsn: string | null
  readonly sync_priority: number
  readonly sync_state: string
  readonly sent_lsn_bytes: number | null
  readonly replay_lsn_bytes: number | null
  readonly replication_lag_bytes: number | null
}

export type ReplicationFacts = {
  /** It follows, or would. */
  readonly recovering: boolean
  /** Log comes in. */
  readonly receiving: boolean
  /** Newest end of its own log; in recovery, of what was replayed. Null before there is any. */
  readonly end: string | null
  readonly endBytes: number | null
  readonly replicas: readonly Replica[]
}

const BYTES = (lsn: string): string => `pg_wal_lsn_diff(${lsn}, '0/0')::bigint`

const FACTS = `
  WITH here AS (
    SELECT pg_is_in_recovery() AS recovering,
      CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn)
  SELECT recovering, lsn AS end, ${BYTES('lsn')} AS end_bytes,
    ${RECEIVING} AS receiving,
    (SELECT COALESCE(json_agg(replica), '[]') FROM (
      SELECT usename, application_name, host(client_addr) AS client_addr, client_hostname,
        to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS" +0000"') AS backend_start,
        state, sent_lsn, replay_lsn, sync_priority, sync_state,
        ${BYTES('sent_lsn')} AS sent_lsn_bytes, ${BYTES('replay_lsn')} AS replay_lsn_bytes,
        pg_wal_lsn_diff(lsn, replay_lsn)::bigint AS replication_lag_bytes
      FROM pg_stat_replication ORDER BY application_name, backend_start) replica) AS replicas
  FROM here`

/** Rejects when Postgres does not answer, or becomes a Leader in this very moment. */
export async function readReplication(session: Session): Promise<ReplicationFacts> {
  const row = (await session.query(FACTS)).rows[0]!
  return {
    recovering: row.recovering === true,
    receiving: row.receiving === true,
    end: row.end as string | null,
    endBytes: row.end_bytes as number | null,
    replicas: JSON.parse(String(row.replicas)) as Replica[],
  }
}
