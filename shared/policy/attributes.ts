// The attribute matrix (policy 3.2): what each type may say, and of which form. A type is a row.

export type Form =
  | 'string'
  | 'integer'
  | 'boolean'
  | 'hash'
  | 'owner'
  | 'role'
  | 'resource'
  | 'layer'
  | 'record'
  | 'member'
  | 'cidr'
  | 'body'

export type Attribute = { readonly form: Form; readonly list: boolean; readonly name: string }

export type TypeRow = {
  /** Class name in messages. */
  readonly name: string
  /** Kind of the ids it stands for; undefined for statements. `''`: given by the attribute `kind`. */
  readonly kind: string | undefined
  readonly role: boolean
  readonly resource: boolean
  readonly attributes: Readonly<Record<string, Attribute>>
}

const one = (form: Form, name: string): Record<string, Attribute> => ({ [name]: { form, list: false, name } })
/** A list under its singular and plural names. */
const many = (form: Form, name: string): Record<string, Attribute> => {
  const attribute = { form, list: true, name }
  const plural = name === 'privilege' ? 'privileges' : `${name}s`
  return { [name]: attribute, [plural]: attribute }
}

const record = {
  ...one('string', 'id'),
  ...one('string', 'account'),
  ...one('owner', 'owner'),
  ...one('hash', 'annotations'),
}
const restricted: Record<string, Attribute> = {
  restricted_to: { form: 'cidr', list: true, name: 'restricted_to' },
}
const rolesAndMembers = { ...many('role', 'role'), ...many('member', 'member') }
const access = { ...many('role', 'role'), ...many('string', 'privilege'), ...many('resource', 'resource') }

const both = { role: true, resource: true }
const resourceOnly = { role: false, resource: true }
const statement = { kind: undefined, role: false, resource: false }

export const types = {
  policy: { name: 'Policy', kind: 'policy', ...both, attributes: { ...record, ...one('body', 'body') } },
  user: {
    name: 'User',
    kind: 'user',
    ...both,
    attributes: { ...record, ...one('integer', 'uidnumber'), ...many('string', 'public_key'), ...restricted },
  },
  host: { name: 'Host', kind: 'host', ...both, attributes: { ...record, ...restricted } },
  group: { name: 'Group', kind: 'group', ...both, attributes: { ...record, ...one('integer', 'gidnumber') } },
  layer: { name: 'Layer', kind: 'layer', ...both, attributes: record },
  variable: {
    name: 'Variable',
    kind: 'variable',
    ...resourceOnly,
    attributes: { ...record, ...one('string', 'kind'), ...one('string', 'mime_type') },
  },
  webservice: { name: 'Webservice', kind: 'webservice', ...resourceOnly, attributes: record },
  hostfactory: {
    name: 'HostFactory',
    kind: 'host_factory',
    ...both,
    attributes: { ...record, ...one('role', 'role'), ...many('layer', 'layer') },
  },
  role: {
    name: 'Role',
    kind: '',
    role: true,
    resource: false,
    attributes: { ...one('string', 'id'), ...one('string', 'kind'), ...one('string', 'account') },
  },
  resource: {
    name: 'Resource',
    kind: '',
    ...resourceOnly,
    attributes: { ...record, ...one('string', 'kind') },
  },
  grant: { name: 'Grant', ...statement, attributes: rolesAndMembers },
  revoke: { name: 'Revoke', ...statement, attributes: rolesAndMembers },
  permit: { name: 'Permit', ...statement, attributes: access },
  deny: { name: 'Deny', ...statement, attributes: access },
  delete: { name: 'Delete', ...statement, attributes: many('record', 'record') },
  member: {
    name: 'Member',
    ...statement,
    attributes: { ...many('role', 'role'), ...one('boolean', 'admin') },
  },
} as const satisfies Record<string, TypeRow>

export type TypeName = keyof typeof types

/** `!host-factory`, `!host_factory` and `!HostFactory` are the same; undefined when there is no such type. */
export function typeOfTag(tag: string): TypeName | undefined {
  const name = tag.slice(1).replace(/[-_]/g, '').toLowerCase()
  return Object.hasOwn(types, name) ? (name as TypeName) : undefined
}

export const typeRow = (name: TypeName): TypeRow => types[name]
