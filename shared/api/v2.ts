// What all V2 routes have in common (http-api 15): the type that must be asked for, and bodies of that type.
import { fromUtf8, utf8 } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import { isObject, type Json, parseJson } from '../base/json.ts'
import { notFoundWords } from '../id/resource-id.ts'
import { answer, type Body, json, type Outcome } from './outcome.ts'
import type { RouteRequest } from './request.ts'
import { V2_TYPE } from './respond.ts'

export const wantsV2 = ({ header }: RouteRequest): boolean => header('accept') === V2_TYPE

const NOT_WANTED = `CONJ00194W The api belongs to v2 APIs but it missing the version "${V2_TYPE}" in the Accept header`

/** In the form of V2, though nobody asked for it. */
export const v2NotWanted = (): Outcome => answer(400, json({ code: '400', message: NOT_WANTED }))

export const v2Json = (value: Json): Body => ({
  kind: 'bytes',
  bytes: utf8(JSON.stringify(value)),
  type: V2_TYPE,
})

const BODY_FAULTS = { empty: 'Request body is empty', malformed: 'Request JSON is malformed' }

/** The object of a body. Throws `bad_request`. */
export function v2Object({ body }: RouteRequest, faults = BODY_FAULTS): Readonly<Record<string, unknown>> {
  const text = fromUtf8(body)
  if (text?.trim() === '') throw new DomainError('bad_request', faults.empty)
  const value = text === undefined ? undefined : parseJson(text)
  if (!isObject(value)) throw new DomainError('bad_request', faults.malformed)
  return value
}

/** A policy is a branch in V2's words, and one that is not seen is not there (note 1). */
export const branchNotFound = (policy: string): string => notFoundWords(policy).replace(/^Policy/, 'Branch')

/** Paths of V2 begin at the root, with or without a slash. */
export const withoutSlash = (id: string): string => (id.startsWith('/') ? id.slice(1) : id)
