// The one file that knows a Postgres driver.

/** What the control plane asks of a Postgres connection. Parameters are `$1`, `$2`… */
export interface Session {
  query(
    text: string,
    params?: readonly unknown[],
  ): Promise<{ readonly rows: Record<string, unknown>[]; readonly rowCount: number }>
  /** Prepared once per connection under `name`. */
  prepared(
    name: string,
    text: string,
    params: readonly unknown[],
  ): Promise<{ readonly rows: Record<string, unknown>[]; readonly rowCount: number }>
}

export interface Database extends Session {
  /** One connection, held until released; a broken one is not given back to the pool. */
  session(): Promise<Session & { release(broken?: boolean): void }>
  transaction<T>(body: (session: Session) => Promise<T>): Promise<T>
  close(): Promise<void>
}
