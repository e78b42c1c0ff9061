// What a client says of an authenticator that is to be, or to be changed, and how one is shown (http-api 15).
import { isStorable } from '../base/bytes.ts'
import { isObject, type Json } from '../base/json.ts'
import { makeId } from '../id/resource-id.ts'
import { authenticatorOf, branchOf, isStatus, nameOfType } from './catalogue.ts'
import {
  invalid,
  isAbsent,
  missingWords,
  mustBeExpected,
  mustBeGiven,
  printData,
  readData,
  wrongType,
} from './fields.ts'

type Members = Readonly<Record<string, unknown>>

export type Owner = { readonly kind: string; readonly id: string }

export type Definition = {
  /** `authn-jwt`. */
  readonly authenticator: string
  readonly name: string
  readonly enabled: boolean
  /** Undefined: the policy that it is made in. */
  readonly owner: Owner | undefined
  /** Texts by field; a blank one makes a variable without a value. */
  readonly values: ReadonlyMap<string, string>
  readonly annotations: readonly (readonly [name: string, value: string])[]
}

const OWNER_KINDS = ['user', 'host', 'group']

/** Throws `unprocessable_entity`. */
export function readDefinition(body: Members): Definition {
  mustBeExpected(body, ['type', 'name', 'enabled', 'owner', 'data', 'annotations'])
  mustBeGiven(body, ['type', 'name'])
  const { type, name, enabled } = body
  if (typeof type !== 'string') throw wrongType('type', 'string')
  if (typeof name !== 'string') throw wrongType('name', 'string')
  if (!isAbsent(enabled) && typeof enabled !== 'boolean') throw wrongType('enabled', 'true, false')
  const authenticator = nameOfType(type)
  if (authenticator === undefined) throw invalid(`'authn-${type}' authenticators are not supported.`)
  if (!/^[A-Za-z0-9._:-]{1,60}$/.test(name)) {
    throw invalid("Invalid 'name' parameter: it must have 1 to 60 letters, digits, '.', '_', ':' or '-'")
  }
  if (isStatus(branchOf(authenticator, name))) {
    throw invalid("Invalid 'name' parameter: 'status' is what the status of an authenticator is called")
  }
  return {
    authenticator,
    name,
    enabled: enabled ?? true,
    owner: ownerOf(body.owner),
    values: valuesOf(authenticator, body.data),
    annotations: annotationsOf(body.annotations),
  }
}

function ownerOf(owner: unknown): Owner | undefined {
  if (isAbsent(owner)) return undefined
  if (!isObject(owner)) throw wrongType('owner', 'object')
  mustBeExpected(owner, ['kind', 'id'])
  mustBeGiven(owner, ['kind', 'id'])
  const { kind, id } = owner
  if (typeof kind !== 'string') throw wrongType('kind', 'string')
  if (!OWNER_KINDS.includes(kind)) throw invalid(`Kind '${kind}' is not a valid owner kind`)
  if (typeof id !== 'string' || !isStorable(id)) throw wrongType('id', 'string')
  const identifier = id.startsWith('/') ? id.slice(1) : id
  if (identifier === '') throw invalid(missingWords('id'))
  return { kind, id: identifier }
}

function valuesOf(authenticator: string, data: unknown): ReadonlyMap<string, string> {
  const row = authenticatorOf(authenticator)!
  if (isAbsent(data)) {
    if (row.data === 'required') throw invalid(missingWords('data'))
    return new Map()
  }
  if (row.data === 'forbidden') throw invalid('The following parameters were not expected: data')
  if (!isObject(data)) throw wrongType('data', 'object')
  const values = readData(row.fields, data)
  const fault = row.fieldFault((field) => (values.get(field) ?? '') !== '')
  if (fault !== undefined) throw invalid(fault)
  return values
}

function annotationsOf(annotations: unknown): Definition['annotations'] {
  if (isAbsent(annotations)) return []
  if (!isObject(annotations)) throw wrongType('annotations', 'object')
  return Object.entries(annotations).map(([name, value]) => {
    if (!/^[A-Za-z0-9_/-]{1,500}$/.test(name)) {
      throw invalid("Invalid annotation name: it must have 1 to 500 letters, digits, '_', '/' or '-'")
    }
    if (typeof value !== 'string') throw wrongType(name, 'string')
    if (!/^[^<>']{1,120}$/.test(value) || !isStorable(value)) {
      throw invalid(
        `Invalid value of annotation '${name}': it must have 1 to 120 characters without <, > and '`,
      )
    }
    return [name, value]
  })
}

/** What a change says: whether it is on. Throws `unprocessable_entity`. */
export function readEnabled(body: Members): boolean {
  const { enabled, ...others } = body
  if (enabled === undefined) throw invalid('Missing required parameter: enabled')
  const odd = Object.keys(others)
  if (odd.length > 0) throw invalid(`The following parameters were not expected: '${odd.join(', ')}'`)
  if (typeof enabled !== 'boolean') throw invalid('The enabled parameter must be of type=boolean')
  return enabled
}

/** As it is shown; of its values, only those that may be. */
export function itemOf(shown: Omit<Definition, 'owner'> & { readonly owner: Owner }): Json {
  const row = authenticatorOf(shown.authenticator)!
  const data = printData(row.fields, shown.values)
  return {
    type: row.types[0]!,
    branch: `conjur/${shown.authenticator}`,
    name: shown.name,
    enabled: shown.enabled,
    owner: { id: shown.owner.id, kind: shown.owner.kind },
    ...(data === undefined ? {} : { data }),
    ...(shown.annotations.length === 0 ? {} : { annotations: Object.fromEntries(shown.annotations) }),
  }
}

/** Its records in an account. */
export type Place = {
  /** `conjur/authn-jwt/ci`. */
  readonly identifier: string
  readonly webservice: string
  /** The policy that it is made in: of all authenticators of its type. */
  readonly parent: string
  /** The policy that holds its records; the parent, where there is only one of a type. */
  readonly branch: string
}

/** Undefined for a name that none can have: a type without services has only `default`. */
export function placeOf(account: string, authenticator: string, name: string): Place | undefined {
  const { services } = authenticatorOf(authenticator)!
  const identifier = branchOf(authenticator, services ? name : undefined)
  if (isStatus(identifier) || !(services || name === 'default')) return undefined
  return {
    identifier,
    webservice: makeId(account, 'webservice', identifier),
    parent: makeId(account, 'policy', branchOf(authenticator, undefined)),
    branch: makeId(account, 'policy', identifier),
  }
}
