// Resources: lists, details, permission checks (http-api 11).
import { checkEvent, listEvent, resourceEvent } from '../../audit/event.ts'
import { visible } from '../../authz/decide.ts'
import { DomainError } from '../../base/errors.ts'
import { isKind } from '../../id/kinds.ts'
import { expandId, makeId, notFoundWords } from '../../id/resource-id.ts'
import { accessQuery } from '../../ledger/reads/access.ts'
import { given } from '../../ledger/reads/conditions.ts'
import { holdsQuery, type ListFilter, listCountQuery, listIdsQuery } from '../../ledger/reads/listing.ts'
import { detailsQuery, idSource, otherAccessQuery, permittedRolesQuery } from '../../ledger/reads/resource.ts'
import { roleQuery } from '../../ledger/reads/role.ts'
import { searchOf } from '../../ledger/search.ts'
import { actorOf } from '../actor.ts'
import { answer, json, type Outcome, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import { type Query, textOf } from '../request.ts'
import { resourcesJson } from '../resource-json.ts'
import { type AnyRoute, route } from '../route.ts'
import type { ApiSettings } from '../settings.ts'

type Path = { readonly kind: string; readonly id: string }

const pathOf = (params: Readonly<Record<string, string>>): Path => ({
  kind: params.kind!,
  id: makeId(params.account!, params.kind!, params.id!),
})

const showResource = route({
  id: 'showResource',
  method: 'GET',
  path: '/resources/:account/:kind/:id*',
  docs: { does: 'A resource with its permissions and annotations', gives: 'json', answers: [200, 404] },
  access: 'token',
  effect: 'read',
  input: ({ params }) => pathOf(params),
  facts: ({ id }) => ({ access: accessQuery(id), details: detailsQuery(idSource(id)) }),
  decide({ access, details }, { kind, id }, { caller, keyring }) {
    if (!isKind(kind)) return problems.noRoute()
    const actor = actorOf(caller)
    if (!visible(access)) {
      const event = resourceEvent(actor, { resource: id, error: notFoundWords(id) })
      return recorded(problems.recordNotFound(id), event)
    }
    return answer(200, json(resourcesJson(details, keyring)[0]!), {
      audit: [resourceEvent(actor, { resource: id })],
    })
  },
})

const checkPermission = route({
  id: 'checkPermission',
  method: 'GET',
  path: '/resources/:account/:kind/:id*',
  selector: 'check',
  docs: {
    does: 'Whether a role has a privilege on the resource',
    query: { privilege: 'Which', role: 'Full id of a role that the caller holds; absent: himself' },
    answers: [204, 403, 404, 422],
  },
  access: 'token',
  effect: 'read',
  input: ({ params, query }) => ({
    ...pathOf(params),
    privilege: textOf(query, 'privilege') || undefined,
    role: textOf(query, 'role') || undefined,
  }),
  facts: ({ id, privilege, role }, caller) => ({
    access: accessQuery(id),
    other: otherAccessQuery(role ?? caller.role!, id, privilege ?? ''),
  }),
  decide({ access, other }, { kind, id, privilege, role }, { caller }) {
    if (!isKind(kind)) return problems.noRoute()
    if (privilege === undefined) return problems.argument('privilege')
    const checked = role ?? caller.role!
    const event = (error?: string) =>
      checkEvent(actorOf(caller), { resource: id, role: checked, privilege, error })
    if (!other.held) return recorded(problems.forbidden(), event('Forbidden'))
    if (!visible(access)) return recorded(problems.recordNotFound(id), event(notFoundWords(id)))
    return other.allowed
      ? answer(204, undefined, { audit: [event()] })
      : answer(404, undefined, { audit: [event('')] })
  },
})

const permittedRoles = route({
  id: 'permittedRoles',
  method: 'GET',
  path: '/resources/:account/:kind/:id*',
  selector: 'permitted_roles',
  docs: {
    does: 'Roles that have a privilege on the resource',
    query: { privilege: 'Which' },
    gives: 'json',
    answers: [200, 404, 422],
  },
  access: 'token',
  effect: 'read',
  input: ({ params, query }) => ({
    ...pathOf(params),
    privilege: textOf(query, 'privilege') || textOf(query, 'permission') || undefined,
  }),
  facts: ({ id, privilege }) => ({
    access: accessQuery(id),
    roles: permittedRolesQuery(id, privilege ?? ''),
  }),
  decide({ access, roles }, { kind, id, privilege }) {
    if (!isKind(kind)) return problems.noRoute()
    if (privilege === undefined) return problems.argument('privilege')
    return visible(access) ? answer(200, json(roles)) : problems.recordNotFound(id)
  },
})

type ListInput = {
  readonly filter: ListFilter
  readonly count: boolean
  readonly limit: number | undefined
  readonly offset: number
  readonly parameters: Readonly<Record<string, string>>
}

const DEFAULT_PAGE = 10
/** One limit above the cap that existing clients use. */
const LARGE_PAGE = 10_000

/** `limit` and `offset` as the reference reads them; throws `unprocessable_entity` for bad ones. */
export function pageOf(
  query: Query,
  count: boolean,
  settings: ApiSettings,
): { limit: number | undefined; offset: number } {
  const limitText = textOf(query, 'limit') || undefined
  const offsetText = textOf(query, 'offset') || undefined
  const max = settings.resourceListLimitMax
  if (limitText !== undefined && !/^[1-9]\d{0,8}$/.test(limitText)) {
    throw new DomainError(
      'unprocessable_entity',
      "'limit' contains an invalid value. 'limit' must be a positive integer.",
    )
  }
  if (offsetText !== undefined && !/^\d{1,9}$/.test(offsetText)) {
    const message =
      "'offset' contains an invalid value. 'offset' must be an integer greater than or equal to 0."
    throw new DomainError('unprocessable_entity', message)
  }
  const limit = limitText === undefined ? undefined : Number(limitText)
  if (!count && limit !== undefined && max > 0 && limit > max && limit !== LARGE_PAGE) {
    throw new DomainError('unprocessable_entity', `'Limit' parameter must not exceed ${max}`)
  }
  const cap = max > 0 ? max : undefined
  return { limit: limit ?? (offsetText === undefined ? cap : DEFAULT_PAGE), offset: Number(offsetText ?? 0) }
}

const LISTED_DOCS = {
  kind: 'Only this kind',
  limit: 'Most resources',
  offset: 'Resources to pass over',
  search: 'Words that all must be found',
  owner: 'Only what this role, or a role it holds, owns',
  role: 'As this role, which the caller must hold, sees them',
  acting_as: 'The same as role',
  count: 'true: only how many',
}
const LISTED = ['account', ...Object.keys(LISTED_DOCS)]

function listInput(params: Readonly<Record<string, string>>, query: Query, settings: ApiSettings): ListInput {
  const count = textOf(query, 'count') === 'true'
  const { account } = params
  const owner = textOf(query, 'owner') || undefined
  const parameters = Object.fromEntries([
    ...Object.entries(params),
    ...[...query].filter(
      (pair): pair is [string, string] => typeof pair[1] === 'string' && LISTED.includes(pair[0]),
    ),
  ])
  return {
    filter: {
      account,
      kind: params.kind ?? (textOf(query, 'kind') || undefined),
      stems: searchOf(textOf(query, 'search')),
      owner: owner === undefined ? undefined : (expandId(account ?? '', owner) ?? owner),
      actingAs: textOf(query, 'acting_as') || textOf(query, 'role') || undefined,
    },
    count,
    ...pageOf(query, count, settings),
    parameters,
  }
}

const listResources = (id: string, path: string, does: string, answers: readonly number[]) =>
  route({
    id,
    method: 'GET',
    path,
    docs: { does, query: LISTED_DOCS, gives: 'json', answers },
    access: 'token',
    effect: 'read',
    input: ({ params, query }, settings) => listInput(params, query, settings),
    facts: ({ filter, limit, offset, count }) => ({
      holds: holdsQuery(filter.actingAs ?? ''),
      owner: roleQuery(filter.owner ?? ''),
      count: count ? listCountQuery(filter) : given(0),
      details: count ? given(undefined) : detailsQuery(listIdsQuery(filter, limit, offset)),
    }),
    decide({ holds, owner, count, details }, input, { caller, keyring }) {
      const { filter, parameters } = input
      const actor = actorOf(caller)
      const refused = (outcome: Outcome, error: string): Outcome =>
        recorded(outcome, listEvent(actor, { msgid: 'list', parameters, error }))
      if (path.endsWith(':kind') && !isKind(filter.kind!)) return problems.noRoute()
      if (filter.actingAs !== undefined && !holds) return refused(problems.forbidden(), 'Forbidden')
      if (filter.owner !== undefined && owner === undefined) {
        return refused(problems.recordNotFound(filter.owner), notFoundWords(filter.owner))
      }
      const body = details === undefined ? { count } : resourcesJson(details, keyring)
      return answer(200, json(body), { audit: [listEvent(actor, { msgid: 'list', parameters })] })
    },
  })

export const resourceRoutes: readonly AnyRoute[] = [
  checkPermission,
  permittedRoles,
  showResource,
  listResources(
    'listResourcesOfKind',
    '/resources/:account/:kind',
    'Resources of a kind',
    [200, 403, 404, 422],
  ),
  listResources(
    'listResourcesOfAccount',
    '/resources/:account',
    'Resources of an account',
    [200, 403, 404, 422],
  ),
  listResources('listResources', '/resources', 'Resources of every account', [200, 403, 404, 422]),
]
