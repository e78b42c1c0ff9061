// Connections to a Postgres, whichever driver it is reached by: nothing but this file knows that there are two.
import { DomainError } from '#shared/base/errors.ts'
import { isRefusalOfNeon, neonPool } from './drivers/neon.ts'
import type { Answered, Pool } from './drivers/pool.ts'
import { isRefusalOfPostgres, postgresPool } from './drivers/postgres.ts'

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

/** True when the server itself said no: it is there, and the statement had no effect. */
export const isRefusal = (error: unknown): boolean => isRefusalOfPostgres(error) || isRefusalOfNeon(error)

/** Parameters of a connection URL that are ours: no driver is told of them. */
const DRIVER = 'driver'
const WEBSOCKET = 'websocket'

/** Databases that are reached by WebSocket unless their URL says otherwise. */
const NEON = /\.neon\.(tech|build)$/

/**
 * `?driver=pg` or `?driver=neon`: how the server is reached; default: by its host. `?websocket=wss://host/path`: a proxy like
 * Neon's, which passes on what is said to one server. Throws `settings_invalid`, which never holds the URL.
 */
function poolOf(url: string, connections: number): Pool {
  const parsed = URL.parse(url)
  if (parsed === null) throw invalid('it is not of the form postgresql://user:password@host/database')
  const proxy = proxyOf(parsed)
  const driver = parsed.searchParams.get(DRIVER) ?? (NEON.test(parsed.hostname) ? 'neon' : 'pg')
  for (const ours of [DRIVER, WEBSOCKET]) if (parsed.searchParams.has(ours)) parsed.searchParams.delete(ours)
  if (driver === 'neon') return neonPool(parsed.href, connections, proxy)
  if (driver !== 'pg') throw invalid('driver is pg or neon')
  if (proxy !== undefined) throw invalid('websocket is for driver=neon')
  return postgresPool(parsed.href, connections)
}

function proxyOf({ searchParams }: URL): URL | undefined {
  const given = searchParams.get(WEBSOCKET)
  if (given === null) return undefined
  const proxy = URL.parse(given)
  if (proxy !== null && /^wss?:$/.test(proxy.protocol)) return proxy
  throw invalid('websocket is of the form wss://host:port/path')
}

const invalid = (what: string): DomainError =>
  new DomainError('settings_invalid', `the URL of the database: ${what}`)

function resultOf(answered: Answered | Answered[]): Result {
  const { rows, rowCount } = Array.isArray(answered) ? answered.at(-1)! : answered
  return { rows, rowCount: rowCount ?? 0 }
}

/** A pool of connections; none is opened before the first query. */
export function connect(url: string, connections = 8): Database {
  const pool = poolOf(url, connections)
  const sessionOf = (client: Pick<Pool, 'query'>): Session => ({
    // Without values several statements may stand in one text.
    query: async (text, params) =>
      resultOf(await client.query(params === undefined ? { text } : { text, values: [...params] })),
    prepared: async (name, text, params) => resultOf(await client.query({ name, text, values: [...params] })),
  })
  const database: Database = {
    ...sessionOf(pool),
    async session() {
      const client = await pool.connect().catch((cause: unknown) => {
        throw new DomainError('unavailable', 'the database cannot be reached', { cause })
      })
      return { ...sessionOf(client), release: (broken = false) => client.release(broken) }
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
