// Roles: who they are, who holds them, adding and removing members (http-api 10).
import { listEvent, policyEvent } from '../../audit/event.ts'
import { allowed, visible } from '../../authz/decide.ts'
import { DomainError } from '../../base/errors.ts'
import { jsonInstant } from '../../base/time.ts'
import { isKind } from '../../id/kinds.ts'
import { expandId, makeId } from '../../id/resource-id.ts'
import { put, remove } from '../../ledger/change.ts'
import { accessQuery } from '../../ledger/reads/access.ts'
import {
  allRolesQuery,
  graphQuery,
  type Membership,
  type MembershipFilter,
  membershipCountQuery,
  membershipsQuery,
  roleQuery,
} from '../../ledger/reads/role.ts'
import { stemsOf } from '../../ledger/search.ts'
import type { Query as Fact } from '../../ledger/store.ts'
import { actorOf } from '../actor.ts'
import { answer, json, type Outcome } from '../outcome.ts'
import { problems } from '../problems.ts'
import { listOf, type Query, textOf } from '../request.ts'
import { withPolicy } from '../resource-json.ts'
import { type AnyRoute, route } from '../route.ts'

const PATH = '/roles/:account/:kind/:id*'
const DEFAULT_PAGE = 10

type Path = { readonly account: string; readonly kind: string; readonly id: string }

const pathOf = (params: Readonly<Record<string, string>>): Path => ({
  account: params.account!,
  kind: params.kind!,
  id: makeId(params.account!, params.kind!, params.id!),
})

const membershipJson = (m: Membership) => ({
  admin_option: m.adminOption,
  ownership: m.ownership,
  role: m.role,
  member: m.member,
  ...withPolicy(m.policy),
})

const everything: MembershipFilter = { kinds: [], stems: [], members: undefined, limit: undefined, offset: 0 }

/** The role's resource must be seen, otherwise there is no such record; never 403. */
function guarded(kind: string, id: string, seen: boolean, then: () => Outcome): Outcome {
  if (!isKind(kind)) return problems.noRoute()
  return seen ? then() : problems.recordNotFound(id)
}

const showRole = route({
  id: 'showRole',
  method: 'GET',
  path: PATH,
  access: 'token',
  effect: 'read',
  input: ({ params }) => pathOf(params),
  facts: ({ id }) => ({
    access: accessQuery(id),
    role: roleQuery(id),
    members: membershipsQuery(id, 'role', everything),
  }),
  decide: ({ access, role, members }, { kind, id }) =>
    guarded(kind, id, visible(access) && role !== undefined, () =>
      answer(
        200,
        json({
          created_at: jsonInstant(role!.createdAt),
          id,
          ...withPolicy(role!.policy),
          members: members.map(membershipJson),
        }),
      ),
    ),
})

function numberOf(query: Query, name: string): number | undefined {
  const value = textOf(query, name)
  if (value === undefined || value === '') return undefined
  if (!/^\d{1,9}$/.test(value))
    throw new DomainError('unprocessable_entity', `'${name}' must be a whole number`)
  return Number(value)
}

function filterOf(account: string, query: Query, byMember: boolean): MembershipFilter {
  const offset = numberOf(query, 'offset')
  const limit = numberOf(query, 'limit') ?? (offset === undefined ? undefined : DEFAULT_PAGE)
  const members = listOf(query, 'filter').map((id) => expandId(account, id) ?? id)
  return {
    kinds: listOf(query, 'kind'),
    stems: stemsOf(textOf(query, 'search') ?? ''),
    members: byMember && members.length > 0 ? members : undefined,
    limit,
    offset: offset ?? 0,
  }
}

const parametersOf = (query: Query, account: string, id: string): Record<string, string> => ({
  account,
  role: id,
  ...Object.fromEntries([...query].filter((pair): pair is [string, string] => typeof pair[1] === 'string')),
})

/** Members of a role, or memberships of it: one rule seen from either end. */
const listMemberships = (selector: 'members' | 'memberships') => {
  const side = selector === 'members' ? 'role' : 'member'
  const msgid = selector === 'members' ? 'members' : 'membership'
  return route({
    id: selector === 'members' ? 'listMembers' : 'listMemberships',
    method: 'GET',
    path: PATH,
    selector,
    access: 'token',
    effect: 'read',
    input: ({ params, query }) => {
      const path = pathOf(params)
      return {
        ...path,
        filter: filterOf(path.account, query, side === 'member'),
        count: query.has('count'),
        parameters: parametersOf(query, path.account, path.id),
      }
    },
    facts: ({ id, filter }) => ({
      access: accessQuery(id),
      rows: membershipsQuery(id, side, filter),
      total: membershipCountQuery(id, side, filter),
    }),
    decide: ({ access, rows, total }, { kind, id, count, parameters }, { caller }) =>
      guarded(kind, id, visible(access), () =>
        answer(200, json(count ? { count: total } : rows.map(membershipJson)), {
          audit: [listEvent(actorOf(caller), { msgid, parameters })],
        }),
      ),
  })
}

const allRoles = route({
  id: 'allRoles',
  method: 'GET',
  path: PATH,
  selector: 'all',
  access: 'token',
  effect: 'read',
  input: ({ params, query }) => {
    const path = pathOf(params)
    const filter = listOf(query, 'filter').map((id) => expandId(path.account, id) ?? id)
    return { ...path, filter, filtered: query.has('filter'), count: query.has('count') }
  },
  facts: ({ id }) => ({ access: accessQuery(id), roles: allRolesQuery(id) }),
  decide: ({ access, roles }, { kind, id, filter, filtered, count }) =>
    guarded(kind, id, visible(access), () => {
      const kept = filtered ? roles.filter((role) => filter.includes(role)) : roles
      return answer(200, json(count ? { count: kept.length } : kept))
    }),
})

const roleGraph = route({
  id: 'roleGraph',
  method: 'GET',
  path: PATH,
  selector: 'graph',
  access: 'token',
  effect: 'read',
  input: ({ params }) => pathOf(params),
  facts: ({ id }) => ({ access: accessQuery(id), edges: graphQuery(id) }),
  decide: ({ access, edges }, { kind, id }) =>
    guarded(kind, id, visible(access), () => answer(200, json(edges))),
})

/** What the caller may do with the policy that a role's record belongs to. */
function policyAccessQuery(role: string): Fact<ReadonlySet<string>> {
  return {
    sql:
      "SELECT 'owner' AS privilege FROM roles r JOIN resources p ON p.id = r.policy WHERE r.id = ?1 " +
      'AND p.owner IN (SELECT id FROM closure) UNION ALL SELECT m.privilege AS privilege FROM roles r ' +
      'JOIN permissions m ON m.resource = r.policy WHERE r.id = ?1 AND m.role IN (SELECT id FROM closure)',
    params: [role],
    read: (rows) => new Set(rows.map((row) => row.privilege as string)),
  }
}

const changeMember = (method: 'POST' | 'DELETE') =>
  route({
    id: method === 'POST' ? 'addMember' : 'deleteMember',
    method,
    path: PATH,
    selector: 'members',
    access: 'token',
    effect: 'write',
    input: ({ params, query }) => ({ ...pathOf(params), member: textOf(query, 'member') ?? '' }),
    facts: ({ id, member }) => ({
      access: accessQuery(id),
      policy: policyAccessQuery(id),
      member: roleQuery(member),
      held: membershipsQuery(id, 'role', { ...everything, members: [member] }),
    }),
    decide({ access, policy, member: found, held }, { kind, id, member }, { caller }) {
      return guarded(kind, id, visible(access), () => {
        const needed = method === 'POST' ? 'create' : 'update'
        if (!allowed({ exists: true, owns: policy.has('owner'), privileges: policy }, needed))
          return problems.forbidden()
        const grant = held.find(({ ownership }) => !ownership)
        const subject = { kind: 'membership', role: id, member } as const
        if (method === 'DELETE') {
          if (grant === undefined) return problems.recordNotFound(member)
          const changes = [remove('memberships', { role: id, member, ownership: 0 })]
          return answer(204, undefined, {
            changes,
            audit: [policyEvent(actorOf(caller), { operation: 'remove', subject })],
          })
        }
        if (found === undefined) return problems.recordNotFound(member)
        if (grant !== undefined) return answer(204)
        const changes = [
          put('memberships', { role: id, member, ownership: 0, admin_option: 0, policy: null }),
        ]
        return answer(204, undefined, {
          changes,
          audit: [policyEvent(actorOf(caller), { operation: 'add', subject })],
        })
      })
    },
  })

export const roleRoutes: readonly AnyRoute[] = [
  roleGraph,
  allRoles,
  listMemberships('memberships'),
  listMemberships('members'),
  showRole,
  changeMember('POST'),
  changeMember('DELETE'),
]
