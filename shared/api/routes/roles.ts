// Roles: who they are, who holds them, adding and removing members (http-api 10).
import { type AuditEvent, listEvent, policyEvent } from '../../audit/event.ts'
import { allowed, visible } from '../../authz/decide.ts'
import { DomainError } from '../../base/errors.ts'
import { jsonInstant } from '../../base/time.ts'
import { isKind } from '../../id/kinds.ts'
import { expandId, makeId, notFoundWords } from '../../id/resource-id.ts'
import { put, remove } from '../../ledger/change.ts'
import { type Access, accessQuery, policyAccessQuery } from '../../ledger/reads/access.ts'
import { given } from '../../ledger/reads/conditions.ts'
import {
  allRolesQuery,
  graphQuery,
  type Membership,
  type MembershipFilter,
  membershipCountQuery,
  membershipsQuery,
  type RoleRow,
  roleQuery,
} from '../../ledger/reads/role.ts'
import { searchOf } from '../../ledger/search.ts'
import { actorOf } from '../actor.ts'
import { answer, json, type Outcome, recorded } from '../outcome.ts'
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

const everything: MembershipFilter = {
  kinds: [],
  stems: undefined,
  members: undefined,
  limit: undefined,
  offset: 0,
}

type Guard = { readonly access: Access; readonly role: RoleRow | undefined }

const guardOf = (id: string) => ({ access: accessQuery(id), role: roleQuery(id) })

/** The role's resource must be seen, otherwise there is no such record; never 403. `unseen`: records that. */
function guarded(
  { access, role }: Guard,
  { kind, id }: Path,
  then: (role: RoleRow) => Outcome,
  unseen?: (error: string) => AuditEvent,
): Outcome {
  if (!isKind(kind)) return problems.noRoute()
  if (visible(access) && role !== undefined) return then(role)
  const missing = problems.recordNotFound(id)
  return unseen === undefined ? missing : recorded(missing, unseen(notFoundWords(id)))
}

const showRole = route({
  id: 'showRole',
  method: 'GET',
  path: PATH,
  docs: { does: 'A role with its direct members', gives: 'json', answers: [200, 404] },
  access: 'token',
  effect: 'read',
  input: ({ params }) => pathOf(params),
  facts: ({ id }) => ({ ...guardOf(id), members: membershipsQuery(id, 'role', everything) }),
  decide: ({ members, ...guard }, path) =>
    guarded(guard, path, ({ id, createdAt, policy }) =>
      answer(
        200,
        json({
          created_at: jsonInstant(createdAt),
          id,
          ...withPolicy(policy),
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
    stems: searchOf(textOf(query, 'search')),
    members: byMember && members.length > 0 ? members : undefined,
    limit,
    offset: offset ?? 0,
  }
}

const LISTED_DOCS = {
  search: 'Words that all must be found',
  kind: 'Only these kinds',
  limit: 'Most rows',
  offset: 'Rows to pass over',
  count: 'Only how many',
  filter: 'Only these ids',
}
const LISTED = Object.keys(LISTED_DOCS)

/** As the audit names them: only what the route knows, each as one text. */
const parametersOf = (query: Query, { account, id }: Path): Record<string, string> => ({
  account,
  role: id,
  ...Object.fromEntries(
    LISTED.filter((name) => query.has(name)).map((name) => [name, listOf(query, name).join(',')]),
  ),
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
    docs: {
      does: selector === 'members' ? 'Direct members of the role' : 'Roles that it is a direct member of',
      query: LISTED_DOCS,
      gives: 'json',
      answers: [200, 404, 422],
    },
    access: 'token',
    effect: 'read',
    input: ({ params, query }) => {
      const path = pathOf(params)
      return {
        ...path,
        filter: filterOf(path.account, query, side === 'member'),
        count: query.has('count'),
        parameters: parametersOf(query, path),
      }
    },
    facts: ({ id, filter, count }) => ({
      ...guardOf(id),
      rows: count ? given([]) : membershipsQuery(id, side, filter),
      total: count ? membershipCountQuery(id, side, filter) : given(0),
    }),
    decide({ rows, total, ...guard }, { count, parameters, ...path }, { caller }) {
      const event = (error?: string) => listEvent(actorOf(caller), { msgid, parameters, error })
      const body = json(count ? { count: total } : rows.map(membershipJson))
      return guarded(guard, path, () => answer(200, body, { audit: [event()] }), event)
    },
  })
}

const allRoles = route({
  id: 'allRoles',
  method: 'GET',
  path: PATH,
  selector: 'all',
  docs: {
    does: 'The role and all roles it holds',
    query: { filter: 'Only these ids', count: 'Only how many' },
    gives: 'json',
    answers: [200, 404],
  },
  access: 'token',
  effect: 'read',
  input: ({ params, query }) => {
    const path = pathOf(params)
    const filter = listOf(query, 'filter').map((id) => expandId(path.account, id) ?? id)
    return { ...path, filter, count: query.has('count') }
  },
  facts: ({ id }) => ({ ...guardOf(id), roles: allRolesQuery(id) }),
  decide: ({ roles, ...guard }, { filter, count, ...path }) =>
    guarded(guard, path, () => {
      const kept = filter.length === 0 ? roles : roles.filter((role) => filter.includes(role))
      return answer(200, json(count ? { count: kept.length } : kept))
    }),
})

const roleGraph = route({
  id: 'roleGraph',
  method: 'GET',
  path: PATH,
  selector: 'graph',
  docs: { does: 'Grants above and below the role', gives: 'json', answers: [200, 404] },
  access: 'token',
  effect: 'read',
  input: ({ params }) => pathOf(params),
  facts: ({ id }) => ({ ...guardOf(id), edges: graphQuery(id) }),
  decide: ({ edges, ...guard }, path) => guarded(guard, path, () => answer(200, json(edges))),
})

const changeMember = (method: 'POST' | 'DELETE') =>
  route({
    id: method === 'POST' ? 'addMember' : 'deleteMember',
    method,
    path: PATH,
    selector: 'members',
    docs: {
      does: method === 'POST' ? 'Grant the role to a member' : 'Take the role from a member',
      query: { member: 'Full id' },
      answers: [204, 403, 404, 405],
    },
    access: 'token',
    effect: 'write',
    input: ({ params, query }) => ({ ...pathOf(params), member: textOf(query, 'member') ?? '' }),
    facts: ({ id, member }) => ({
      ...guardOf(id),
      policy: policyAccessQuery(id),
      found: roleQuery(member),
      held: membershipsQuery(id, 'role', { ...everything, members: [member] }),
    }),
    decide({ policy, found, held, ...guard }, { member, ...path }, { caller }) {
      return guarded(guard, path, ({ id }) => {
        if (!allowed(policy, method === 'POST' ? 'create' : 'update')) return problems.forbidden()
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
