// Statements → full ids: accounts, namespaces, relative paths, user names, owners; flattened and in the order in
// which owners come before what they own (policy 4).
import { isStorable, utf8 } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'
import { makeId } from '../id/resource-id.ts'
import { PolicyError } from './errors.ts'
import type { RecordStatement, Statement } from './statements.ts'

export type ResolvedRecord = {
  readonly id: string
  readonly owner: string
  readonly role: boolean
  readonly resource: boolean
  readonly annotations: readonly (readonly [name: string, value: string])[]
  readonly restrictedTo: readonly string[]
  readonly publicKeys: readonly string[]
  readonly layers: readonly string[]
}
export type ResolvedGrant = { readonly role: string; readonly member: string; readonly admin: boolean }
export type ResolvedPermit = { readonly role: string; readonly privilege: string; readonly resource: string }

export type Resolved = {
  readonly records: readonly ResolvedRecord[]
  readonly grants: readonly ResolvedGrant[]
  readonly permits: readonly ResolvedPermit[]
  readonly revokes: readonly { readonly role: string; readonly member: string }[]
  readonly denies: readonly ResolvedPermit[]
  readonly deletes: readonly string[]
}

/** `policy`: identifier of the policy that is loaded; `root` has no namespace. Throws `PolicyError`. */
export function resolvePolicy(statements: readonly Statement[], account: string, policy: string): Resolved {
  const resolver = new Resolver(account)
  const root = policy === 'root'
  const owner = root ? makeId(account, 'user', 'admin') : makeId(account, 'policy', policy)
  resolver.visit(statements, root ? '' : policy, owner)
  return { ...resolver, records: ownersFirst(resolver.records) }
}

class Resolver {
  readonly records: ResolvedRecord[] = []
  readonly grants: ResolvedGrant[] = []
  readonly permits: ResolvedPermit[] = []
  readonly revokes: { role: string; member: string }[] = []
  readonly denies: ResolvedPermit[] = []
  readonly deletes: string[] = []
  readonly #account: string
  #multiplied = 0
  // A record that is used in several places is resolved where it stands first.
  readonly #ids = new Map<RecordStatement, string>()

  constructor(account: string) {
    this.#account = account
  }

  visit(statements: readonly Statement[], namespace: string, owner: string): void {
    for (const statement of statements) {
      switch (statement.type) {
        case 'record':
          this.#create(statement, namespace, owner)
          break
        case 'grant':
        case 'revoke': {
          this.#multiply(statement.roles.length, statement.members.length)
          const members = statement.members.map(({ role, admin }) => ({
            member: this.#id(role, namespace, true),
            admin,
          }))
          for (const role of statement.roles.map((r) => this.#id(r, namespace, false))) {
            for (const { member, admin } of members) {
              if (statement.type === 'grant') this.grants.push({ role, member, admin })
              else this.revokes.push({ role, member })
            }
          }
          break
        }
        case 'permit':
        case 'deny': {
          const into = statement.type === 'permit' ? this.permits : this.denies
          const { roles, privileges } = statement
          this.#multiply(roles.length, privileges.length, statement.resources.length)
          const resources = statement.resources.map((r) => this.#id(r, namespace, false))
          for (const role of roles.map((r) => this.#id(r, namespace, true))) {
            for (const privilege of privileges) {
              bounded('privilege', privilege, limits.nameBytes)
              for (const resource of resources) into.push({ role, privilege, resource })
            }
          }
          break
        }
        case 'delete':
          for (const record of statement.records) this.deletes.push(this.#id(record, namespace, false))
      }
    }
  }

  /** Before anything is multiplied out: two lists of a thousand are a million rows. */
  #multiply(...lengths: readonly number[]): void {
    this.#multiplied += lengths.reduce((product, length) => product * length, 1)
    if (this.#multiplied <= limits.policyRows) return
    throw new PolicyError(`Grants and permits of the policy say more than ${limits.policyRows} things`)
  }

  #create(record: RecordStatement, namespace: string, defaultOwner: string): void {
    if (record.kind === '' || record.kind.includes(':'))
      throw new PolicyError(`${kindWord(record)} '${record.id}' has no kind`)
    const path = this.#path(record, namespace, false)
    if (record.kind === 'user' && path.split('/').includes('..')) throw invalidReference(path)
    const id = this.#id(record, namespace, false)
    for (const [name, value] of record.annotations) {
      bounded('annotation name', name, limits.nameBytes)
      bounded(`value of annotation ${name}`, value, limits.policyBytes)
    }
    this.records.push({
      id,
      owner: record.owner ? this.#id(record.owner, namespace, true) : defaultOwner,
      role: record.role,
      resource: record.resource || !record.role,
      annotations: record.annotations.map(([name, value]) => [name, annotationValue(value, path)]),
      restrictedTo: record.restrictedTo,
      publicKeys: record.publicKeys,
      layers: this.#layers(record, namespace),
    })
    if (record.kind === 'policy') this.visit(record.body, path, id)
  }

  #layers(record: RecordStatement, namespace: string): string[] {
    if (record.kind !== 'host_factory') return []
    if (record.layers.length === 0) {
      throw new PolicyError(`Host factory '${record.id}' does not include any layers`)
    }
    return record.layers.map((layer) => this.#id(layer, namespace, false))
  }

  /** `relative`: it is only named here; what is made, granted, permitted or deleted is of the account itself. */
  #id(record: RecordStatement, namespace: string, relative: boolean): string {
    if (!relative) this.#mustBeOwn(record)
    const known = this.#ids.get(record)
    if (known !== undefined) return known
    const path = this.#path(record, namespace, relative)
    const identifier = record.kind === 'user' ? userName(path) : path
    const id = makeId(record.account ?? this.#account, record.kind, identifier)
    bounded('id', id, limits.idBytes)
    this.#ids.set(record, id)
    return id
  }

  /** Who may load into one account must not give himself rights in another. */
  #mustBeOwn({ account }: RecordStatement): void {
    if (account === undefined || account === this.#account) return
    throw new PolicyError(`A policy of account '${this.#account}' cannot change account '${account}'`)
  }

  /** The identifier before user names are turned. `relative`: `..` and a leading slash mean something here. */
  #path(record: RecordStatement, namespace: string, relative: boolean): string {
    const { id } = record
    if (id === '') {
      if (namespace === '') throw new PolicyError(`${kindWord(record)} has a blank id`)
      return namespace
    }
    if (id.startsWith('/')) {
      if (!relative) throw new PolicyError(`Illegal absolute id: ${id}`)
      return walk(id.slice(1), id)
    }
    const full = namespace === '' ? id : `${namespace}/${id}`
    return relative ? walk(full, full) : full
  }
}

/** Throws `PolicyError` for what no store can hold. UTF-8 needs at most three bytes per UTF-16 unit: short texts are not measured. */
export function bounded(what: string, text: string, limitBytes: number): void {
  if (!isStorable(text)) throw new PolicyError(`The ${what} holds a character that no name may have`)
  if (text.length * 3 <= limitBytes || utf8(text).length <= limitBytes) return
  throw new PolicyError(`The ${what} '${text.slice(0, 60)}…' is longer than ${limitBytes} bytes`)
}

const kindWord = ({ kind, role }: RecordStatement): string =>
  kind === '' || kind.includes(':') ? (role ? 'role' : 'resource') : kind.replace('_', ' ')

/** Takes `..` segments out; too many of them, or nothing left, is an error. */
function walk(path: string, written: string): string {
  if (!path.split('/').includes('..')) return path
  const kept: string[] = []
  for (const segment of path.split('/')) {
    if (segment !== '..') kept.push(segment)
    else if (kept.pop() === undefined) throw invalidReference(written)
  }
  if (kept.length === 0) throw invalidReference(written)
  return kept.join('/')
}

const invalidReference = (path: string): PolicyError => new PolicyError(`Invalid relative reference: ${path}`)

/** `a/b/alice` → `alice@a-b`. */
function userName(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash < 0 ? path : `${path.slice(slash + 1)}@${path.slice(0, slash).replaceAll('/', '-')}`
}

/** A value with a `..` segment is a path from the record it stands on. */
function annotationValue(value: string, path: string): string {
  if (!value.split('/').includes('..')) return value
  const full = `${path}/${value}`
  return walk(full, full)
}

/** Keeps the order of the text but for owners, which come first. */
function ownersFirst(records: readonly ResolvedRecord[]): ResolvedRecord[] {
  const byId = new Map<string, ResolvedRecord>()
  for (const record of records) {
    if (byId.has(record.id)) throw new PolicyError(`${words(record.id)} is declared more than once`)
    byId.set(record.id, record)
  }
  const ordered: ResolvedRecord[] = []
  const state = new Map<string, 'open' | 'done'>()
  for (const record of records) {
    // The owners above this record that are not placed yet, nearest first: a chain, so no recursion is needed.
    const chain: ResolvedRecord[] = []
    let at: ResolvedRecord | undefined = record
    while (at !== undefined && state.get(at.id) === undefined) {
      state.set(at.id, 'open')
      chain.push(at)
      const owner = byId.get(at.owner)
      if (owner === at) break
      if (owner !== undefined && state.get(owner.id) === 'open') {
        throw new PolicyError(`Dependency cycle encountered between ${words(owner.id)} and ${words(at.id)}`)
      }
      at = owner
    }
    for (const placed of chain.reverse()) {
      state.set(placed.id, 'done')
      ordered.push(placed)
    }
  }
  return ordered
}

/** `host factory 'apps'`. */
function words(id: string): string {
  const [, kind = '', ...rest] = id.split(':')
  return `${kind.replace('_', ' ')} '${rest.join(':')}'`
}
