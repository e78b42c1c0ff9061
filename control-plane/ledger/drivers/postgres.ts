// Postgres over its own protocol. What is asked on one connection is sent before the answer to what was asked before it.
import pg from 'pg'
import { type Pool, typesOver, unshaken } from './pool.ts'

const CONNECT_WITHIN_MS = 2_000

export const isRefusalOfPostgres = (error: unknown): boolean => error instanceof pg.DatabaseError

export function postgresPool(url: string, connections: number): Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: CONNECT_WITHIN_MS,
    pipeline: true,
    types: typesOver(pg.types.getTypeParser) as pg.CustomTypesConfig,
  })
  return unshaken(pool) as unknown as Pool
}
