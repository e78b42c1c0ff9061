// An outcome as an answer: bytes, types and the headers every answer carries (http-api 2).
import { toBase64, utf8 } from '../base/bytes.ts'
import { isObject } from '../base/json.ts'
import { format, type Position } from '../ledger/position.ts'
import type { Tokens } from '../token/access-token.ts'
import type { Outcome } from './outcome.ts'
import type { Answer } from './request.ts'

export const V2_TYPE = 'application/x.secretsmgr.v2beta+json'
const JSON_TYPE = 'application/json; charset=utf-8'
const TEXT_TYPE = 'text/plain; charset=utf-8'

export type Stamps = {
  readonly requestId: string
  /** Undefined for answers that read nothing. */
  readonly position?: Position | undefined
  readonly ageMs?: number | undefined
  readonly receipt?: string | undefined
}

/** Signs the token of a `token` body; every other outcome passes as it is. The only asynchronous part of an answer. */
export function finish(outcome: Outcome, tokens: Tokens, now: number): Outcome | Promise<Outcome> {
  return outcome.body.kind === 'token' ? signed(outcome, outcome.body, tokens, now) : outcome
}

type TokenBody = Extract<Outcome['body'], { kind: 'token' }>

async function signed(outcome: Outcome, body: TokenBody, tokens: Tokens, now: number): Promise<Outcome> {
  const token = await tokens.issue(body.role, body.ttlSeconds, now)
  if (!body.base64) return { ...outcome, body: { kind: 'bytes', bytes: utf8(token), type: JSON_TYPE } }
  return {
    ...outcome,
    headers: { ...outcome.headers, 'Content-Encoding': 'base64' },
    body: { kind: 'text', text: toBase64(utf8(token)) },
  }
}

/** `accept`: the V2 type gives errors another form (http-api 2.1). */
export function respond(outcome: Outcome, stamps: Stamps, accept: string | undefined): Answer {
  const headers: Record<string, string> = { 'X-Request-Id': stamps.requestId }
  if (stamps.position !== undefined) headers['Holdfast-Position'] = format(stamps.position)
  if (stamps.ageMs !== undefined) headers['Holdfast-Age-Ms'] = String(stamps.ageMs)
  if (stamps.receipt !== undefined) headers['Holdfast-Receipt'] = stamps.receipt
  if (outcome.headers !== undefined) Object.assign(headers, outcome.headers)
  const v2 = accept === V2_TYPE && outcome.status >= 400
  const { type, body } = v2 ? v2Body(outcome) : plainBody(outcome, accept)
  if (type !== undefined) headers['Content-Type'] = type
  return { status: outcome.status, headers, body }
}

type Rendered = { readonly type: string | undefined; readonly body: Uint8Array | string | undefined }

function plainBody({ body }: Outcome, accept?: string): Rendered {
  switch (body.kind) {
    case 'empty':
      return { type: undefined, body: undefined }
    case 'no_route':
      return /\bjson\b/.test(accept ?? '') ? noRoute : { type: undefined, body: undefined }
    case 'json':
      return { type: JSON_TYPE, body: JSON.stringify(body.value) }
    case 'text':
      return { type: TEXT_TYPE, body: body.text }
    case 'bytes':
      return { type: body.type, body: body.bytes }
    case 'token':
      throw new Error('a token body is signed before it is answered')
  }
}

const NO_ROUTE = 'Not Found'
const noRoute: Rendered = { type: JSON_TYPE, body: JSON.stringify({ status: 404, error: NO_ROUTE }) }

const V2_STATUSES = new Set([400, 401, 403, 404, 409, 422])

function v2Body(outcome: Outcome): Rendered {
  const { status, body } = outcome
  const message = messageOf(body)
  // Reports and empty lists go with such a status too, and are no errors.
  if (!V2_STATUSES.has(status) || (body.kind === 'json' && message === undefined)) return plainBody(outcome)
  if (status === 401 || status === 403 || message === undefined) return { type: V2_TYPE, body: undefined }
  return { type: V2_TYPE, body: JSON.stringify({ code: String(status), message }) }
}

/** Undefined for what is no error. */
function messageOf(body: Outcome['body']): string | undefined {
  if (body.kind === 'no_route') return NO_ROUTE
  const error = body.kind === 'json' && isObject(body.value) ? body.value.error : undefined
  return isObject(error) && typeof error.message === 'string' ? error.message : undefined
}
