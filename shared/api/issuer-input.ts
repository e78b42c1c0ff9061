// What is asked for an issuer, and what is wrong with it (http-api 14). Nothing of its keys is in a message.
import { isObject } from '../base/json.ts'
import { isIssuerName } from '../id/dynamic.ts'
import type { Outcome } from './outcome.ts'
import { problems } from './problems.ts'
import { type Members, membersOf, type RouteRequest } from './request.ts'

export type IssuerData = { readonly access_key_id: string; readonly secret_access_key: string }

export type NewIssuer = {
  readonly id: string
  readonly type: string
  readonly maxTtl: number
  readonly data: IssuerData
}
/** Undefined: stays as it is. */
export type IssuerUpdate = { readonly maxTtl: number | undefined; readonly data: IssuerData | undefined }

export type Fault = { readonly outcome: Outcome; readonly error: string }
export type Checked<T> = { readonly value: T } | { readonly fault: Fault }

type Values = Members['members']

const badRequest = (error: string): Fault => ({ outcome: problems.badRequest(error), error })
const unprocessable = (error: string): Fault => ({ outcome: problems.unprocessable(error), error })

const required = (name: string): string => `${name} is a required parameter and must be specified`
const wrongType = (name: string, type: string): string => `the '${name}' parameter must be a ${type}`

const isAbsent = (value: unknown): boolean => value === undefined || value === null

/** Query and body; a number of a form is one. */
export function issuerValues(request: RouteRequest): Values {
  const { members, isForm } = membersOf(request)
  const { max_ttl: ttl } = members
  const isNumber = isForm && typeof ttl === 'string' && /^\d{1,9}$/.test(ttl)
  return isNumber ? { ...members, max_ttl: Number(ttl) } : members
}

export function newIssuerOf(values: Values): Checked<NewIssuer> {
  const { id, type, max_ttl: maxTtl, data } = values
  const error =
    idError(id) ??
    maxTtlError(maxTtl) ??
    typeError(type) ??
    (isAbsent(data) ? required('data') : undefined) ??
    unknownError(values, ['id', 'type', 'max_ttl', 'data'], 'id, type, max_ttl and data')
  if (error !== undefined) return { fault: badRequest(error) }
  const wrong = dataError(data)
  if (wrong !== undefined) return { fault: unprocessable(wrong) }
  return { value: { id: id as string, type: type as string, maxTtl: maxTtl as number, data: dataOf(data) } }
}

export function issuerUpdateOf(values: Values): Checked<IssuerUpdate> {
  const { max_ttl: maxTtl, data } = values
  const error =
    (isAbsent(maxTtl) ? undefined : maxTtlError(maxTtl)) ??
    unknownError(values, ['max_ttl', 'data'], 'max_ttl and data')
  if (error !== undefined) return { fault: badRequest(error) }
  if (isAbsent(data)) return { value: { maxTtl: maxTtlOf(maxTtl), data: undefined } }
  const wrong = dataError(data)
  if (wrong !== undefined) return { fault: unprocessable(wrong) }
  return { value: { maxTtl: maxTtlOf(maxTtl), data: dataOf(data) } }
}

const maxTtlOf = (value: unknown): number | undefined => (isAbsent(value) ? undefined : (value as number))

function dataOf(data: unknown): IssuerData {
  const { access_key_id, secret_access_key } = data as IssuerData
  return { access_key_id, secret_access_key }
}

function textError(name: string, value: unknown): string | undefined {
  if (isAbsent(value) || value === '') return required(name)
  return typeof value === 'string' ? undefined : wrongType(name, 'string')
}

function idError(id: unknown): string | undefined {
  const error = textError('id', id)
  if (error !== undefined || isIssuerName(id as string)) return error
  return /^[A-Za-z0-9+_-]+$/.test(id as string)
    ? "'id' parameter length exceeded. Limit the length to 60 characters"
    : "invalid 'id' parameter. Only the following characters are supported: A-Z, a-z, 0-9, +, -, and _"
}

function maxTtlError(value: unknown): string | undefined {
  if (isAbsent(value)) return required('max_ttl')
  if (!Number.isInteger(value) || (value as number) <= 0) return wrongType('max_ttl', 'positive integer')
  return (value as number) < 900 || (value as number) > 43_200
    ? wrongType('max_ttl', 'between 900 and 43200')
    : undefined
}

const typeError = (type: unknown): string | undefined =>
  textError('type', type) ?? (type === 'aws' ? undefined : 'issuer type is unsupported')

function unknownError(values: Values, known: readonly string[], words: string): string | undefined {
  return Object.keys(values).every((name) => known.includes(name))
    ? undefined
    : `invalid parameter received in the request body. Only ${words} are allowed`
}

const keyForms = {
  access_key_id: {
    form: /^(A3T[A-Z0-9]|AKIA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA|ASIA)[A-Z0-9]{16}$/,
    words: 'The access key ID must be a valid AWS access key ID.',
  },
  secret_access_key: {
    form: /^[A-Za-z0-9/+]{40}$/,
    words: 'The secret access key must be a valid AWS secret access key.',
  },
} as const

function dataError(data: unknown): string | undefined {
  if (!isObject(data))
    return "'data' is not a valid JSON object; ensure that 'data' is properly formatted as a JSON object."
  const forms = Object.entries(keyForms)
  for (const [name] of forms) {
    const error = textError(name, data[name])
    if (error !== undefined) return error
  }
  if (Object.keys(data).length !== forms.length)
    return 'invalid parameter received in data. Only access_key_id and secret_access_key are allowed'
  for (const [name, { form, words }] of forms) {
    if (!form.test(data[name] as string)) return `invalid '${name}' parameter format. ${words}`
  }
  return undefined
}
