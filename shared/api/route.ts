// A route is a pair of values, not a handler: the facts it needs and a decision on them. Reading runs the pair
// against a snapshot; writing runs the same pair inside the Leader's transaction. A Follower has no one to
// commit for it, so a write answers 405 there by construction, after the same checks, in the same order.
import type { AuditEvent } from '../audit/event.ts'
import type { Wall } from '../base/time.ts'
import type { Batch, FactsOf } from '../ledger/store.ts'
import type { Keyring } from '../secret/keyring.ts'
import type { NodeIo, PolicyReader } from './node.ts'
import type { Outcome } from './outcome.ts'
import type { RouteRequest } from './request.ts'
import type { ApiSettings } from './settings.ts'

/** Who asks, once the token (if any) has been verified. */
export type Caller = {
  /** Role id, or undefined for an anonymous caller. */
  readonly role: string | undefined
  /** When the token was issued, milliseconds; undefined without a token. */
  readonly tokenIssuedAt: number | undefined
  /** Behind trusted proxies, the address they name (http-api 3). */
  readonly clientIp: string
  readonly requestId: string
}

/** What a decision may use besides its facts. All of it is given, so a test can give it too. */
export type Context = {
  readonly caller: Caller
  readonly now: Wall
  readonly random: (length: number) => Uint8Array
  readonly keyring: Keyring
  readonly settings: ApiSettings
}

export type Access =
  /** A token is not looked at; a bad one is ignored. */
  | 'open'
  /** Verified only if a well-formed header is present; a bad one is 401. */
  | 'optional'
  /** Required; without a valid one 401, and 403 when its role is gone. */
  | 'token'

/** What the OpenAPI document says of a row; a test holds it against what the cases have seen. */
export type Docs = {
  /** In a few words, for people. */
  readonly does: string
  /** Query parameters beside the selector. */
  readonly query?: Readonly<Record<string, string>>
  /** Of the body; `form` is read as a form or as JSON. */
  readonly takes?: 'bytes' | 'text' | 'yaml' | 'form' | 'v2'
  readonly fields?: Readonly<Record<string, string>>
  /** Of a success with a body. */
  readonly gives?: 'json' | 'text' | 'bytes' | 'html' | 'pem' | 'policy' | 'v2'
  /** HTTP Basic is understood. */
  readonly basic?: true
  /** Every status of its own: not what any request may be answered, such as 413 or 503. */
  readonly answers: readonly number[]
}

export type Route<Input, B extends Batch, Proof> = {
  /** Operation id: metrics, service roles, tests. */
  readonly id: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Segments `:name`, and a tail `:name*` that takes the rest of the path. Matched undecoded (http-api 1). */
  readonly path: string
  /** Matches only when this query key is present: `?members`. Rows of one path are tried in table order. */
  readonly selector?: string
  readonly docs: Docs
  /** False where the settings switch it off: there is no such route then. */
  readonly offered?: (settings: ApiSettings) => boolean
  readonly access: Access
  readonly effect: 'read' | 'write'
  /** Largest request body; a route without it reads none. */
  readonly bodyLimit?: number
  /** Throws `DomainError` for input that is refused whoever asks; errors that yield to 403 travel as values. */
  readonly input: (request: RouteRequest, settings: ApiSettings, readPolicy: PolicyReader) => Input
  readonly facts: (input: Input, caller: Caller, now: Wall) => B
  /**
   * What needs time: slow hashing, another store. Runs on a snapshot before any transaction; a write's decision
   * runs again inside it and must refuse a proof whose row has changed meanwhile. Nothing to prove: no promise.
   */
  readonly prove?: (facts: FactsOf<B>, input: Input, io: NodeIo, caller: Caller) => Proof | Promise<Proof>
  readonly decide: (facts: FactsOf<B>, input: Input, context: Context, proof: Proof) => Outcome
  /** True when this request only asks what it would do: its outcome's `tried` is tried and taken back. */
  readonly rehearses?: (input: Input) => boolean
  /**
   * Bodies that are larger take long: they are worked on elsewhere, where the node has such a place. Only of writes that
   * prove nothing and look at no header.
   */
  readonly elsewhereBytes?: number
  /** Commands of one lane are run one at a time (policy loads of an account). */
  readonly lane?: (input: Input) => string
  /** What is recorded of a command that waited for others in vain: it is decided by nobody. */
  readonly conflict?: (caller: Caller) => AuditEvent
}

// biome-ignore lint/suspicious/noExplicitAny: a table holds routes of every input; each is checked where it is defined
export type AnyRoute = Route<any, any, any>

/** Keeps the types of a route's parts together where it is written down. */
export function route<Input, B extends Batch, Proof = undefined>(
  definition: Route<Input, B, Proof>,
): Route<Input, B, Proof> {
  return definition
}
