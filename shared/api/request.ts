// A request as the doors hand it in, and as a route reads it (http-api 1, 2).
import { fromUtf8, isStorable } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import { isObject, parseJson } from '../base/json.ts'
import type { Shown } from '../enrolment/names.ts'

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
  /** What the peer showed, on a listener that asks for certificates. */
  readonly shown?: () => Shown
  /** PEM of what it showed, whoever signed it: it has the key. */
  readonly certificate?: () => string | undefined
}

export const bodyTooLarge = (limitBytes: number): DomainError =>
  new DomainError('too_large', `the body is larger than ${limitBytes} bytes`)

/** `null` for a key without `=`; lists and maps from `a[]=1` and `a[k]=v`. */
export type QueryValue = string | null | readonly string[] | { readonly [key: string]: string }
export type Query = ReadonlyMap<string, QueryValue>

/** What a route's `input` reads: path parameters decoded once, query parsed, body complete. */
export type RouteRequest = {
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  readonly header: (name: string) => string | undefined
  readonly body: Uint8Array
  /** PEM: the client's, who has its key; whoever signed it. */
  readonly certificate?: () => string | undefined
}

/** The answer before a door turns it into bytes on a socket. */
export type Answer = {
  readonly status: number
  /** The door's own from here on: it adds what the transport needs. */
  readonly headers: Record<string, string>
  readonly body: Uint8Array | string | undefined
}

const noQuery: Query = new Map()

/** Pairs are separated by `&` or `;`; `+` is a space. */
export function parseQuery(text: string): Query {
  if (text === '') return noQuery
  const query = new Map<string, QueryValue>()
  for (const pair of text.split(/[&;]/)) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    const name = decodeForm(equals < 0 ? pair : pair.slice(0, equals))
    const value = equals < 0 ? null : decodeForm(pair.slice(equals + 1))
    mustBeStorable(name)
    if (value !== null) mustBeStorable(value)
    addPair(query, name, value)
  }
  return query
}

function addPair(query: Map<string, QueryValue>, name: string, value: string | null): void {
  const nested = /^([^[\]]+)\[([^[\]]*)\]$/.exec(name)
  if (nested === null) {
    query.set(name, value)
    return
  }
  const [, base, key] = nested as unknown as [string, string, string]
  const held = query.get(base)
  // Lists and maps grow in place: a query is read before its sender is known, and copies would cost the square.
  if (key === '') {
    if (Array.isArray(held)) held.push(value ?? '')
    else query.set(base, [value ?? ''])
  } else {
    const map: { [key: string]: string } = isObject(held) ? (held as { [key: string]: string }) : emptyMap()
    map[key] = value ?? ''
    query.set(base, map)
  }
}

/** Without a prototype: a client may name a key `__proto__`. */
const emptyMap = (): { [key: string]: string } => Object.create(null)

function decodeForm(text: string): string {
  return decodePercent(text.replaceAll('+', ' ')) ?? text
}

/** Throws `bad_request` for what no store can hold: such a name cannot be anybody's. */
export function mustBeStorable(text: string): void {
  if (!isStorable(text))
    throw new DomainError('bad_request', 'the request holds a character that no name may have')
}

/** Undefined when an escape is malformed or the bytes are not UTF-8. */
export function decodePercent(text: string): string | undefined {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** Accept-Encoding: of an access token, as the reference reads it. */
export const wantsBase64 = (acceptEncoding: string | undefined): boolean =>
  (acceptEncoding ?? '').split(',').some((encoding) => encoding.trim().toLowerCase() === 'base64')

/** The text of a parameter, or undefined when it is absent, null, a list or a map. */
export function textOf(query: Query, name: string): string | undefined {
  const value = query.get(name)
  return typeof value === 'string' ? value : undefined
}

/** One text or a list of them: `a=1`, `a[]=1&a[]=2`. Empty when absent. */
export function listOf(query: Query, name: string): readonly string[] {
  const value = query.get(name)
  if (typeof value === 'string') return [value]
  return Array.isArray(value) ? (value as readonly string[]) : []
}

type Parsed =
  | { readonly kind: 'form'; readonly pairs: Query }
  | { readonly kind: 'json'; readonly members: Readonly<Record<string, unknown>> }

/**
 * The body of the few routes that read forms (http-api 2): no media type or a form type means form pairs, JSON
 * means an object (malformed: 400), anything else is ignored unless `others` are forms too.
 */
function parsedBody({ header, body }: RouteRequest, others: 'ignored' | 'forms'): Parsed {
  const type = (header('content-type') ?? '').split(';')[0]!.trim().toLowerCase()
  if (body.length === 0) return { kind: 'form', pairs: noQuery }
  const text = fromUtf8(body)
  if (type === 'application/json') {
    const members = parseJson(text ?? '')
    if (!isObject(members)) throw new DomainError('bad_request', '')
    return { kind: 'json', members }
  }
  const isForm = others === 'forms' || !type.includes('/') || type === 'application/x-www-form-urlencoded'
  return { kind: 'form', pairs: isForm && text !== undefined ? parseQuery(text) : noQuery }
}

/** The body alone, as texts. `others`: what it is when its type is neither that of a form nor JSON. */
export function formOf(request: RouteRequest, others: 'ignored' | 'forms' = 'ignored'): Query {
  const body = parsedBody(request, others)
  return body.kind === 'form' ? body.pairs : new Map(Object.entries(body.members).map(jsonPair))
}

/** Query and body together, as texts. `others`: as for the body. */
export const parametersOf = (request: RouteRequest, others?: 'forms'): Query =>
  new Map([...request.query, ...formOf(request, others)])

export type Members = {
  /** Values of a form are texts; those of JSON are what they are there, and may hold what no store can. */
  readonly members: Readonly<Record<string, unknown>>
  readonly isForm: boolean
}

/** Query and body together, for routes that tell a number from its text. */
export function membersOf(request: RouteRequest): Members {
  const body = parsedBody(request, 'ignored')
  const isForm = body.kind === 'form'
  const own = isForm ? Object.fromEntries(body.pairs) : body.members
  return { members: { ...Object.fromEntries(request.query), ...own }, isForm }
}

function jsonPair([name, value]: [string, unknown]): [string, QueryValue] {
  mustBeStorable(name)
  if (Array.isArray(value)) return [name, value.map(plainText)]
  if (!isObject(value)) return [name, value === null ? null : plainText(value)]
  const map = emptyMap()
  for (const [key, item] of Object.entries(value)) {
    mustBeStorable(key)
    map[key] = plainText(item)
  }
  return [name, map]
}

function plainText(value: unknown): string {
  if (typeof value === 'object' && value !== null) {
    throw new DomainError('bad_request', 'the JSON body is nested deeper than lists and maps of plain values')
  }
  const text = String(value)
  mustBeStorable(text)
  return text
}
