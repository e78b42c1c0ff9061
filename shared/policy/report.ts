// What a load would do, as a dry run says it (policy 9): records before and after, without the names of those that the
// caller cannot see; or why the text cannot be loaded, with advice.
import type { Json } from '../base/json.ts'
import { accountOf, identifierOf, kindOf } from '../id/resource-id.ts'
import type { Change } from '../ledger/change.ts'
import type { shownBatch } from '../ledger/reads/shown.ts'
import type { FactsOf } from '../ledger/store.ts'
import type { PolicyError } from './errors.ts'

export type Shown = FactsOf<ReturnType<typeof shownBatch>>

/** Records whose state a change may alter: each row says something of those that it names. */
export function recordsIn(changes: readonly Change[]): string[] {
  const ids = new Set<string>()
  for (const change of changes) {
    const row = change.op === 'put' ? change.row : change.key
    switch (change.table) {
      case 'resources':
      case 'roles':
        ids.add(row.id as string)
        break
      case 'memberships':
        ids.add(row.role as string).add(row.member as string)
        break
      case 'permissions':
        ids.add(row.role as string).add(row.resource as string)
        break
      case 'annotations':
        ids.add(row.resource as string)
        break
      case 'credentials':
        ids.add(row.role as string)
        break
    }
  }
  return [...ids].sort()
}

const roleKinds = ['user', 'group', 'host', 'layer', 'policy']
const resourceKinds = ['variable', 'webservice']

type Lists = ReadonlyMap<string, readonly string[]>

type Item = {
  readonly id: string
  readonly owner: string
  readonly policy: string | null
  readonly annotations: readonly (readonly [name: string, value: string])[]
  /** Of a role what it may do, of a resource who may do it: privilege → ids. */
  readonly permissions: Lists
  readonly members: readonly string[]
  readonly memberships: readonly string[]
  readonly restrictedTo: readonly string[]
}

export function validReport(before: Shown, after: Shown): Json {
  const was = itemsOf(before)
  const is = itemsOf(after)
  const created = [...is.keys()].filter((id) => !was.has(id))
  const deleted = [...was.keys()].filter((id) => !is.has(id))
  const updated = [...was.keys()].filter((id) => is.has(id) && !sameItem(was.get(id)!, is.get(id)!))
  const show = (ids: readonly string[], items: ReadonlyMap<string, Item>, { visible }: Shown): Json => ({
    items: inOrder(ids).map((id) => itemJson(items.get(id)!, visible)),
  })
  return {
    status: 'Valid YAML',
    created: show(created, is, after),
    updated: { before: show(updated, was, before), after: show(updated, is, after) },
    deleted: show(deleted, was, before),
  }
}

/** Roles, then resources, each by id. */
function inOrder(ids: readonly string[]): string[] {
  const sorted = [...ids].sort()
  const isRole = (id: string): boolean => roleKinds.includes(kindOf(id))
  return [...sorted.filter(isRole), ...sorted.filter((id) => !isRole(id))]
}

function itemsOf(shown: Shown): Map<string, Item> {
  const annotations = Map.groupBy(shown.annotations, ({ resource }) => resource)
  const members = Map.groupBy(shown.members, ({ role }) => role)
  const memberships = Map.groupBy(shown.memberships, ({ member }) => member)
  const permissions = Map.groupBy(shown.permissions, ({ role }) => role)
  const permitted = Map.groupBy(shown.permitted, ({ resource }) => resource)
  const restricted = new Map(shown.credentials.map((row) => [row.role, row.restricted_to]))
  const items = new Map<string, Item>()
  for (const { id, owner, policy } of shown.resources) {
    const isRole = roleKinds.includes(kindOf(id))
    if (!isRole && !resourceKinds.includes(kindOf(id))) continue
    const rights = isRole
      ? (permissions.get(id) ?? []).map(({ privilege, resource }) => [privilege, resource] as const)
      : (permitted.get(id) ?? []).map(({ privilege, role }) => [privilege, role] as const)
    items.set(id, {
      id,
      owner,
      policy,
      annotations: (annotations.get(id) ?? []).map(({ name, value }) => [name, value]),
      permissions: listsOf(rights),
      members: unique((members.get(id) ?? []).map(({ member }) => member)),
      memberships: unique((memberships.get(id) ?? []).map(({ role }) => role)),
      restrictedTo: JSON.parse(restricted.get(id) ?? '[]') as string[],
    })
  }
  return items
}

function listsOf(pairs: readonly (readonly [privilege: string, id: string])[]): Lists {
  const grouped = Map.groupBy(pairs, ([privilege]) => privilege)
  return new Map([...grouped].map(([privilege, rows]) => [privilege, rows.map(([, id]) => id)]))
}

/** An owner that is granted the role as well is there once. */
const unique = (ids: readonly string[]): string[] => [...new Set(ids)]

const everything: ReadonlySet<string> = { has: () => true } as unknown as ReadonlySet<string>
const sameItem = (a: Item, b: Item): boolean =>
  JSON.stringify(itemJson(a, everything)) === JSON.stringify(itemJson(b, everything))

const redacted = (id: string): string => `${accountOf(id)}:${kindOf(id)}:[REDACTED]`

function itemJson(item: Item, visible: ReadonlySet<string>): Json {
  const { id, owner, policy } = item
  const type = kindOf(id)
  if (!visible.has(id)) return { identifier: redacted(id), type }
  const seen = (other: string): string => (visible.has(other) ? other : redacted(other))
  const rights = Object.fromEntries([...item.permissions].map(([name, ids]) => [name, ids.map(seen)]))
  const isRole = roleKinds.includes(type)
  return {
    identifier: id,
    id: identifierOf(id),
    type,
    owner: seen(owner),
    ...(policy === null ? {} : { policy: seen(policy) }),
    ...(isRole ? { permissions: rights } : { permitted: rights }),
    annotations: Object.fromEntries(item.annotations),
    ...(isRole
      ? {
          members: item.members.map(seen),
          memberships: item.memberships.map(seen),
          restricted_to: [...item.restrictedTo],
        }
      : {}),
  }
}

export function invalidReport(error: PolicyError, policy: string): Json {
  const { problem, at } = error
  return {
    status: 'Invalid YAML',
    errors: [
      {
        line: at?.line ?? null,
        column: at?.column ?? null,
        message: `${problem}\n${adviceFor(problem)}`,
        context: { policy_id: identifierOf(policy), offending_lines: at === undefined ? [] : [at.line] },
      },
    ],
  }
}

const TAGS =
  '!delete, !deny, !grant, !group, !host, !host-factory, !layer, !permit, !policy, !revoke, !user, !variable, !webservice'

/** By the words of the problem; the first that fits (policy 9). */
const advice: readonly (readonly [problem: RegExp, advice: string])[] = [
  [/whitespace or line break while scanning a tag/, 'Only one node can be defined per line.'],
  [
    /could not find expected ':' while scanning a simple key/,
    "This error can occur when you have a missing ':' or missing space after ':'",
  ],
  [/^Unrecognized data type/, `The tag must be one of the following: ${TAGS}`],
  [/block sequence entries are not allowed/i, "There is an unneeded '-' at the start of a line."],
  [/did not find expected '-' indicator/, 'The indentation of this line does not fit the lines around it.'],
  [
    /while parsing a flow (sequence|mapping)/,
    "A list or mapping was begun with '[' or '{' and not ended, or one of its elements cannot be read.",
  ],
  [/while scanning a tag/, `A tag lacks its '!'. The tags are: ${TAGS}`],
  [
    /while scanning an (alias|anchor)/,
    'A name holds unexpected characters. Put it between quotes if it is meant as text.',
  ],
  [/^found a tab character/, 'Use spaces for indentation, not tabs.'],
  [
    /did not find expected node content/,
    'A node begins with an unexpected character. Put it between quotes if it is meant as text.',
  ],
  [/bits set to right of mask/, ''],
  [
    /^Invalid IP address or CIDR range/,
    'Make sure your address or range is in the correct format, e.g. 192.168.1.0 or 192.168.1.0/16',
  ],
  [/ has a blank id$/, 'Each resource must be given an id.'],
  [/^Dependency cycle/, 'Redefine one or both of these records, so that neither needs the other.'],
  [/^Unexpected scalar/, 'Check the syntax for a new node.'],
]

const adviceFor = (problem: string): string => advice.find(([pattern]) => pattern.test(problem))?.[1] ?? ''
