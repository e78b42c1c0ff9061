// What both drivers have in common, and all that is asked of one.

/** `rowCount`: null where a statement touches no rows. */
export type Answered = { readonly rows: Record<string, unknown>[]; readonly rowCount: number | null }

export type Asked = { readonly text: string; readonly values?: unknown[]; readonly name?: string }

export type Client = {
  /** Of several statements in one text without values, a list. */
  query(asked: Asked): Promise<Answered | Answered[]>
  release(broken: boolean): void
}

/** No connection is opened before the first question. */
export type Pool = {
  query(asked: Asked): Promise<Answered | Answered[]>
  connect(): Promise<Client>
  end(): Promise<void>
}

type Parser = (oid: number, format?: 'text' | 'binary') => unknown

/** `given`: of the driver. */
export const typesOver = (given: Parser): { getTypeParser: Parser } => ({
  getTypeParser(oid, format) {
    // bigint: times and numbers of ours, all below 2^53.
    if (oid === 20) return Number
    // json and jsonb stay text: only the reader parses them, and it knows which columns hold bytes.
    if (oid === 114 || oid === 3802) return String
    return given(oid, format)
  },
})

type Listening = {
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'connect', listener: (client: Erring) => void): unknown
}
type Erring = { on(event: 'error', listener: (error: Error) => void): unknown }

/** Whoever asked something hears that its connection broke; without listeners it would end the process. */
export function unshaken<P extends Listening>(pool: P): P {
  // One that breaks while idle is dropped by the pool.
  pool.on('error', () => undefined)
  // The same for one that breaks at any other moment of its life, also after it was given back as broken.
  pool.on('connect', (client) => void client.on('error', () => undefined))
  return pool
}
