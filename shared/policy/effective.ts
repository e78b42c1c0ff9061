// Rows → a policy text that says them again (policy 10), as YAML or as JSON.
import type { Json } from '../base/json.ts'
import { identifierOf, kindOf } from '../id/resource-id.ts'
import type { effectiveBatch } from '../ledger/reads/effective.ts'
import type { FactsOf } from '../ledger/store.ts'

export type EffectiveFacts = FactsOf<ReturnType<typeof effectiveBatch>>

/** A tag and the id behind it: relative to the policy it stands in, or absolute with a slash. */
class Reference {
  readonly tag: string
  readonly id: string
  constructor(tag: string, id: string) {
    this.tag = tag
    this.id = id
  }
}

type Value = string | Reference | readonly (string | Reference)[] | { readonly [name: string]: string }

export type Entry = {
  readonly tag: string
  readonly attributes: readonly (readonly [name: string, value: Value])[]
  /** Of a policy. */
  readonly body?: Entry[]
}

export type Effective = {
  readonly entries: readonly Entry[]
  /** Records that are no users, their annotations and their permissions: what a limit is compared with. */
  readonly size: number
}

const tagOf = (kind: string): string => kind.replace('_', '-')

const ORDER = 'user policy variable webservice host layer host-factory group grant permit'.split(' ')

const slashes = (text: string): number => text.split('/').length - 1

/** `requested`: full id of the policy. */
export function effectivePolicy(facts: EffectiveFacts, requested: string, depth: number): Effective {
  return new Builder(facts, requested, depth).build()
}

type Placed = { readonly id: string; readonly owner: string; readonly path: string; readonly parent: string }

class Builder {
  readonly #facts: EffectiveFacts
  readonly #requested: string
  readonly #base: string
  readonly #depth: number
  readonly #policies: ReadonlySet<string>
  /** Policies by what the names of their users end with. */
  readonly #dashed: ReadonlyMap<string, readonly string[]>
  readonly #owners: ReadonlyMap<string, string>
  readonly #restricted: ReadonlyMap<string, string>
  readonly #factoryLayers: ReadonlyMap<string, EffectiveFacts['grants']>
  readonly #bodies = new Map<string, Entry[]>()

  constructor(facts: EffectiveFacts, requested: string, depth: number) {
    this.#facts = facts
    this.#requested = requested
    const identifier = identifierOf(requested)
    this.#base = identifier === 'root' ? '' : identifier
    this.#depth = (this.#base === '' ? 0 : slashes(this.#base)) + depth
    const policies = facts.resources
      .filter(({ id }) => kindOf(id) === 'policy' && identifierOf(id) !== 'root')
      .map(({ id }) => identifierOf(id))
    this.#policies = new Set(policies)
    this.#dashed = Map.groupBy(policies, (policy) => policy.replaceAll('/', '-'))
    this.#owners = new Map(facts.resources.map(({ id, owner }) => [id, owner]))
    const layers = facts.grants.filter(({ role, member }) => isFactoryLayer(role, member))
    this.#factoryLayers = Map.groupBy(layers, ({ member }) => member)
    this.#restricted = new Map(facts.credentials.map(({ role, restricted_to }) => [role, restricted_to]))
  }

  build(): Effective {
    const placed = this.#placed()
    const ids = new Set(placed.map(({ id }) => id))
    const annotations = Map.groupBy(
      this.#facts.annotations.filter(({ resource }) => ids.has(resource)),
      ({ resource }) => resource,
    )
    const permits = Map.groupBy(
      this.#facts.permissions.filter(({ resource }) => ids.has(resource)),
      ({ resource }) => resource,
    )
    const grants = this.#facts.grants.filter(
      ({ role, member }) => ids.has(role) && !isFactoryLayer(role, member),
    )
    const grantsOf = Map.groupBy(grants, ({ role }) => role)
    const rolesOf = Map.groupBy(grants, ({ member }) => member)
    const byId = new Map(placed.map((record) => [record.id, record]))
    const granted = new Set<string>()
    const grant = (role: string): void => {
      if (granted.has(role)) return
      granted.add(role)
      const members = grantsOf.get(role)!.map(({ member }) => member)
      this.#bodyOf(byId.get(role)!.parent).push(this.#grant(byId.get(role)!, members))
    }
    for (const record of placed) {
      this.#bodyOf(record.parent).push(this.#record(record, annotations.get(record.id) ?? []))
      for (const [role, rows] of Map.groupBy(permits.get(record.id) ?? [], (row) => row.role)) {
        const privileges = rows.map(({ privilege }) => privilege)
        this.#bodyOf(record.parent).push(this.#permit(record, role, privileges))
      }
      for (const { role } of rolesOf.get(record.id) ?? []) grant(role)
    }
    for (const role of grantsOf.keys()) grant(role)
    const counted = placed.filter(({ id }) => kindOf(id) !== 'user')
    const size = counted.reduce(
      (sum, { id }) => sum + 1 + (annotations.get(id)?.length ?? 0) + (permits.get(id)?.length ?? 0),
      0,
    )
    return { entries: this.#bodyOf(''), size }
  }

  /** By id, users last; what is too deep is left out. */
  #placed(): Placed[] {
    const records = this.#facts.resources
      .filter(({ id }) => ORDER.includes(tagOf(kindOf(id))) && this.#isInside(id))
      .map(({ id, owner }) => {
        const path = this.#pathOf(id)
        const parent = kindOf(id) === 'host_factory' ? this.#parentOfFactory(id, path) : this.#parentOf(path)
        return { id, owner, path, parent }
      })
      .filter(({ id, path }) => slashes(path) <= this.#depth + (kindOf(id) === 'user' ? 1 : 0))
    const isUser = ({ id }: Placed): boolean => kindOf(id) === 'user'
    return [...records.filter((record) => !isUser(record)), ...records.filter(isUser)]
  }

  #isInside(id: string): boolean {
    if (id === this.#requested) return this.#base !== ''
    // Made with its account; no policy says it.
    if (id.endsWith(':user:admin')) return false
    if (kindOf(id) !== 'user' || this.#base === '') return true
    // The names of users end with the policy, or go on below it.
    const end = `@${this.#base.replaceAll('/', '-')}`
    const name = identifierOf(id)
    return name.endsWith(end) || name.includes(`${end}-`)
  }

  /** `a/b/alice` of a user that belongs to a policy that is here; the identifier of everything else. */
  #pathOf(id: string): string {
    const identifier = identifierOf(id)
    if (kindOf(id) !== 'user') return identifier
    const at = identifier.indexOf('@')
    const policies = this.#dashed.get(identifier.slice(at + 1)) ?? []
    const owner = this.#owners.get(id)
    const isTop = owner?.endsWith(':user:admin') || owner?.endsWith(':policy:root')
    if (at < 0 || policies.length === 0 || isTop) return identifier
    const policy = policies.find((path) => owner?.endsWith(`:policy:${path}`)) ?? policies[0]!
    return `${policy}/${identifier.slice(0, at)}`
  }

  /** The longest part of a path that is a policy here; empty at the top. */
  #parentOf(path: string): string {
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const parent = path.slice(0, end)
      if (this.#policies.has(parent)) return parent
    }
    return ''
  }

  /** A factory names its layers relative to where it stands, so it stands where all of them are below. */
  #parentOfFactory(id: string, path: string): string {
    const layers = this.#layersOf(id).map((layer) => this.#pathOf(layer))
    let parent = this.#parentOf(path)
    while (parent !== '' && !layers.every((layer) => layer === parent || layer.startsWith(`${parent}/`)))
      parent = this.#parentOf(parent)
    return parent
  }

  #layersOf(factory: string): string[] {
    return (this.#factoryLayers.get(factory) ?? []).map(({ role }) => role)
  }

  #bodyOf(policy: string): Entry[] {
    const body = this.#bodies.get(policy) ?? []
    this.#bodies.set(policy, body)
    return body
  }

  /** Below the policy it stands in; the requested policy itself by its last part. */
  #relative({ path, parent }: Pick<Placed, 'path' | 'parent'>): string {
    if (parent !== '') return path.slice(parent.length + 1)
    return path === this.#base ? path.slice(path.lastIndexOf('/') + 1) : path
  }

  #absolute(id: string): Reference {
    return new Reference(tagOf(kindOf(id)), `/${this.#pathOf(id)}`)
  }

  #record(record: Placed, annotations: EffectiveFacts['annotations']): Entry {
    const { id, owner, path, parent } = record
    const kind = kindOf(id)
    const attributes: (readonly [string, Value])[] = [['id', this.#relative(record)]]
    if (kind !== 'variable' && !this.#isDefaultOwner(owner, path, parent))
      attributes.push(['owner', this.#absolute(owner)])
    const plain: [name: string, value: string][] = []
    for (const { name, value } of annotations) {
      if (kind === 'variable' && (name === 'conjur/kind' || name === 'conjur/mime_type'))
        attributes.push([name.slice('conjur/'.length), value])
      else plain.push([name, value])
    }
    const restricted = this.#restricted.get(id)
    if (restricted !== undefined) attributes.push(['restricted_to', JSON.parse(restricted) as string[]])
    if (kind === 'host_factory') {
      const layers = this.#layersOf(id).map((layer) => {
        const below = this.#pathOf(layer)
        // The layer that is named like the policy has no id there.
        return new Reference('layer', parent === '' ? below : below.slice(parent.length + 1))
      })
      if (layers.length > 0) attributes.push(['layers', layers])
    }
    // Not by assignment: an annotation may be named `__proto__`.
    if (plain.length > 0) attributes.push(['annotations', Object.fromEntries(plain)])
    const entry = { tag: tagOf(kind), attributes }
    return kind === 'policy' ? { ...entry, body: this.#bodyOf(path) } : entry
  }

  #isDefaultOwner(owner: string, path: string, parent: string): boolean {
    const isPolicy = kindOf(owner) === 'policy'
    if (
      isPolicy &&
      identifierOf(owner) === (parent === '' ? path.slice(0, Math.max(0, path.lastIndexOf('/'))) : parent)
    )
      return true
    return parent === '' && kindOf(owner) === 'user' && identifierOf(owner) === 'admin'
  }

  /** Relative where both stand in one policy. */
  #near(id: string, parent: string): Reference {
    const path = this.#pathOf(id)
    const own = this.#parentOf(path)
    return own === parent
      ? new Reference(tagOf(kindOf(id)), this.#relative({ path, parent }))
      : this.#absolute(id)
  }

  #grant(role: Placed, members: readonly string[]): Entry {
    return {
      tag: 'grant',
      attributes: [
        ['role', new Reference(tagOf(kindOf(role.id)), this.#relative(role))],
        ['members', members.map((member) => this.#absolute(member))],
      ],
    }
  }

  #permit(resource: Placed, role: string, privileges: readonly string[]): Entry {
    return {
      tag: 'permit',
      attributes: [
        ['role', this.#near(role, resource.parent)],
        ['privileges', privileges],
        ['resource', new Reference(tagOf(kindOf(resource.id)), this.#relative(resource))],
      ],
    }
  }
}

/** A host factory is a member of its layers by being one; it says so itself. */
const isFactoryLayer = (role: string, member: string): boolean =>
  kindOf(role) === 'layer' && kindOf(member) === 'host_factory'

const sorted = (entries: readonly Entry[]): Entry[] =>
  [...entries].sort((a, b) => ORDER.indexOf(a.tag) - ORDER.indexOf(b.tag))

/** Sorted at the top, as they were found below it. */
export const effectiveJson = (entries: readonly Entry[]): Json => sorted(entries).map(entryJson)

function entryJson({ tag, attributes, body }: Entry): Json {
  const members: Record<string, Json> = {}
  for (const [name, value] of attributes) {
    if (value instanceof Reference) members[name] = { [value.tag]: value.id }
    else if (Array.isArray(value))
      members[name] = (value as readonly (string | Reference)[]).map((item) =>
        typeof item === 'string' ? item : { [item.tag]: item.id },
      )
    else members[name] = value as Json
  }
  if (body !== undefined) members.body = body.map(entryJson)
  return { [tag]: members }
}

export function effectiveYaml(entries: readonly Entry[]): string {
  if (entries.length === 0) return '[]\n'
  return entryLines(entries)
    .map((line) => `${line}\n`)
    .join('')
}

function entryLines(entries: readonly Entry[]): string[] {
  return sorted(entries).flatMap(({ tag, attributes, body }) => {
    const [first, ...others] = attributes
    if (body === undefined && others.length === 0 && first?.[0] === 'id')
      return [`- !${tag} ${scalar(first[1] as string)}`]
    const lines = attributes.flatMap(([name, value]) => attributeLines(name, value))
    if (body !== undefined) lines.push(...(body.length === 0 ? ['body: []'] : ['body:', ...entryLines(body)]))
    return [`- !${tag}`, ...lines.map((line) => `  ${line}`)]
  })
}

function attributeLines(name: string, value: Value): string[] {
  if (typeof value === 'string') return [`${name}: ${scalar(value)}`]
  if (value instanceof Reference) return [`${name}: ${reference(value)}`]
  if (!Array.isArray(value)) {
    return [
      `${name}:`,
      ...Object.entries(value).map(([key, text]) => `  ${scalar(key)}: ${scalar(text as string)}`),
    ]
  }
  const items = value as readonly (string | Reference)[]
  if (name === 'members') return [`${name}:`, ...items.map((item) => `- ${reference(item as Reference)}`)]
  const flow = items.map((item) => (typeof item === 'string' ? scalar(item) : reference(item)))
  return [`${name}: [${flow.join(', ')}]`]
}

const reference = ({ tag, id }: Reference): string => (id === '' ? `!${tag}` : `!${tag} ${scalar(id)}`)

/** Plain where nothing else could be meant; otherwise between quotes, where JSON's escapes are YAML's. */
function scalar(text: string): string {
  const isPlain = /^[A-Za-z/][\w/@.+-]*$/.test(text) && !/^(y|n|yes|no|on|off|true|false|null)$/i.test(text)
  return isPlain ? text : quoted(text)
}

/** Line separators that JSON leaves as they are would end a line of YAML. */
const quoted = (text: string): string =>
  JSON.stringify(text).replace(
    /[\x7f-\x9f\u2028\u2029\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
