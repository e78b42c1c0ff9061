// Nodes of YAML → statements, with the errors of the reference and their marks (policy 2, 3).
import { normaliseCidr } from '../authz/address.ts'
import { type MappingNode, type Mark, readYaml, type ScalarNode, type YamlNode } from '../yaml/read-yaml.ts'
import { scalarClass } from '../yaml/scalar.ts'
import { type Attribute, type Form, type TypeName, typeOfTag, typeRow, types } from './attributes.ts'
import { PolicyError } from './errors.ts'
import type { MemberStatement, RecordStatement, Statement } from './statements.ts'

/** Throws `PolicyError`. An empty document says nothing, which is not an error. */
export function readPolicy(text: string): Statement[] {
  const read = readYaml(text)
  if ('fault' in read) {
    const { message, mark, syntax } = read.fault
    throw new PolicyError(message, syntax ? undefined : mark, mark)
  }
  const { root } = read
  if (root === undefined || (root.kind === 'scalar' && root.text === '' && root.tag === undefined)) return []
  if (root.kind === 'scalar') throw new PolicyError('Unexpected scalar', root.mark)
  if (root.kind === 'mapping') throw new PolicyError('Unexpected mapping', root.mark)
  return new Reader().statements(root)
}

type Values = ReadonlyMap<string, readonly YamlNode[]>

class Reader {
  // An alias is the same node: what it stands for is the same statement.
  readonly #known = new Map<YamlNode, Statement>()

  statements(node: YamlNode): Statement[] {
    if (node.tag !== undefined || node.kind !== 'sequence') return [this.#statement(node)]
    return node.items.flatMap((item) => this.statements(item))
  }

  #statement(node: YamlNode): Statement {
    const known = this.#known.get(node)
    if (known !== undefined) return known
    const type = this.#type(node)
    if (type === 'member') throw new PolicyError(unknownType('!member'), node.mark)
    const statement = this.#build(type, node)
    this.#known.set(node, statement)
    return statement
  }

  #type(node: YamlNode): TypeName {
    if (node.tag === undefined) {
      const what =
        node.kind === 'mapping' ? 'No type given or inferred for sequence entry' : 'Unexpected scalar'
      throw new PolicyError(what, node.mark)
    }
    const type = typeOfTag(node.tag)
    if (type === undefined) throw new PolicyError(unknownType(node.tag), node.mark)
    return type
  }

  #build(type: TypeName, node: YamlNode): Statement {
    const values = this.#values(type, node)
    switch (type) {
      case 'grant':
      case 'revoke':
        return { type, roles: this.#records(values, 'role'), members: this.#members(values) }
      case 'permit':
      case 'deny':
        return {
          type,
          roles: this.#records(values, 'role'),
          privileges: (values.get('privilege') ?? []).map((value) => text(value)),
          resources: this.#records(values, 'resource'),
        }
      case 'delete':
        return { type, records: this.#records(values, 'record') }
      default:
        return this.#record(type, values)
    }
  }

  #record(type: TypeName, values: Values): RecordStatement {
    const row = typeRow(type)
    const single = (name: string): string | undefined => {
      const value = values.get(name)?.[0]
      return value === undefined ? undefined : text(value)
    }
    const owner = values.get('owner')?.[0]
    return {
      type: 'record',
      kind: row.kind === '' ? (single('kind') ?? '') : row.kind!,
      role: row.role,
      resource: row.resource,
      id: single('id') ?? '',
      account: single('account'),
      owner: owner && this.#reference(owner, 'owner', 'owner'),
      annotations: annotationsOf(type, values),
      restrictedTo: (values.get('restricted_to') ?? []).map(cidrOf),
      publicKeys: (values.get('public_key') ?? []).map((value) => text(value)),
      layers: this.#records(values, 'layer'),
      body: (values.get('body') ?? []).flatMap((value) => this.statements(value)),
    }
  }

  /** Attribute values by name, checked against the matrix, lists flattened. */
  #values(type: TypeName, node: YamlNode): Values {
    const row = typeRow(type)
    if (node.kind === 'scalar') {
      const named = row.kind !== undefined && node.text !== ''
      return new Map(named ? [['id', [node]]] : [])
    }
    if (node.kind === 'sequence') throw new PolicyError('Unexpected sequence', node.mark)
    const values = new Map<string, readonly YamlNode[]>()
    for (const [key, value] of node.pairs) {
      const name = key.kind === 'scalar' ? key.text : ''
      const attribute = Object.hasOwn(row.attributes, name) ? row.attributes[name] : undefined
      if (attribute === undefined)
        throw new PolicyError(`No such attribute '${name}' on type ${row.name}`, key.mark)
      if (values.has(attribute.name)) throw new PolicyError(`Duplicate attribute: ${name}`, key.mark)
      const items = attribute.list ? flat(value) : [value]
      for (const item of items) this.#check(attribute, name, item)
      values.set(attribute.name, items)
    }
    return values
  }

  #check({ form }: Attribute, name: string, value: YamlNode): void {
    if (form === 'body') return
    const check = scalarForms[form]
    if (check === undefined) {
      if (form === 'hash') checkAnnotations(value, name)
      else if (form === 'member') this.#member(value, name)
      else this.#reference(value, form, name)
      return
    }
    if (value.tag === undefined && value.kind === 'mapping') {
      throw new PolicyError(`Attribute '${name}' can't be a mapping`, value.mark)
    }
    const got = this.#className(value)
    if (!check.accepts.includes(got)) throw expected(check.word, name, got, value.mark)
  }

  #records(values: Values, name: 'role' | 'resource' | 'record' | 'layer'): RecordStatement[] {
    return (values.get(name) ?? []).map((value) => this.#reference(value, name, name))
  }

  #members(values: Values): MemberStatement[] {
    return (values.get('member') ?? []).flatMap((value) => this.#member(value, 'member'))
  }

  /** A member may name several roles. */
  #member(value: YamlNode, name: string): MemberStatement[] {
    const isMember = value.tag === undefined ? value.kind === 'mapping' : typeOfTag(value.tag) === 'member'
    if (!isMember) return [{ role: this.#reference(value, 'member', name), admin: false }]
    const values = this.#values('member', value)
    const roles = this.#records(values, 'role')
    const admin = values.get('admin')?.[0]
    if (roles.length === 0) throw expected('Role', 'role', 'NilClass', value.mark)
    const isAdmin = admin?.kind === 'scalar' && scalarClass(admin.text) === 'TrueClass'
    return roles.map((role) => ({ role, admin: isAdmin }))
  }

  /** A role or resource that is named somewhere; what an untagged value means depends on the attribute. */
  #reference(value: YamlNode, form: Form, name: string): RecordStatement {
    const wanted = referenceForms[form]!
    if (value.tag !== undefined) {
      const type = this.#type(value)
      const row = typeRow(type)
      if (!wanted.accepts(row)) throw expected(wanted.word, name, row.name, value.mark)
      return this.#statement(value) as RecordStatement
    }
    if (wanted.untagged === undefined || (value.kind !== 'scalar' && value.kind !== 'mapping')) {
      throw expected(wanted.word, name, this.#className(value), value.mark)
    }
    const known = this.#known.get(value)
    if (known !== undefined) return known as RecordStatement
    const record = this.#record(wanted.untagged, this.#values(wanted.untagged, value))
    this.#known.set(value, record)
    return record
  }

  /** The class that messages name: of a tag, of a scalar's type, of a structure. */
  #className(value: YamlNode): string {
    if (value.tag !== undefined) return typeRow(this.#type(value)).name
    if (value.kind === 'sequence') return 'Array'
    if (value.kind === 'mapping') return 'Hash'
    return value.plain ? scalarClass(value.text) : 'String'
  }
}

const unknownType = (tag: string): string => `Unrecognized data type '${tag}'`

function expected(word: string, field: string, got: string, mark: Mark): PolicyError {
  return new PolicyError(`Expected a ${word} for field '${field}', got ${got}`, mark)
}

const scalarForms: Partial<Record<Form, { readonly word: string; readonly accepts: readonly string[] }>> = {
  string: { word: 'string', accepts: ['String'] },
  integer: { word: 'integer', accepts: ['Integer'] },
  boolean: { word: 'boolean', accepts: ['TrueClass', 'FalseClass'] },
  cidr: { word: 'CIDR', accepts: ['String'] },
}

type ReferenceForm = {
  readonly word: string
  readonly accepts: (row: {
    readonly role: boolean
    readonly resource: boolean
    readonly name: string
  }) => boolean
  /** The type of an untagged text or mapping. */
  readonly untagged: TypeName | undefined
}

const referenceForms: Partial<Record<Form, ReferenceForm>> = {
  owner: { word: 'Role', accepts: (row) => row.role, untagged: undefined },
  role: { word: 'Role', accepts: (row) => row.role, untagged: 'role' },
  member: { word: 'Member', accepts: (row) => row.role, untagged: undefined },
  resource: { word: 'Resource', accepts: (row) => row.resource, untagged: 'resource' },
  record: { word: 'Resource', accepts: (row) => row.resource, untagged: undefined },
  layer: { word: 'Layer', accepts: (row) => row.name === types.layer.name, untagged: 'layer' },
}

const text = (node: YamlNode): string => (node as ScalarNode).text

const flat = (node: YamlNode): readonly YamlNode[] =>
  node.kind === 'sequence' && node.tag === undefined ? node.items.flatMap(flat) : [node]

function cidrOf(node: YamlNode): string {
  const normal = normaliseCidr(text(node))
  if (typeof normal !== 'string') throw new PolicyError(normal.message, node.mark)
  return normal
}

function checkAnnotations(value: YamlNode, name: string): void {
  if (value.kind !== 'mapping')
    throw expected('hash', name, value.kind === 'sequence' ? 'Array' : 'String', value.mark)
  const seen = new Set<string>()
  for (const [key, item] of value.pairs) {
    if (key.kind !== 'scalar' || item.kind !== 'scalar') {
      throw new PolicyError(
        `Expected a string for field '${name}', got ${item.kind === 'mapping' ? 'Hash' : 'Array'}`,
        item.mark,
      )
    }
    if (seen.has(key.text)) throw new PolicyError(`Duplicate attribute: ${key.text}`, key.mark)
    seen.add(key.text)
  }
}

/** Attributes that are stored as annotations; an explicit annotation of the name wins (policy 3). */
const annotated: Partial<Record<TypeName, Readonly<Record<string, string>>>> = {
  user: { uidnumber: 'conjur/uidnumber' },
  group: { gidnumber: 'conjur/gidnumber' },
  variable: { kind: 'conjur/kind', mime_type: 'conjur/mime_type' },
}

function annotationsOf(type: TypeName, values: Values): (readonly [string, string])[] {
  const found = new Map<string, string>()
  for (const [attribute, name] of Object.entries(annotated[type] ?? {})) {
    const value = values.get(attribute)?.[0]
    if (value !== undefined) found.set(name, text(value))
  }
  const mapping = values.get('annotations')?.[0] as MappingNode | undefined
  for (const [key, value] of mapping?.pairs ?? []) found.set(text(key), text(value))
  return [...found]
}
