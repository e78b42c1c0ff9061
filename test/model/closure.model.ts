// The access rules of policy 7 once more, over plain lists and as slow as they read. The SQL is compared with this.

export type Edge = { readonly role: string; readonly member: string; readonly ownership: boolean }
export type Grant = { readonly resource: string; readonly role: string; readonly privilege: string }

export type World = {
  readonly roles: readonly string[]
  /** Resource → owner. */
  readonly owners: ReadonlyMap<string, string>
  readonly edges: readonly Edge[]
  readonly grants: readonly Grant[]
}

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
const sorted = (ids: Iterable<string>): string[] => [...new Set(ids)].sort(byBytes)

/** Grows a set by `next` until nothing is new. */
function grown(first: readonly string[], next: (id: string) => readonly string[]): Set<string> {
  const all = new Set(first)
  for (;;) {
    const size = all.size
    for (const id of [...all]) for (const more of next(id)) all.add(more)
    if (all.size === size) return all
  }
}

const rolesOf = ({ edges }: World, id: string): string[] =>
  edges.filter(({ member }) => member === id).map(({ role }) => role)
const membersOf = ({ edges }: World, id: string): string[] =>
  edges.filter(({ role }) => role === id).map(({ member }) => member)

/** R and all that it holds; nothing when there is no such role. */
export const closure = (world: World, role: string): Set<string> =>
  world.roles.includes(role) ? grown([role], (id) => rolesOf(world, id)) : new Set()

export function allowed(world: World, role: string, privilege: string, resource: string): boolean {
  const held = closure(world, role)
  const owner = world.owners.get(resource)
  if (owner === undefined) return false
  return (
    held.has(owner) ||
    world.grants.some((g) => g.resource === resource && g.privilege === privilege && held.has(g.role))
  )
}

export function visible(world: World, role: string, resource: string): boolean {
  const held = closure(world, role)
  const owner = world.owners.get(resource)
  if (owner === undefined) return false
  return held.has(owner) || world.grants.some((g) => g.resource === resource && held.has(g.role))
}

export const allRoles = (world: World, role: string): string[] => sorted(closure(world, role))

/** Owner and grantees, and all their members. */
export function permittedRoles(world: World, resource: string, privilege: string): string[] {
  const owner = world.owners.get(resource)
  const grantees = world.grants
    .filter((g) => g.resource === resource && g.privilege === privilege)
    .map(({ role }) => role)
  const first = owner === undefined ? grantees : [owner, ...grantees]
  return sorted(grown(first, (id) => membersOf(world, id)))
}

/** Edges up and down from a role and direct members of its ancestors, where the caller sees the parent. */
export function graph(world: World, caller: string, role: string): { parent: string; child: string }[] {
  const up = closure(world, role)
  const down = world.roles.includes(role) ? grown([role], (id) => membersOf(world, id)) : new Set<string>()
  const pairs = world.edges
    .filter((edge) => up.has(edge.role) || down.has(edge.role))
    .filter((edge) => visible(world, caller, edge.role))
    .map((edge) => JSON.stringify([edge.role, edge.member]))
  return [...new Set(pairs)]
    .map((text) => JSON.parse(text) as [string, string])
    .sort(([a, b], [c, d]) => byBytes(a, c) || byBytes(b, d))
    .map(([parent, child]) => ({ parent, child }))
}

export type Wanted = {
  readonly account: string | undefined
  readonly kind: string | undefined
  readonly owner: string | undefined
  readonly actingAs: string | undefined
}

/** Ids that a list shows, before it is cut into pages. */
export function listed(world: World, caller: string, wanted: Wanted): string[] {
  const eyes = wanted.actingAs ?? caller
  const owners = wanted.owner === undefined ? undefined : closure(world, wanted.owner)
  const matches = (id: string): boolean => {
    const [account, kind] = id.split(':')
    return (
      (wanted.account === undefined || account === wanted.account) &&
      (wanted.kind === undefined || kind === wanted.kind) &&
      (owners === undefined || owners.has(world.owners.get(id)!)) &&
      visible(world, eyes, id)
    )
  }
  return sorted([...world.owners.keys()].filter(matches))
}
