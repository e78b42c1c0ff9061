// The error answers of the reference, one function each (http-api 2.1). Errors carry no changes; the caller
// adds the audit event that goes with them (`recorded`).
import type { Json } from '../base/json.ts'
import { notFoundWords, splitId } from '../id/resource-id.ts'
import { answer, json, type Outcome } from './outcome.ts'

function problem(status: number, code: string | number, message: string, extra: object = {}): Outcome {
  return answer(status, json({ error: { code, message, ...extra } } as Json))
}

export const CONCURRENT_LOAD = 'Concurrent policy load in progress, please retry'

export const problems = {
  /** Visible but not allowed: always empty. */
  forbidden: (): Outcome => answer(403),
  /** Bad credentials: empty, the reason stands in the audit only. */
  unauthorized: (): Outcome => answer(401),
  unauthorizedBecause: (message: string): Outcome => problem(401, 'unauthorized', message),
  badRequest: (message?: string): Outcome =>
    message === undefined ? answer(400) : problem(400, 'bad_request', message),
  /** No such route or kind. */
  noRoute: (): Outcome => answer(404, { kind: 'no_route' }),
  /** Missing or invisible record. `id` as full as it is known. */
  recordNotFound: (id: string): Outcome => {
    const { account, kind, identifier } = splitId(id)
    const target = kind || 'unknown kind'
    const message = notFoundWords(id)
    const full = `${account || 'unknown account'}:${target}:${identifier ?? ''}`
    return problem(404, 'not_found', message, {
      target,
      details: { code: 'not_found', target: 'id', message: full },
    })
  },
  notFound: (message: string): Outcome => problem(404, 'not_found', message),
  notAllowed: (message: string): Outcome => problem(405, 'method_not_allowed', message),
  /** A node that cannot write: the code is a number here. */
  readOnly: (): Outcome => problem(405, 405, 'Write operations are not allowed'),
  /** A node that cannot read what was asked for. */
  notReadable: (): Outcome => problem(405, 405, 'Read operations are not allowed'),
  notAcceptable: (message: string): Outcome => problem(406, 'not_acceptable', message),
  policyConflict: (retryAfterSeconds: number): Outcome => ({
    ...problem(409, 'policy_conflict', CONCURRENT_LOAD),
    headers: { 'Retry-After': String(retryAfterSeconds) },
  }),
  conflict: (message: string): Outcome => problem(409, 'conflict', message),
  exists: (target: string, id: string): Outcome =>
    problem(409, 'conflict', `${target} "${id}" already exists`, {
      target,
      details: { code: 'conflict', target: 'id', message: id },
    }),
  accountNotFound: (name: string): Outcome =>
    problem(404, 'not_found', `account "${name}" not found`, {
      target: 'account',
      details: { code: 'not_found', target: 'id', message: name },
    }),
  /** The asked position is not here yet, or the data is older than asked (cluster 6.4). */
  notFreshEnough: (message: string): Outcome => problem(412, 'precondition_failed', message),
  tooLarge: (): Outcome => answer(413),
  argument: (message: string): Outcome => problem(422, 'argument_error', message),
  parameterMissing: (name: string): Outcome =>
    problem(422, 'parameter_missing', `param is missing or the value is empty: ${name}`),
  /** `message` without the target: `is not present`. */
  validation: (target: string, message: string): Outcome =>
    problem(422, 'validation_failed', `${target} ${message}`, {
      details: [{ code: 'validation_failed', target, message }],
    }),
  unprocessable: (message: string): Outcome => problem(422, 'unprocessable_entity', message),
  /** `mark` only for errors found while reading the text (policy 8). */
  policyInvalid: (message: string, mark?: { readonly line: number; readonly column: number }): Outcome =>
    problem(
      422,
      'policy_invalid',
      message,
      mark && { innererror: { code: 'policy_invalid', filename: 'policy', ...mark } },
    ),
  notImplemented: (message: string): Outcome => problem(501, 'not_implemented', message),
  /** 503 with a reason for programs: `audit_unavailable`, `no_leader_commit`, `keys_locked`. */
  unavailable: (code: string, message: string): Outcome => problem(503, code, message),
} as const
