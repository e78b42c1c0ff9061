// Variables whose values an issuer makes when they are read, and where issuers are (http-api 14).
import { identifierOf, kindOf, makeId, type ResourceId } from './resource-id.ts'

/** What the identifiers of such variables begin with. */
export const DYNAMIC_PATH = 'data/dynamic/'
/** What the names of their annotations begin with. */
export const DYNAMIC_ANNOTATION = 'dynamic/'

export const isDynamic = (id: ResourceId): boolean =>
  identifierOf(id).startsWith(DYNAMIC_PATH) && kindOf(id) === 'variable'

/** Whoever may do what on it may do so with issuers. */
export const issuersPolicy = (account: string): ResourceId => makeId(account, 'policy', 'conjur/issuers')

/** The policy that an issuer goes with. */
export const issuerPolicy = (account: string, name: string): ResourceId =>
  makeId(account, 'policy', `conjur/issuers/${name}`)

export const isIssuerName = (text: string): boolean => /^[A-Za-z0-9+_-]{1,60}$/.test(text)
