// What a client says of a branch, and what is wrong with it (http-api 15).
import { isStorable, utf8 } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import { isObject, type Json } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { accountOf, identifierOf, makeId } from '../id/resource-id.ts'
import type { Query, RouteRequest } from './request.ts'
import { v2Object, withoutSlash } from './v2.ts'

export type BranchBody = {
  /** As it was said, for the audit: no more than what a branch has. */
  readonly said: Json
  /** The first thing that is wrong; nothing else is to be relied on then. */
  readonly fault: string | undefined
  readonly name: string
  /** Id of the policy that it is to stand in. */
  readonly parent: string
  /** Undefined when nothing is said of it. */
  readonly owner: string | undefined
  readonly annotations: readonly (readonly [name: string, value: string])[]
}

type Members = Readonly<Record<string, unknown>>

const OWNER_KINDS = ['host', 'user', 'group', 'policy']
const EMPTY = 'Empty request body'

/** Throws `bad_request`. */
export function branchBody(request: RouteRequest, account: string, create: boolean): BranchBody {
  const body = v2Object(request, { empty: EMPTY, malformed: 'Invalid JSON body: it is not a JSON object' })
  if (Object.keys(body).length === 0) throw new DomainError('bad_request', EMPTY)
  const required = create ? ['name', 'branch'] : []
  const known = [...required, 'owner', 'annotations']
  const fault =
    missing(body, required) ??
    unexpected([...Object.keys(body), ...request.query.keys()], known, request.query) ??
    (create ? faultOfPath(body, account) : undefined) ??
    faultOfAnnotations(body.annotations) ??
    faultOfOwner(body.owner)
  const said = Object.fromEntries(Object.entries(body).filter(([name]) => known.includes(name))) as Json
  if (fault !== undefined) return { said, fault, name: '', parent: '', owner: undefined, annotations: [] }
  const { name, branch, owner, annotations } = body as Named
  return {
    said,
    fault,
    name: name ?? '',
    parent: branchId(account, branch ?? ''),
    owner: owner ? makeId(account, owner.kind, withoutSlash(owner.id)) : undefined,
    annotations: Object.entries(annotations ?? {}),
  }
}

/** What a body without a fault is. */
type Named = {
  readonly name?: string
  readonly branch?: string
  readonly owner?: { readonly kind: string; readonly id: string } | null
  readonly annotations?: Readonly<Record<string, string>> | null
}

/** The policy at a path; the root is `/` or goes by its name. */
export const branchId = (account: string, path: string): string =>
  makeId(account, 'policy', withoutSlash(path) || 'root')

/** The policy of this name in another one. */
export function childId(parent: string, name: string): string {
  const path = identifierOf(parent)
  return makeId(accountOf(parent), 'policy', path === 'root' ? name : `${path}/${name}`)
}

/** A message repeats what was said, but not at any length. */
const shown = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}…` : text)

function missing(body: Members, required: readonly string[]): string | undefined {
  const names = required.filter((name) => body[name] === undefined || body[name] === null)
  return names.length > 0 ? `CONJ00190W Missing required parameter: ${names.join(', ')}` : undefined
}

/** What stands in the query is never expected. */
function unexpected(names: readonly string[], known: readonly string[], query?: Query): string | undefined {
  const odd = names.filter((name) => !known.includes(name) || query?.has(name))
  return odd.length > 0 ? `Unexpected parameters: ${shown([...new Set(odd)].join(', '))}` : undefined
}

/** Of a request that has no body: nothing but these may stand in its query. */
export const faultOfQuery = (query: Query, known: readonly string[] = []): string | undefined =>
  unexpected([...query.keys()], known)

const wrongType = (name: string, type: 'string' | 'object'): string =>
  `CONJ00192W The '${name}' parameter must be of 'type=${type}'`

const NAME = /^[A-Za-z0-9_-]+$/

function faultOfPath({ name, branch }: Members, account: string): string | undefined {
  if (typeof name !== 'string') return wrongType('name', 'string')
  if (typeof branch !== 'string') return wrongType('branch', 'string')
  if (!NAME.test(name) || name.length > limits.branchNameCharacters) return `Name Wrong name '${shown(name)}'`
  const path = withoutSlash(branch)
  const names = path.split('/')
  if (branch !== '/' && !names.every((part) => NAME.test(part))) return `Branch Wrong path '${shown(branch)}'`
  const id = childId(branchId(account, branch), name)
  if (id.split('/').length > limits.branchDepth)
    return `The number of identifier nesting exceeds maximum depth of ${limits.branchDepth}`
  return utf8(id).length > limits.idBytes
    ? `The identifier exceeds maximum length of ${limits.idBytes}`
    : undefined
}

function faultOfAnnotations(annotations: unknown): string | undefined {
  if (annotations === undefined || annotations === null) return undefined
  if (!isObject(annotations)) return wrongType('annotations', 'object')
  for (const [name, value] of Object.entries(annotations)) {
    if (typeof value !== 'string')
      return `${shown(name)} should have string value but got ${shown(JSON.stringify(value))}`
    if (!isStorable(name + value)) return `Annotation '${shown(name)}' holds a character that none may have`
    if (utf8(name).length > limits.nameBytes)
      return `The annotation name '${shown(name)}' is longer than ${limits.nameBytes} bytes`
  }
  return undefined
}

function faultOfOwner(owner: unknown): string | undefined {
  if (owner === undefined || owner === null) return undefined
  if (!isObject(owner)) return wrongType('owner', 'object')
  const known = ['kind', 'id']
  const absent = missing(owner, known) ?? unexpected(Object.keys(owner), known)
  if (absent !== undefined) return absent
  const { kind, id } = owner
  if (typeof kind !== 'string' || !OWNER_KINDS.includes(kind))
    return `Kind '${shown(typeof kind === 'string' ? kind : JSON.stringify(kind))}' is not a valid owner kind`
  if (typeof id !== 'string' || withoutSlash(id) === '') return wrongType('id', 'string')
  return isStorable(id) ? undefined : 'The id holds a character that no name may have'
}
