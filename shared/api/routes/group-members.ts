// Members of groups, as V2 has them: rights are those on the branch that the group stands in (http-api 15).
import { v2Event } from '../../audit/event.ts'
import { need } from '../../authz/decide.ts'
import { isStorable } from '../../base/bytes.ts'
import { limits } from '../../base/limits.ts'
import { makeId, notFoundWords } from '../../id/resource-id.ts'
import { put, remove } from '../../ledger/change.ts'
import { accessQuery } from '../../ledger/reads/access.ts'
import { existingQuery } from '../../ledger/reads/role.ts'
import { actorOf } from '../actor.ts'
import { answer, type Outcome, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import { type AnyRoute, type Context, route } from '../route.ts'
import { branchNotFound, v2Json, v2NotWanted, v2Object, wantsV2, withoutSlash } from '../v2.ts'

type Input = {
  readonly wanted: boolean
  readonly path: string
  readonly branch: string
  readonly group: string
  /** As the caller named them. */
  readonly kind: unknown
  readonly memberId: unknown
  readonly member: string
}

const KINDS = ['user', 'host', 'group']

function inputOf(wanted: boolean, account: string, id: string, kind: unknown, memberId: unknown): Input {
  const slash = id.lastIndexOf('/')
  // What no store can hold is nobody's id.
  const named = typeof kind === 'string' && typeof memberId === 'string' && isStorable(kind + memberId)
  return {
    wanted,
    path: `/groups/${account}/${id}/members`,
    branch: makeId(account, 'policy', slash < 0 ? 'root' : id.slice(0, slash)),
    group: makeId(account, 'group', id),
    kind,
    memberId,
    member: named ? makeId(account, kind, withoutSlash(memberId)) : '',
  }
}

const facts = ({ branch, group, member }: Input) => ({
  access: accessQuery(branch),
  existing: existingQuery(group, member),
})

type Facts = {
  readonly [N in keyof ReturnType<typeof facts>]: ReturnType<ReturnType<typeof facts>[N]['read']>
}

/** As the caller said it. An object of JSON has no text of its own. */
const said = (value: unknown): string => (typeof value === 'object' ? JSON.stringify(value) : String(value))

/** What is wrong with the names, before anything is looked up. */
function faultOf({ kind, memberId, member }: Input): string | undefined {
  const missing = [kind === undefined ? 'kind' : '', memberId === undefined ? 'id' : ''].filter(
    (name) => name,
  )
  if (missing.length > 0) return `CONJ00190W Missing required parameter: ${missing.join(', ')}`
  if (typeof kind !== 'string' || !KINDS.includes(kind))
    return `Kind '${said(kind)}' is not a valid member kind`
  if (typeof memberId !== 'string' || withoutSlash(memberId) === '')
    return `CONJ00192W The 'id' parameter must be of 'type=string'`
  return member === '' ? 'The id holds a character that no name may have' : undefined
}

/** `error`: why nothing was changed. */
type Done = { readonly outcome: Outcome; readonly error?: string }

const no = (problem: (message: string) => Outcome, error: string): Done => ({
  outcome: problem(error),
  error,
})

function decide(
  { access, existing }: Facts,
  input: Input,
  { caller }: Context,
  privilege: 'create' | 'update',
  act: () => Done,
): Outcome {
  if (!input.wanted) return v2NotWanted()
  const member = { kind: said(input.kind), id: said(input.memberId) }
  const event = (error?: string) =>
    v2Event(actorOf(caller), {
      type: 'membership',
      operation: privilege === 'create' ? 'create' : 'remove',
      name: `of ${member.kind} ${member.id}`,
      path: input.path,
      body: member,
      error,
    })
  const refused = (outcome: Outcome, error: string): Outcome => recorded(outcome, event(error))
  const fault = faultOf(input)
  if (fault !== undefined) return refused(problems.unprocessable(fault), fault)
  if (need(access, privilege) !== 'allowed') {
    const words = branchNotFound(input.branch)
    return refused(problems.notFound(words), words)
  }
  if (!existing.group) {
    const words = notFoundWords(input.group)
    return refused(problems.notFound(words), words)
  }
  if (!existing.member) {
    const words = notFoundWords(input.member)
    return refused(problems.unprocessable(words), words)
  }
  const { outcome, error } = act()
  return recorded(outcome, event(error))
}

const named = ({ memberId, kind }: Input): string => `'${withoutSlash(String(memberId))}' (kind='${kind}')`
const groupPath = ({ group }: Input): string => `/${group.split(':').slice(2).join(':')}`

const addMember = route({
  id: 'addGroupMember',
  method: 'POST',
  path: '/groups/:account/:id*/members',
  docs: {
    does: 'Add a member to a group',
    takes: 'v2',
    fields: { kind: 'user, host or group', id: 'Its id' },
    gives: 'v2',
    answers: [201, 400, 404, 405, 409, 422],
  },
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input(request): Input {
    const { account, id } = request.params as { account: string; id: string }
    const wanted = wantsV2(request)
    const { kind, id: member } = wanted ? v2Object(request) : {}
    return inputOf(wanted, account, withoutSlash(id), kind, member)
  },
  facts,
  decide: (given, input, context) =>
    decide(given, input, context, 'create', () => {
      const { group, member } = input
      if (group === member)
        return no(
          problems.unprocessable,
          `CONJ00191W Group '${groupPath(input)}' cannot be a member of itself`,
        )
      if (given.existing.held)
        return no(
          problems.conflict,
          `CONJ00180W ${named(input)} is already a member of '${groupPath(input)}'`,
        )
      const row = { role: group, member, ownership: 0, admin_option: 0, policy: null }
      const body = v2Json({ kind: String(input.kind), id: withoutSlash(String(input.memberId)) })
      return { outcome: answer(201, body, { changes: [put('memberships', row)] }) }
    }),
})

const removeMember = route({
  id: 'removeGroupMember',
  method: 'DELETE',
  path: '/groups/:account/:id*/members/:kind/:member*',
  docs: { does: 'Remove a member from a group', gives: 'v2', answers: [204, 400, 404, 405, 422] },
  access: 'token',
  effect: 'write',
  input(request): Input {
    const { account, id, kind, member } = request.params as Record<
      'account' | 'id' | 'kind' | 'member',
      string
    >
    return inputOf(wantsV2(request), account, withoutSlash(id), kind, member)
  },
  facts,
  decide: (given, input, context) =>
    decide(given, input, context, 'update', () =>
      given.existing.held
        ? {
            outcome: answer(204, undefined, {
              changes: [remove('memberships', { role: input.group, member: input.member, ownership: 0 })],
            }),
          }
        : no(problems.unprocessable, `CONJ00181W ${named(input)} isn't a member of '${groupPath(input)}'`),
    ),
})

export const groupMemberRoutes: readonly AnyRoute[] = [addMember, removeMember]
