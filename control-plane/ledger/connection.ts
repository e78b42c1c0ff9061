// The one file that knows a Postgres driver.
import pg from 'pg'
import { DomainError } from '#shared/base/errors.ts'

export type Result = { readonly rows: Record<string, unknown>[]; readonly rowCount: number }

/**
 * What the control plane asks of a Postgres connection. Parameters are `$1`, `$2`… A query may be sent before the
 * one before it is answered: they run in order, on one way there and back.
 */
export interface Session {
  /** Of several statements in one text, the result of the last. */
  query(text: string, params?: readonly unknown[]): Promise<Result>
  /** Prepared once per connection under `name`. */
  prepared(name: string, text: string, params: readonly unknown[]): Promise<Result>
}

export type HeldSession = Session & {
  /** `broken`: the connection is closed and not given to anyone again. */
  release(broken?: boolean): void
}

export interface Database extends Session {
  session(): Promise<HeldSession>
  /** Commits what `body` did, or rolls all of it back. */
  transaction<T>(body: (session: Session) => Promise<T>): Promise<T>
  close(): Promise<void>
}

const types = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    // bigint: times and numbers of ours, all below 2^53.
    if (oid === 20) return Number
    // json and jsonb stay text: only the reader parses them, and it knows which columns hold bytes.
    if (oid === 114 || oid === 3802) return String
    return pg.types.getTypeParser(oid, format)
  },
} as pg.CustomTypesConfig

/** True when the server itself said no: it is there, and the statement had no effect. */
export const isRefusal = (error: unknown): boolean => error instanceof pg.DatabaseError

/** A pool of connections; none is opened before the first query. */
export function connect(url: string, connections = 8): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: 2_000,
    pipeline: true,
    types,
  })
  // A connection that breaks while idle is dropped by the pool; without a listener it would end the process.
  pool.on('error', () => undefined)
  // The same for one that breaks at any other moment of its life, also after it was given back as broken: whoever
  // asked it something hears of it there.
  pool.on('connect', (client) => void client.on('error', () => undefined))
  const one = async (
    run: (client: Pick<pg.PoolClient, 'query'>) => Promise<pg.QueryResult>,
  ): Promise<Result> => {
    const { rows, rowCount } = await run(pool as unknown as pg.PoolClient)
    return { rows, rowCount: rowCount ?? 0 }
  }
  const database: Database = {
    query: (text, params = []) => one((client) => client.query(text, [...params])),
    prepared: (name, text, params) => one((client) => client.query({ name, text, values: [...params] })),
    async session() {
      const client = await pool.connect().catch((cause) => {
        throw new DomainError('unavailable', 'the database cannot be reached', { cause })
      })
      const ask = async (query: Promise<pg.QueryResult>): Promise<Result> => {
        const answered = (await query) as pg.QueryResult | pg.QueryResult[]
        const { rows, rowCount } = Array.isArray(answered) ? answered.at(-1)! : answered
        return { rows, rowCount: rowCount ?? 0 }
      }
      return {
        query: (text, params) => ask(params ? client.query(text, [...params]) : client.query(text)),
        prepared: (name, text, params) => ask(client.query({ name, text, values: [...params] })),
        release: (broken = false) => client.release(broken),
      }
    },
    async transaction(body) {
      const session = await database.session()
      try {
        await session.query('BEGIN')
        const result = await body(session)
        await session.query('COMMIT')
        session.release()
        return result
      } catch (error) {
        // Closing the connection rolls back, whatever state it is in.
        session.release(true)
        throw error
      }
    },
    close: () => pool.end(),
  }
  return database
}
