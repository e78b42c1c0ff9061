import type { Json } from '../base/json.ts'

/** `account:kind:identifier`. The identifier may hold `:` and `/` (http-api 1). */
export type ResourceId = string

export type IdParts = { readonly account: string; readonly kind: string; readonly identifier: string }

export function makeId(account: string, kind: string, identifier: string): ResourceId {
  return `${account}:${kind}:${identifier}`
}

/** Splits at the first two colons. Parts that are not there are undefined, so that messages can say so. */
export function splitId(id: string): Partial<IdParts> {
  const first = id.indexOf(':')
  if (first < 0) return id === '' ? {} : { account: id }
  const second = id.indexOf(':', first + 1)
  const account = id.slice(0, first)
  if (second < 0) return { account, kind: id.slice(first + 1) }
  return { account, kind: id.slice(first + 1, second), identifier: id.slice(second + 1) }
}

/** The three parts of a full id, or undefined when it is not one. */
export function parseId(id: string): IdParts | undefined {
  const { account, kind, identifier } = splitId(id)
  if (!account || !kind || !identifier) return undefined
  return { account, kind, identifier }
}

/** The account of an id known to be full (a stored row). */
export const accountOf = (id: ResourceId): string => id.slice(0, id.indexOf(':'))

export function kindOf(id: ResourceId): string {
  const first = id.indexOf(':')
  return id.slice(first + 1, id.indexOf(':', first + 1))
}

export const identifierOf = (id: ResourceId): string => id.slice(id.indexOf(':', id.indexOf(':') + 1) + 1)

/** Full id from `kind:identifier` or a full id; undefined when it is neither. */
export function expandId(account: string, partial: string): ResourceId | undefined {
  const parts = partial.split(':')
  if (parts.length < 2) return undefined
  return parts.length === 2 ? `${account}:${partial}` : partial
}

/** Smallest and first-too-large id of everything in an account, or of one kind in it: a range scan of the key. */
export function idRange(account: string, kind?: string): { readonly from: string; readonly below: string } {
  const prefix = kind === undefined ? account : `${account}:${kind}`
  // ';' is the byte after ':'.
  return { from: `${prefix}:`, below: `${prefix};` }
}

/** `Variable`, `Host_factory`: how a kind is written at the start of a message (http-api 2.1). */
export function capitalise(kind: string): string {
  return kind.charAt(0).toUpperCase() + kind.slice(1)
}

/** The words `Variable 'db/pw' not found in account 'acme'`; missing parts print as unknown (http-api 2.1), a blank kind as nothing (policy 3.2). */
export function notFoundWords(id: string): string {
  const { account, kind, identifier } = splitId(id)
  const name = kind === undefined ? 'Unknown kind' : capitalise(kind)
  return `${name} '${identifier ?? ''}' not found in account '${account || 'unknown account'}'`
}

export type JsonObject = { readonly [key: string]: Json }
