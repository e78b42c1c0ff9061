// Postgres over WebSockets, as Neon and proxies like Neon's are reached. One question at a time on a connection: the driver
// keeps the next one until the one before it is answered.
import { Client, DatabaseError, Pool as NeonPool, types } from '@neondatabase/serverless'
import { type Pool, typesOver, unshaken } from './pool.ts'

/** A database that sleeps is woken by who connects, and that takes a moment. */
const CONNECT_WITHIN_MS = 10_000

export const isRefusalOfNeon = (error: unknown): boolean => error instanceof DatabaseError

/** `proxy`: where the WebSocket is, instead of at the host of the database. */
export function neonPool(url: string, connections: number, proxy: URL | undefined): Pool {
  const pool = new NeonPool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: CONNECT_WITHIN_MS,
    types: typesOver(types.getTypeParser),
  })
  if (proxy !== undefined) pool.Client = through(proxy)
  return inErrors(unshaken(pool) as unknown as Pool)
}

/** Of a WebSocket that broke the driver gives its event, which is no error and says nothing. */
function asError(thrown: unknown): never {
  throw thrown instanceof Error ? thrown : new Error('the connection to the database has ended')
}

const inErrors = (pool: Pool): Pool => ({
  query: (asked) => pool.query(asked).catch(asError),
  async connect() {
    const client = await pool.connect().catch(asError)
    return {
      query: (asked) => client.query(asked).catch(asError),
      release: (broken) => client.release(broken),
    }
  },
  end: () => pool.end(),
})

/** Clients of a database behind a proxy that is not Neon's: what the server asks of a password is waited for. */
const through = ({ protocol, host, pathname, search }: URL): typeof Client =>
  class extends Client {
    constructor(config?: ConstructorParameters<typeof Client>[0]) {
      super(config)
      this.neonConfig.wsProxy = () => `${host}${pathname}${search}`
      this.neonConfig.useSecureWebSocket = protocol === 'wss:'
      this.neonConfig.pipelineConnect = false
    }
  }
