// What a policy text may say of dynamic variables (policy 3).
import { DYNAMIC_ANNOTATION, isDynamic, isIssuerName, issuerPolicy } from '../id/dynamic.ts'
import { accountOf, identifierOf, kindOf } from '../id/resource-id.ts'
import { PolicyError } from './errors.ts'
import type { Resolved, ResolvedRecord } from './resolve.ts'

/** Where secrets come from, each with the shortest and longest time to live that it gives, seconds. */
const methods: Readonly<Record<string, { readonly words: string; readonly ttl: readonly [number, number] }>> =
  {
    'assume-role': { words: 'assume role', ttl: [900, 129_600] },
    'federation-token': { words: 'federation token', ttl: [900, 43_200] },
  }

const annotated = ({ annotations }: ResolvedRecord, name: string): string | undefined =>
  annotations.find(([held]) => held === DYNAMIC_ANNOTATION + name)?.[1]

/** Variables that are dynamic by their place, or say that they are. */
export const dynamicVariables = ({ records }: Resolved): ResolvedRecord[] =>
  records.filter(
    (record) =>
      isDynamic(record.id) || (kindOf(record.id) === 'variable' && annotated(record, 'issuer') !== undefined),
  )

/** Policies of the issuers that they name. */
export const issuersNamed = (variables: readonly ResolvedRecord[]): string[] => [
  ...new Set(variables.flatMap((variable) => policyNamed(variable) ?? [])),
]

function policyNamed(variable: ResolvedRecord): string | undefined {
  const issuer = annotated(variable, 'issuer')
  return issuer !== undefined && isIssuerName(issuer)
    ? issuerPolicy(accountOf(variable.id), issuer)
    : undefined
}

/** `usable`: largest times to live of the issuers that the loader may use, by their policies. Throws `PolicyError`. */
export function checkDynamic(
  variables: readonly ResolvedRecord[],
  usable: ReadonlyMap<string, number>,
): void {
  for (const variable of variables) {
    const error = errorOf(variable, usable)
    if (error !== undefined) throw new PolicyError(error)
  }
}

function errorOf(variable: ResolvedRecord, usable: ReadonlyMap<string, number>): string | undefined {
  const name = identifierOf(variable.id)
  const issuer = annotated(variable, 'issuer')
  if (!isDynamic(variable.id)) return `The dynamic variable '${name}' is not in the correct path`
  if (issuer === undefined) return `The dynamic variable '${name}' has no issuer annotation`
  const maxTtl = usable.get(policyNamed(variable) ?? '')
  // One that may not be used is as good as none: who asks must not learn what there is.
  if (maxTtl === undefined) return `Issuer '${issuer}' not found in account '${accountOf(variable.id)}'`
  const method = annotated(variable, 'method')
  if (method === undefined)
    return `The variable definition for dynamic secret "${name}" requires a 'method' annotation.`
  return ttlError(name, method, annotated(variable, 'ttl'), maxTtl)
}

function ttlError(
  name: string,
  method: string,
  text: string | undefined,
  maxTtl: number,
): string | undefined {
  const row = Object.hasOwn(methods, method) ? methods[method] : undefined
  if (row === undefined)
    return `The method annotation in the variable definition for dynamic secret "${name}" is not valid. Allowed values: ${Object.keys(methods).join(', ')}`
  if (text === undefined) return undefined
  const ttl = /^\d{1,9}$/.test(text) ? Number(text) : 0
  const [from, to] = row.ttl
  if (ttl < from || ttl > to)
    return `Dynamic variable TTL is out of range for ${row.words} (range is ${from} to ${to})`
  return ttl > maxTtl
    ? "The TTL of the dynamic secret can't exceed the maximum TTL defined in the issuer."
    : undefined
}
