// What a decision may ask for. Nothing here has happened yet.
import type { AuditEvent } from '../audit/event.ts'
import type { Json } from '../base/json.ts'
import type { Change } from '../ledger/change.ts'
import type { Batch, FactsOf } from '../ledger/store.ts'

export type Body =
  | { readonly kind: 'empty' }
  /** Nothing has this path: said in JSON to whoever accepts that (http-api 1). */
  | { readonly kind: 'no_route' }
  | { readonly kind: 'json'; readonly value: Json }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array; readonly type: string }
  /** Signed after the decision (finish.ts): an access token for this role. */
  | {
      readonly kind: 'token'
      readonly role: string
      readonly ttlSeconds: number
      /** Answer as base64 text instead of JSON (http-api 4). */
      readonly base64: boolean
    }

/** Changes that are tried and taken back, and what is answered when it is known what they would do. */
export type Tried = {
  readonly changes: readonly Change[]
  readonly watch: Batch
  readonly report: (before: FactsOf<Batch>, after: FactsOf<Batch>) => Outcome
}

export type Outcome = {
  readonly status: number
  readonly body: Body
  readonly headers?: Readonly<Record<string, string>>
  /** Empty for reads. A Follower answers 405 to an outcome that succeeds with a write route. */
  readonly changes: readonly Change[]
  readonly audit: readonly AuditEvent[]
  /** Only of a route that rehearses. */
  readonly tried?: Tried
}

const empty: Body = { kind: 'empty' }

type Extra = {
  readonly headers?: Readonly<Record<string, string>>
  readonly changes?: readonly Change[]
  readonly audit?: readonly AuditEvent[]
}

export function answer(status: number, body: Body = empty, extra: Extra = {}): Outcome {
  return { changes: [], audit: [], ...extra, status, body }
}

export const json = (value: Json): Body => ({ kind: 'json', value })
export const text = (value: string): Body => ({ kind: 'text', text: value })

/** The same outcome with these events recorded too. */
export function recorded(outcome: Outcome, ...events: readonly AuditEvent[]): Outcome {
  return { ...outcome, audit: [...outcome.audit, ...events] }
}
