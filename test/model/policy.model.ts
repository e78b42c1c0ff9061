// The rules of policy 4 and 5 once more, over plain lists and as slow as they read: a whole state in, a whole
// state out. The policy loads are compared with this.

export type Mode = 'POST' | 'PATCH' | 'PUT'

/** As written: relative to the body it stands in, absolute with a slash, blank for the policy's own id. */
export type Ref = { readonly kind: string; readonly id: string }

export type Statement =
  | {
      readonly type: 'record'
      readonly kind: string
      readonly id: string
      readonly owner?: Ref
      readonly annotations?: Readonly<Record<string, string>>
      readonly restrictedTo?: readonly string[]
      readonly layers?: readonly Ref[]
      readonly body?: readonly Statement[]
    }
  | {
      readonly type: 'grant'
      readonly roles: readonly Ref[]
      readonly members: readonly { readonly ref: Ref; readonly admin: boolean }[]
    }
  | { readonly type: 'revoke'; readonly roles: readonly Ref[]; readonly members: readonly Ref[] }
  | {
      readonly type: 'permit' | 'deny'
      readonly roles: readonly Ref[]
      readonly privileges: readonly string[]
      readonly resources: readonly Ref[]
    }
  | { readonly type: 'delete'; readonly record: Ref }

type Policy = string | null
export type State = {
  readonly roles: readonly { readonly id: string; readonly policy: Policy }[]
  readonly resources: readonly { readonly id: string; readonly owner: string; readonly policy: Policy }[]
  readonly memberships: readonly {
    readonly role: string
    readonly member: string
    readonly ownership: boolean
    readonly admin: boolean
    readonly policy: Policy
  }[]
  readonly permissions: readonly {
    readonly resource: string
    readonly role: string
    readonly privilege: string
    readonly policy: Policy
  }[]
  readonly annotations: readonly {
    readonly resource: string
    readonly name: string
    readonly value: string
    readonly policy: Policy
  }[]
  /** CIDRs by role, of users and hosts. */
  readonly restrictions: readonly { readonly role: string; readonly cidrs: readonly string[] }[]
}

type Resource = State['resources'][number]
type Membership = State['memberships'][number]
type Permission = State['permissions'][number]
type Annotation = State['annotations'][number]

/** What a text says, with full ids. */
type Said = {
  records: { id: string; owner: string; cidrs: readonly string[] }[]
  memberships: { role: string; member: string; admin: boolean }[]
  permissions: { resource: string; role: string; privilege: string }[]
  annotations: { resource: string; name: string; value: string }[]
  deletions: (
    | { type: 'revoke'; role: string; member: string }
    | { type: 'deny'; resource: string; role: string; privilege: string }
    | { type: 'delete'; id: string }
  )[]
  /** Must exist as roles, and as resources. */
  rolesNeeded: string[]
  resourcesNeeded: string[]
}

export class Refused extends Error {}

const ACCOUNT = 'acme'
const ROLELESS = ['variable', 'webservice']
export const hasRole = (id: string): boolean => !ROLELESS.includes(id.split(':')[1]!)

/** The full id. `paths`: whether `..` and a leading slash mean something here (4.3). */
function fullId({ kind, id }: Ref, namespace: string, paths: boolean): string {
  if (id === '' && namespace === '') throw new Refused('blank id')
  const absolute = id.startsWith('/')
  if (absolute && !paths) throw new Refused('illegal absolute id')
  let path = id === '' ? namespace : absolute || namespace === '' ? id : `${namespace}/${id}`
  if (paths) {
    const kept: string[] = []
    for (const segment of path.replace(/^\//, '').split('/')) {
      if (segment !== '..') kept.push(segment)
      else if (kept.pop() === undefined) throw new Refused('invalid relative reference')
    }
    if (kept.length === 0) throw new Refused('invalid relative reference')
    path = kept.join('/')
  }
  const segments = path.split('/')
  if (kind === 'user' && segments.length > 1) path = `${segments.pop()}@${segments.join('-')}`
  return `${ACCOUNT}:${kind}:${path}`
}

function read(statements: readonly Statement[], namespace: string, owner: string, said: Said): void {
  for (const s of statements) {
    if (s.type === 'record') {
      const id = fullId(s, namespace, false)
      if (s.kind === 'user' && s.id.split('/').includes('..')) throw new Refused('invalid relative reference')
      if (said.records.some((record) => record.id === id)) throw new Refused('declared more than once')
      const owned = s.owner === undefined ? owner : fullId(s.owner, namespace, true)
      said.rolesNeeded.push(owned)
      said.records.push({ id, owner: owned, cidrs: s.restrictedTo ?? [] })
      for (const [name, value] of Object.entries(s.annotations ?? {})) {
        said.annotations.push({ resource: id, name, value })
      }
      if (s.kind === 'host_factory') {
        if (s.layers === undefined || s.layers.length === 0) throw new Refused('no layers')
        for (const layer of s.layers) {
          const role = fullId(layer, namespace, false)
          said.rolesNeeded.push(role)
          said.memberships.push({ role, member: id, admin: false })
        }
      }
      if (s.body !== undefined) read(s.body, id.split(':')[2]!, id, said)
    } else if (s.type === 'grant') {
      for (const role of s.roles.map((ref) => fullId(ref, namespace, false))) {
        for (const { ref, admin } of s.members) {
          const member = fullId(ref, namespace, true)
          said.rolesNeeded.push(role, member)
          said.memberships.push({ role, member, admin })
        }
      }
    } else if (s.type === 'revoke') {
      for (const role of s.roles.map((ref) => fullId(ref, namespace, false))) {
        for (const ref of s.members)
          said.deletions.push({ type: 'revoke', role, member: fullId(ref, namespace, true) })
      }
    } else if (s.type === 'delete') {
      said.deletions.push({ type: 'delete', id: fullId(s.record, namespace, false) })
    } else {
      for (const role of s.roles.map((ref) => fullId(ref, namespace, true))) {
        for (const resource of s.resources.map((ref) => fullId(ref, namespace, false))) {
          for (const privilege of s.privileges) {
            if (s.type === 'deny') said.deletions.push({ type: 'deny', resource, role, privilege })
            else {
              said.rolesNeeded.push(role)
              said.resourcesNeeded.push(resource)
              said.permissions.push({ resource, role, privilege })
            }
          }
        }
      }
    }
  }
}

/** Owners are created before what they own; a record may own itself. */
function mustBeOrdered({ records }: Said): void {
  const ownerOf = new Map(records.map(({ id, owner }) => [id, owner]))
  for (const { id } of records) {
    const seen = new Set<string>()
    for (let at = id; ownerOf.has(at) && ownerOf.get(at) !== at; at = ownerOf.get(at)!) {
      if (seen.has(at)) throw new Refused('dependency cycle')
      seen.add(at)
    }
  }
}

/** Without these records and all that goes with them (1). */
function without(state: State, ids: readonly string[]): State {
  const gone = new Set(ids)
  for (;;) {
    const size = gone.size
    for (const { id, owner, policy } of state.resources) {
      if (gone.has(owner) || (policy !== null && gone.has(policy))) gone.add(id)
    }
    for (const { id, policy } of state.roles) if (policy !== null && gone.has(policy)) gone.add(id)
    if (gone.size === size) break
  }
  const stays = (...of: Policy[]): boolean => of.every((id) => id === null || !gone.has(id))
  return {
    roles: state.roles.filter((r) => stays(r.id)),
    resources: state.resources.filter((r) => stays(r.id)),
    memberships: state.memberships.filter((m) => stays(m.role, m.member, m.policy)),
    permissions: state.permissions.filter((p) => stays(p.resource, p.role, p.policy)),
    annotations: state.annotations.filter((a) => stays(a.resource, a.policy)),
    restrictions: state.restrictions.filter((r) => stays(r.role)),
  }
}

/** Without a policy, everything inside its namespace, and what goes with that (http-api 15). */
export function withoutBranch(state: State, branch: string): State {
  const inside = [...state.roles, ...state.resources]
    .map(({ id }) => id)
    .filter((id) => id.split(':')[2]!.startsWith(`${branch}/`))
  return without(state, [`${ACCOUNT}:policy:${branch}`, ...inside])
}

const sameGrant = (a: { role: string; member: string }) => (b: Membership) =>
  !b.ownership && b.role === a.role && b.member === a.member
const samePermit = (a: Omit<Permission, 'policy'>) => (b: Permission) =>
  b.resource === a.resource && b.role === a.role && b.privilege === a.privilege
const sameAnnotation = (a: { resource: string; name: string }) => (b: Annotation) =>
  b.resource === a.resource && b.name === a.name

/** PUT: what this policy said before and does not say now. */
function withoutUnsaid(state: State, said: Said, policy: string): State {
  const isSaid = (id: string): boolean => said.records.some((record) => record.id === id)
  const own = <T extends { policy: Policy }>(row: T): boolean => row.policy === policy
  const rest = without(
    state,
    [...state.roles, ...state.resources].filter((row) => own(row) && !isSaid(row.id)).map(({ id }) => id),
  )
  return {
    ...rest,
    memberships: rest.memberships.filter(
      (m) => !own(m) || m.ownership || said.memberships.some((n) => sameGrant(n)(m)),
    ),
    permissions: rest.permissions.filter((p) => !own(p) || said.permissions.some((n) => samePermit(n)(p))),
    annotations: rest.annotations.filter(
      (a) => !own(a) || said.annotations.some((n) => sameAnnotation(n)(a)),
    ),
  }
}

/** A row of the text against the row that is there: shadowed, kept (POST), updated, or new. */
function merged<T extends { policy: Policy }>(
  rows: readonly T[],
  row: T,
  same: (r: T) => boolean,
  mode: Mode,
): T[] {
  const held = rows.find(same)
  if (held === undefined) return [...rows, row]
  if (held.policy !== row.policy || mode === 'POST') return [...rows]
  return rows.map((r) => (r === held ? row : r))
}

function firstOnly<T>(items: readonly T[], same: (a: T, b: T) => boolean): T[] {
  return items.filter((item, i) => items.findIndex((other) => same(other, item)) === i)
}

/** The state after a load into a policy that exists. Throws `Refused`, and nothing has changed. */
export function load(state: State, mode: Mode, policyId: string, text: readonly Statement[]): State {
  const policy = `${ACCOUNT}:policy:${policyId}`
  const said: Said = {
    records: [],
    memberships: [],
    permissions: [],
    annotations: [],
    deletions: [],
    rolesNeeded: [],
    resourcesNeeded: [],
  }
  const rootOwner = state.resources.find(({ id }) => id === `${ACCOUNT}:policy:root`)!.owner
  read(text, policyId === 'root' ? '' : policyId, policyId === 'root' ? rootOwner : policy, said)
  mustBeOrdered(said)
  if (mode === 'POST' && said.deletions.length > 0) throw new Refused('deletion statements')

  let s = mode === 'PUT' ? withoutUnsaid(state, said, policy) : state
  for (const { id, owner, cidrs } of said.records) {
    const shadowed = s.resources.some((r) => r.id === id && r.policy !== policy)
    const isNew = !s.resources.some((r) => r.id === id)
    if (hasRole(id)) s = { ...s, roles: merged(s.roles, { id, policy }, (r) => r.id === id, mode) }
    const row: Resource = { id, owner, policy }
    s = { ...s, resources: merged(s.resources, row, (r) => r.id === id, mode) }
    if (hasRole(id) && s.resources.find((r) => r.id === id)!.owner === owner) {
      // The membership of its owner: another's goes, one that was revoked comes back.
      const ownership = { role: id, member: owner, ownership: true, admin: true, policy }
      const others = s.memberships.filter((m) => !(m.role === id && m.ownership && m.member !== owner))
      const held = others.some((m) => m.role === id && m.ownership)
      s = { ...s, memberships: held ? others : [...others, ownership] }
    }
    if (/^[^:]+:(user|host):/.test(id) && !shadowed) {
      const held = s.restrictions.find(({ role }) => role === id)?.cidrs ?? []
      const now = [...new Set(mode === 'POST' && !isNew ? [...held, ...cidrs] : cidrs)]
      s = {
        ...s,
        restrictions: [...s.restrictions.filter(({ role }) => role !== id), { role: id, cidrs: now }],
      }
    }
  }
  const needed = (ids: readonly string[], there: readonly { id: string }[]): void => {
    const missing = ids.find((id) => !there.some((row) => row.id === id))
    if (missing !== undefined) throw new Refused(`${missing} not found`)
  }
  needed(said.rolesNeeded, s.roles)
  needed(said.resourcesNeeded, s.resources)
  for (const grant of firstOnly(said.memberships, (a, b) => a.role === b.role && a.member === b.member)) {
    const row = { ...grant, ownership: false, policy }
    s = { ...s, memberships: merged(s.memberships, row, sameGrant(grant), mode) }
  }
  for (const permit of said.permissions) {
    s = { ...s, permissions: merged(s.permissions, { ...permit, policy }, samePermit(permit), mode) }
  }
  for (const annotation of said.annotations) {
    const row = { ...annotation, policy }
    s = { ...s, annotations: merged(s.annotations, row, sameAnnotation(annotation), mode) }
  }
  for (const d of said.deletions) {
    if (d.type === 'delete') s = without(s, [d.id])
    else if (d.type === 'revoke') {
      // At most one row of a pair: the grant before the ownership.
      const rows = s.memberships.filter(
        (m) => m.role === d.role && m.member === d.member && m.policy === policy,
      )
      const gone = rows.find((m) => !m.ownership) ?? rows[0]
      s = { ...s, memberships: s.memberships.filter((m) => m !== gone) }
    } else s = { ...s, permissions: s.permissions.filter((p) => !(samePermit(d)(p) && p.policy === policy)) }
  }
  return s
}

/** Whether a role may do it: it holds a role that owns the resource or has the privilege (7). */
export function allowed(state: State, role: string, privilege: string, resource: string): boolean {
  const held = new Set([role])
  for (let size = 0; size !== held.size; ) {
    size = held.size
    for (const m of state.memberships) if (held.has(m.member)) held.add(m.role)
  }
  const owner = state.resources.find(({ id }) => id === resource)?.owner
  return (
    (owner !== undefined && held.has(owner)) ||
    state.permissions.some((p) => p.resource === resource && p.privilege === privilege && held.has(p.role))
  )
}
