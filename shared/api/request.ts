// A request as the doors hand it in, and as a route reads it (http-api 1, 2).

/** What a runtime's door knows. Header names are lower case. */
export type RawRequest = {
  readonly method: string
  /** Undecoded, without the query. */
  readonly path: string
  /** Undecoded, without the question mark; '' when there is none. */
  readonly query: string
  readonly header: (name: string) => string | undefined
  /** Resolves with all of it; rejects with `too_large` past the limit. */
  readonly body: (limitBytes: number) => Promise<Uint8Array>
  /** Address of the TCP peer. */
  readonly peer: string
}

/** `null` for a key without `=`; lists and maps from `a[]=1` and `a[k]=v`. */
export type QueryValue = string | null | readonly string[] | { readonly [key: string]: string }
export type Query = ReadonlyMap<string, QueryValue>

/** What a route's `input` reads: path parameters decoded once, query parsed, body complete. */
export type RouteRequest = {
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  readonly header: (name: string) => string | undefined
  readonly body: Uint8Array
}

/** The answer before a door turns it into bytes on a socket. */
export type Answer = {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | string | undefined
}
