// What the annotations of a role ask of its credential (http-api 8.5, 8.6, 8.9): `authn-azure/prod/resource-group` for one
// service, `authn-azure/resource-group` for all of them. Pure; refusals name annotations and never hold what is in them.
import { type Attempt, Refused } from './contract.ts'

/** Values by name: `resource-group`. */
export type Restrictions = ReadonlyMap<string, string>

export type Rules = {
  /** Names that there are; any other refuses the role, as a restriction that nobody looks at protects nobody. */
  readonly known: readonly string[]
  /** All of them. */
  readonly required?: readonly string[]
  /** At least one. */
  readonly anyOf?: readonly string[]
  /** Exactly one. */
  readonly oneOf?: readonly string[]
  /** Of each list at most one. */
  readonly exclusive?: readonly (readonly string[])[]
}

/**
 * The restrictions of a role. One for the service of the attempt goes before one for all services. What stands deeper is
 * for another service, or, of an authenticator without `services`, a name that is not known.
 */
export function restrictionsOf(
  { authenticator, service }: Pick<Attempt, 'authenticator' | 'service'>,
  annotations: ReadonlyMap<string, string>,
  services = true,
): Restrictions {
  const below = (prefix: string): (readonly [string, string])[] =>
    [...annotations].flatMap(([name, value]): (readonly [string, string])[] => {
      if (!name.startsWith(prefix)) return []
      const rest = name.slice(prefix.length)
      return services && rest.includes('/') ? [] : [[rest, value]]
    })
  return new Map([
    ...below(`${authenticator}/`),
    ...(service === undefined ? [] : below(`${authenticator}/${service}/`)),
  ])
}

/** Throws `Refused` when a role may not have these restrictions, whatever its credential is. */
export function mustFollow(restrictions: Restrictions, rules: Rules): void {
  const { known, required = [], anyOf, oneOf, exclusive = [] } = rules
  const given = (names: readonly string[]): string[] => names.filter((name) => restrictions.has(name))
  const absent = required.filter((name) => !restrictions.has(name))
  if (absent.length > 0) throw new Refused(`CONJ00057E Role lacks the required restrictions ${words(absent)}`)
  if (anyOf !== undefined && given(anyOf).length === 0)
    throw new Refused(`CONJ00069E Role must have at least one of the restrictions ${words(anyOf)}`)
  if (oneOf !== undefined && given(oneOf).length !== 1)
    throw new Refused(`CONJ00131E Role must have exactly one of the restrictions ${words(oneOf)}`)
  const odd = [...restrictions.keys()].filter((name) => !known.includes(name))
  if (odd.length > 0)
    throw new Refused(`CONJ00050E Restrictions ${words(odd)} are not supported, but ${words(known)} are`)
  for (const names of exclusive)
    if (given(names).length > 1)
      throw new Refused(`CONJ00055E Role must not have more than one of the restrictions ${words(names)}`)
  // An annotation without a value would restrict nothing, or everything: whoever wrote it meant something else.
  for (const [name, value] of restrictions)
    if (value.trim() === '')
      throw new Refused(`CONJ00100E The annotation of the restriction ${name} is empty`)
}

/** Throws `Refused` unless each is what the credential says. */
export function mustMatch(restrictions: Restrictions, says: (name: string) => string | undefined): void {
  for (const [name, value] of restrictions)
    if (says(name) !== value)
      throw new Refused(`CONJ00049E Restriction ${name} does not match what the request says`)
}

const words = (names: readonly string[]): string => names.map((name) => `'${name}'`).join(', ')
