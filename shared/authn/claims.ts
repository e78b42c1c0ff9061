// What the claims of a token say of a role: whom they name, and whether they are those that the role's annotations ask for
// (http-api 8.8). Refusals name annotations of the role, never a setting or a claim's value.
import { isStorable } from '../base/bytes.ts'
import { isObject } from '../base/json.ts'
import { Refused } from './contract.ts'
import type { Claims } from './external-token.ts'

/** Names of claims, joined by `/`. */
const CLAIM_PATH = /^[A-Za-z$_|][A-Za-z0-9$_|.-]*(?:\/[A-Za-z$_|][A-Za-z0-9$_|.-]*)*$/

/** They are checked as such, and bind no role. */
const RESERVED = ['iss', 'exp', 'nbf', 'iat', 'jti', 'aud']

/** First as one name at the top, then as a way through objects; undefined: there is no such claim. */
export function claimAt(claims: Claims, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path]
  let at: unknown = claims
  for (const name of path.split('/')) {
    if (!isObject(at) || !Object.hasOwn(at, name)) return undefined
    at = at[name]
  }
  return at
}

/** Identifier of the host that a claim names. `path`: the branch that it is in. Throws `Refused`. */
export function hostNamed(claims: Claims, property: string, path: string | undefined): string {
  if (!CLAIM_PATH.test(property))
    throw new Refused("CONJ00117E Failed to parse 'token-app-property': it is no path of a claim")
  const name = claimAt(claims, property)
  if (name === undefined || name === null || name === '')
    throw new Refused('CONJ00081E The claim of token-app-property was not found in the token')
  if (typeof name !== 'string' || !isStorable(name))
    throw new Refused('CONJ00118E The claim of token-app-property is no text. An identity must be a text')
  if (path === undefined) return name
  return `${path.replace(/\/+$/, '')}/${name.replace(/^\//, '')}`
}

export type ClaimRules = {
  /** Hosts must have annotations for these claims. */
  readonly enforced: readonly string[]
  /** Annotation → claim, where the names differ. */
  readonly aliases: ReadonlyMap<string, string>
}

/** From the settings `enforced-claims` and `claim-aliases`; undefined: there is none. Throws `Refused`. */
export const claimRules = (enforced: string | undefined, aliases: string | undefined): ClaimRules => ({
  enforced: enforced === undefined ? [] : enforcedClaims(enforced),
  aliases: aliases === undefined ? new Map() : claimAliases(aliases),
})

const partsOf = (text: string): string[] => text.split(',').map((part) => part.trim())

function enforcedClaims(text: string): readonly string[] {
  const claims = partsOf(text)
  if (claims.includes('')) throw new Refused('CONJ00107E enforced-claims holds an empty name')
  if (new Set(claims).size < claims.length) throw new Refused('CONJ00108E enforced-claims holds a name twice')
  for (const claim of claims) mustBeFree(claim, 'enforced-claims')
  return claims
}

function claimAliases(text: string): ReadonlyMap<string, string> {
  const parts = partsOf(text)
  if (parts.includes('')) throw new Refused('CONJ00110E claim-aliases holds an empty statement')
  const pairs = parts.map(pairOf)
  const aliases = new Map(pairs)
  if (aliases.size < pairs.length) throw new Refused('CONJ00113E claim-aliases holds an annotation twice')
  if (new Set(aliases.values()).size < pairs.length)
    throw new Refused('CONJ00113E claim-aliases holds a claim twice')
  return aliases
}

function pairOf(part: string): [annotation: string, claim: string] {
  const [annotation, claim, more] = part.split(':').map((name) => name.trim())
  if (!annotation || !claim || more !== undefined)
    throw new Refused('CONJ00111E claim-aliases holds what is not annotation:claim')
  if (annotation.includes('/')) throw new Refused("CONJ00114E claim-aliases holds an annotation with '/'")
  mustBeFree(annotation, 'claim-aliases')
  mustBeFree(claim, 'claim-aliases')
  return [annotation, claim]
}

function mustBeFree(claim: string, setting: string): void {
  if (!CLAIM_PATH.test(claim)) throw new Refused(`CONJ00104E ${setting} holds what is no name of a claim`)
  if (RESERVED.includes(claim))
    throw new Refused(`CONJ00105E ${setting} holds one of ${RESERVED.join(', ')}, which cannot be used there`)
}

/** What follows a prefix in the names of annotations, with the values. */
export const annotationsBelow = (
  annotations: ReadonlyMap<string, string>,
  prefix: string,
): ReadonlyMap<string, string> =>
  new Map(
    [...annotations].flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value] as const] : [],
    ),
  )

/** Every restriction is met. `restrictions`: what the role's annotations say, by claim or alias. Throws `Refused`. */
export function mustMeet(
  claims: Claims,
  restrictions: ReadonlyMap<string, string>,
  { enforced, aliases }: ClaimRules,
): void {
  if (restrictions.size === 0) throw new Refused('CONJ00099E Role must have at least one relevant annotation')
  const claimOf = (name: string): string => aliases.get(name) ?? name
  const bound = new Set([...restrictions.keys()].map(claimOf))
  if (!enforced.every((claim) => bound.has(claim)))
    throw new Refused('CONJ00057E Role does not have all annotations that enforced-claims asks for')
  const aliased = new Set(aliases.values())
  for (const name of restrictions.keys()) {
    if (RESERVED.includes(name) || aliased.has(name))
      throw new Refused(`CONJ00069E Role can't have registered or aliased claim: annotation '${name}'`)
    if (!CLAIM_PATH.test(name))
      throw new Refused(
        `CONJ00119E Restriction '${name}' is invalid and not representing claim path in the token`,
      )
  }
  for (const [name, value] of restrictions) mustEqual(claimAt(claims, claimOf(name)), name, value)
}

/** Only a text is equal to a text: `true`, 7 and ["x"] are not what an annotation says. */
function mustEqual(claim: unknown, name: string, value: string): void {
  if (value.trim() === '') throw new Refused(`CONJ00100E Annotation, '${name}', is empty`)
  if (claim === undefined || claim === null)
    throw new Refused(`CONJ00084E The claim of annotation '${name}' is missing from the JWT token`)
  if (claim !== value)
    throw new Refused(
      `CONJ00049E Resource restriction '${name}' does not match with the corresponding value in the request`,
    )
}
