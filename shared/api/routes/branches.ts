// Branches: policies one by one, as V2 has them. What the caller may not do with one is told like one that is not
// there (http-api 15, note 1).
import { type V2Operation, v2Event } from '../../audit/event.ts'
import { allowed, visible } from '../../authz/decide.ts'
import type { Json } from '../../base/json.ts'
import { limits } from '../../base/limits.ts'
import { identifierOf, kindOf, makeId, notFoundWords } from '../../id/resource-id.ts'
import { type Access, accessQuery } from '../../ledger/reads/access.ts'
import {
  type Branch,
  branchCountQuery,
  branchesQuery,
  branchQuery,
  recordBatch,
} from '../../ledger/reads/branch.ts'
import { roleQuery } from '../../ledger/reads/role.ts'
import { amendments } from '../../policy/amend.ts'
import { actorOf } from '../actor.ts'
import { type BranchBody, branchBody, branchId, childId, faultOfQuery } from '../branch-body.ts'
import { emptiedBatch, emptiedChanges, type Made, madeBatch, madeChanges, madeRecord } from '../made.ts'
import { answer, type Outcome, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import type { Query, RouteRequest } from '../request.ts'
import { type AnyRoute, type Caller, route } from '../route.ts'
import { branchNotFound, v2Json, v2NotWanted, wantsV2 } from '../v2.ts'

/** What the audit says of a request. */
type Told = {
  readonly operation: V2Operation
  readonly name?: string | undefined
  readonly path: string
  readonly body?: Json
}

/** The outcome with its record: `error` says why nothing came of it. */
function told(
  { operation, name, path, body }: Told,
  caller: Caller,
  outcome: Outcome,
  error?: string,
): Outcome {
  return recorded(outcome, v2Event(actorOf(caller), { type: 'branch', operation, name, path, body, error }))
}

/** Undefined for the root. */
function parentOf(branch: string): string | undefined {
  const path = identifierOf(branch)
  const slash = path.lastIndexOf('/')
  if (path === 'root') return undefined
  return branchId(branch.slice(0, branch.indexOf(':')), slash < 0 ? '/' : path.slice(0, slash))
}

function branchJson({ id, owner, annotations }: Branch): Json {
  const path = identifierOf(id)
  const slash = path.lastIndexOf('/')
  return {
    name: path.slice(slash + 1),
    branch: slash < 0 ? '/' : path.slice(0, slash),
    owner: { kind: kindOf(owner), id: identifierOf(owner) },
    annotations: Object.fromEntries(annotations),
  }
}

type BranchAccess = { readonly access: Access; readonly parent: Access }

const accessBatch = (branch: string) => ({
  access: accessQuery(branch),
  parent: accessQuery(parentOf(branch) ?? branch),
})

/**
 * The branch that is not there for this caller, undefined when all is well. A parent that is not there is named
 * instead of the branch; for whoever sees neither, one that is there is told like one that is not.
 */
function absent(
  { access, parent }: BranchAccess,
  branch: string,
  privileges: readonly string[],
): string | undefined {
  if (parent.exists && privileges.every((privilege) => allowed(access, privilege))) return undefined
  const above = parentOf(branch)
  if (above === undefined || identifierOf(above) === 'root') return branch
  return (visible(access) ? parent.exists : visible(parent)) ? branch : above
}

type CreateInput = { readonly wanted: boolean; readonly told: Told; readonly fault?: string | undefined } & (
  | { readonly made: undefined }
  | { readonly made: Made; readonly branch: Branch }
)

function createInput(request: RouteRequest): CreateInput {
  const account = request.params.account!
  const path = `/branches/${account}`
  if (!wantsV2(request)) return { wanted: false, told: { operation: 'create', path }, made: undefined }
  const { said, fault, name, parent, owner, annotations } = branchBody(request, account, true)
  const about: Told = { operation: 'create', name: name || undefined, path, body: said }
  if (fault !== undefined) return { wanted: true, told: about, fault, made: undefined }
  const id = childId(parent, name)
  const owned = owner ?? (identifierOf(parent) === 'root' ? makeId(account, 'user', 'admin') : parent)
  const made = { policy: parent, records: [madeRecord(id, owned, true, annotations)] }
  return { wanted: true, told: about, made, branch: { id, owner: owned, annotations } }
}

const createBranch = route({
  id: 'createBranch',
  method: 'POST',
  path: '/branches/:account',
  docs: {
    does: 'Make a branch',
    takes: 'v2',
    fields: {
      name: 'Its last part',
      branch: 'The one it stands in, / for root',
      owner: 'kind and id',
      annotations: 'Texts by name',
    },
    gives: 'v2',
    answers: [201, 400, 404, 405, 409, 422],
  },
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input: createInput,
  facts: ({ made }) => madeBatch(made ?? { policy: '' }),
  decide(facts, input, context) {
    if (!input.wanted) return v2NotWanted()
    const { caller } = context
    const refused = (outcome: Outcome, error: string): Outcome => told(input.told, caller, outcome, error)
    if (input.made === undefined) return refused(problems.unprocessable(input.fault!), input.fault!)
    const { made, branch } = input
    if (!allowed(facts.access, 'create')) {
      const words = branchNotFound(made.policy)
      return refused(problems.notFound(words), words)
    }
    if (!facts.roles.some(({ id }) => id === branch.owner)) {
      const words = notFoundWords(branch.owner)
      return refused(problems.notFound(words), words)
    }
    if ([...facts.roles, ...facts.resources].some(({ id }) => id === branch.id)) {
      const id = branch.id.replace(':policy:', ':branch:')
      return refused(problems.exists('Branch', id), `Branch "${id}" already exists`)
    }
    const changes = madeChanges(made, facts, context)
    return told(input.told, caller, answer(201, v2Json(branchJson(branch)), { changes }))
  },
})

type Page = { readonly limit: number; readonly offset: number; readonly fault?: string | undefined }

function pageOf(query: Query): Page {
  const { branchesListed: most, branchesListedBehindOffset: some } = limits
  const [limit, offset] = [query.get('limit') || undefined, query.get('offset') || undefined]
  const fault =
    faultOfQuery(query, ['limit', 'offset']) ??
    faultOfNumber('Limit', limit, most) ??
    faultOfNumber('Offset', offset, Number.MAX_SAFE_INTEGER)
  if (fault !== undefined) return { limit: 0, offset: 0, fault }
  return { limit: Number(limit ?? (offset === undefined ? most : some)), offset: Number(offset ?? 0), fault }
}

function faultOfNumber(name: string, value: unknown, most: number): string | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string' || !/^-?\d{1,15}$/.test(value)) return `${name} must be an integer`
  if (Number(value) < 0) return `${name} must be greater than or equal to 0`
  return Number(value) > most ? `${name} must be less than or equal to ${most}` : undefined
}

const listBranches = route({
  id: 'listBranches',
  method: 'GET',
  path: '/branches/:account',
  docs: {
    does: 'Branches that the caller may read',
    query: { limit: 'Most branches', offset: 'Branches to pass over' },
    gives: 'v2',
    answers: [200, 400, 422],
  },
  access: 'token',
  effect: 'read',
  input(request) {
    const account = request.params.account!
    const about: Told = { operation: 'list', path: `/branches/${account}` }
    return { wanted: wantsV2(request), told: about, account, ...pageOf(request.query) }
  },
  facts: ({ account, limit, offset }) => ({
    branches: branchesQuery(account, limit, offset),
    count: branchCountQuery(account),
  }),
  decide({ branches, count }, { wanted, told: about, fault }, { caller }) {
    if (!wanted) return v2NotWanted()
    if (fault !== undefined) return told(about, caller, problems.unprocessable(fault), fault)
    return told(about, caller, answer(200, v2Json({ branches: branches.map(branchJson), count })))
  },
})

/** A request about one branch. */
type OneInput = {
  readonly wanted: boolean
  readonly told: Told
  readonly branch: string
  readonly fault: string | undefined
}

function oneInput(request: RouteRequest, operation: V2Operation): OneInput {
  const { account, id } = request.params as { account: string; id: string }
  const branch = branchId(account, id)
  const name = identifierOf(branch)
  return {
    wanted: wantsV2(request),
    told: { operation, name, path: `/branches/${account}/${name}` },
    branch,
    fault: faultOfQuery(request.query),
  }
}

/** The stations that requests about one branch share; then `act`. */
function decideOne(
  facts: BranchAccess,
  { wanted, told: about, branch, fault }: OneInput,
  caller: Caller,
  privileges: readonly string[],
  act: () => Outcome,
): Outcome {
  if (!wanted) return v2NotWanted()
  if (fault !== undefined) return told(about, caller, problems.unprocessable(fault), fault)
  const missing = absent(facts, branch, privileges)
  return missing === undefined ? act() : notThere(about, caller, branchNotFound(missing))
}

const notThere = (about: Told, caller: Caller, words: string): Outcome =>
  told(about, caller, problems.notFound(words), words)

const showBranch = route({
  id: 'showBranch',
  method: 'GET',
  path: '/branches/:account/:id*',
  docs: { does: 'A branch', gives: 'v2', answers: [200, 400, 404, 422] },
  access: 'token',
  effect: 'read',
  input: (request) => oneInput(request, 'get'),
  facts: ({ branch }) => ({ ...accessBatch(branch), found: branchQuery(branch) }),
  decide: (facts, input, { caller }) =>
    decideOne(facts, input, caller, ['read'], () =>
      told(input.told, caller, answer(200, v2Json(branchJson(facts.found!)))),
    ),
})

type UpdateInput = OneInput & Partial<Pick<BranchBody, 'owner' | 'annotations'>>

const updateBranch = route({
  id: 'updateBranch',
  method: 'PATCH',
  path: '/branches/:account/:id*',
  docs: {
    does: 'Give a branch another owner or annotations',
    takes: 'v2',
    fields: { owner: 'kind and id', annotations: 'Texts by name' },
    gives: 'v2',
    answers: [200, 400, 404, 405, 422],
  },
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input(request): UpdateInput {
    const input = oneInput(request, 'update')
    if (!input.wanted) return input
    const { said, fault, owner, annotations } = branchBody(request, request.params.account!, false)
    return { ...input, told: { ...input.told, body: said }, fault, owner, annotations }
  },
  facts: ({ branch, owner }) => ({
    ...accessBatch(branch),
    ...recordBatch(branch),
    found: branchQuery(branch),
    owner: roleQuery(owner ?? ''),
  }),
  decide: (facts, input, { caller }) =>
    decideOne(facts, input, caller, ['read', 'update'], () => {
      const { told: about, branch, owner, annotations = [] } = input
      // Everything hangs from the root: whoever could give it away would take the account from its admin.
      if (parentOf(branch) === undefined) return notThere(about, caller, branchNotFound(branch))
      if (owner !== undefined && facts.owner === undefined)
        return notThere(about, caller, notFoundWords(owner))
      const found = facts.found!
      const after = {
        id: branch,
        owner: owner ?? found.owner,
        annotations: [...new Map([...found.annotations, ...annotations])],
      }
      const changes = amendments(facts, owner, annotations)
      return told(about, caller, answer(200, v2Json(branchJson(after)), { changes }))
    }),
})

const deleteBranch = route({
  id: 'deleteBranch',
  method: 'DELETE',
  path: '/branches/:account/:id*',
  docs: {
    does: 'Remove a branch with everything inside it',
    gives: 'v2',
    answers: [204, 400, 404, 405, 422],
  },
  access: 'token',
  effect: 'write',
  input: (request) => oneInput(request, 'delete'),
  facts: ({ branch }) => ({ ...accessBatch(branch), ...emptiedBatch(branch) }),
  decide: (facts, input, context) =>
    decideOne(facts, input, context.caller, ['update'], () => {
      const { told: about, branch } = input
      if (parentOf(branch) === undefined || facts.unchangeable)
        return notThere(about, context.caller, branchNotFound(branch))
      const changes = emptiedChanges(branch, facts, context)
      return told(about, context.caller, answer(204, undefined, { changes }))
    }),
})

export const branchRoutes: readonly AnyRoute[] = [
  createBranch,
  listBranches,
  showBranch,
  updateBranch,
  deleteBranch,
]
