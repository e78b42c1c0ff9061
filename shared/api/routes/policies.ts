// Policy loads (http-api 13, policy 5).
import {
  type PolicySubject,
  policyEvent,
  policyFailedEvent,
  policyValidatedEvent,
} from '../../audit/event.ts'
import { need, visible } from '../../authz/decide.ts'
import { limits } from '../../base/limits.ts'
import { sha256Hex } from '../../base/native-crypto.ts'
import { accountOf, kindOf, makeId, notFoundWords } from '../../id/resource-id.ts'
import { type Change, put, remove } from '../../ledger/change.ts'
import { usableIssuersQuery } from '../../ledger/reads/issuer.ts'
import { type LoadMode, policyBatch } from '../../ledger/reads/policy.ts'
import { shownBatch } from '../../ledger/reads/shown.ts'
import type { Row } from '../../ledger/tables.ts'
import { checkDynamic, dynamicVariables, issuersNamed } from '../../policy/dynamic.ts'
import { PolicyError } from '../../policy/errors.ts'
import { type Loaded, type LoadRead, notRead, policyId, touchedBy } from '../../policy/load.ts'
import { type Plan, type PolicyFacts, plan, type Reported } from '../../policy/plan.ts'
import { invalidReport, recordsIn, type Shown, validReport } from '../../policy/report.ts'
import type { ResolvedRecord } from '../../policy/resolve.ts'
import { definedRows } from '../../policy/rows.ts'
import { actorOf } from '../actor.ts'
import { planTools } from '../made.ts'
import { answer, json, type Outcome, recorded, type Tried } from '../outcome.ts'
import { CONCURRENT_LOAD, problems } from '../problems.ts'
import { textOf } from '../request.ts'
import { type AnyRoute, type Context, route } from '../route.ts'

const privileges: Record<LoadMode, string> = { POST: 'create', PATCH: 'update', PUT: 'update' }

type Input = {
  readonly kind: string
  readonly account: string
  readonly policy: string
  readonly dryRun: boolean
  readonly read: LoadRead
  /** What the text says of dynamic variables; nothing where there are none. */
  readonly dynamic: readonly ResolvedRecord[]
}

const load = (mode: LoadMode) => {
  const operation = mode === 'POST' ? 'create' : 'update'
  return route({
    id: { POST: 'loadPolicy', PATCH: 'updatePolicy', PUT: 'replacePolicy' }[mode],
    method: mode,
    path: '/policies/:account/:kind/:id*',
    docs: {
      does: { POST: 'Add to a policy', PATCH: 'Change a policy', PUT: 'Replace a policy' }[mode],
      query: { dryRun: 'true: only say what it would do' },
      takes: 'yaml',
      gives: 'json',
      answers: [200, 201, 403, 404, 405, 409, 422],
    },
    access: 'token',
    effect: 'write',
    bodyLimit: limits.policyBytes,
    elsewhereBytes: limits.policyInlineBytes,
    input({ params, query, body }, settings, readPolicy): Input {
      const { kind, account, id } = params as { kind: string; account: string; id: string }
      const dryRun = textOf(query, 'dryRun')?.toLowerCase() === 'true'
      const read = readPolicy(body, account, id, mode)
      const dynamic =
        settings.dynamicSecretsEnabled && 'resolved' in read ? dynamicVariables(read.resolved) : []
      return { kind, account, policy: policyId(account, id), dryRun, read, dynamic }
    },
    facts: ({ policy, read, dynamic }) => ({
      ...policyBatch(touchedBy(read, policy, mode)),
      usableIssuers: usableIssuersQuery(issuersNamed(dynamic)),
    }),
    rehearses: ({ dryRun }) => dryRun,
    lane: ({ account }) => `policy ${account}`,
    conflict: (caller) => policyFailedEvent(actorOf(caller), { operation, error: CONCURRENT_LOAD }),
    decide(facts, input, context) {
      if (input.kind !== 'policy') return problems.noRoute()
      const refused = (outcome: Outcome, error: string): Outcome => {
        return recorded(outcome, policyFailedEvent(actorOf(context.caller), { operation, error }))
      }
      if (!visible(facts.access))
        return refused(problems.recordNotFound(input.policy), notFoundWords(input.policy))
      if (need(facts.access, privileges[mode]) !== 'allowed' || facts.unchangeable) {
        return refused(problems.forbidden(), 'Forbidden')
      }
      const { read } = input
      // Where no one commits: the same checks of the caller, and then 405.
      if (read === notRead) return answer(201)
      if ('blank' in read)
        return refused(problems.validation('policy_text', 'is not present'), 'policy_text is not present')
      if ('deletes' in read) {
        const message = 'may not contain deletion statements'
        return refused(problems.validation('policy_text', message), `policy_text ${message}`)
      }
      try {
        if ('error' in read) throw read.error
        const load = loaded(mode, input, read, facts, context)
        return input.dryRun ? tried(load, input.policy, context) : load
      } catch (error) {
        if (error instanceof PolicyError && input.dryRun)
          return refused(answer(422, json(invalidReport(error, input.policy))), error.message)
        if (error instanceof PolicyError)
          return refused(problems.policyInvalid(error.message, error.mark), error.message)
        throw error
      }
    },
  })
}

type LoadFacts = PolicyFacts & { readonly usableIssuers: ReadonlyMap<string, number> }

function loaded(
  mode: LoadMode,
  { policy, dynamic }: Input,
  read: Loaded,
  facts: LoadFacts,
  context: Context,
): Outcome {
  const { caller, now, settings } = context
  if (!settings.authnApiKeyDefault) refuseHostsWithoutKeys(read)
  if (settings.usersInRootPolicyOnly) refuseUsersBelowRoot(read)
  checkDynamic(dynamic, facts.usableIssuers)
  const defined = definedRows(read.resolved, policy, now)
  const planned = plan(mode, policy, read.resolved, defined, facts, planTools(context))
  const version = (facts.versions.at(-1) ?? 0) + 1
  const kept = planned.policyRemains ? versionChanges(policy, version, read, facts, context) : []
  const changes = [...planned.changes, ...kept]
  const actor = actorOf(caller)
  const events = planned.reported.flatMap((reported) => {
    const subject = subjectOf(reported)
    return subject
      ? [policyEvent(actor, { operation: reported.operation, subject, policy: { id: policy, version } })]
      : []
  })
  const body = {
    created_roles: createdRoles(planned),
    version,
    ...(read.warnings.length > 0 ? { warnings: read.warnings } : {}),
  }
  return answer(201, json(body), { changes, audit: events })
}

/** What the load would change, on all records that its changes say something about. */
function tried({ changes }: Outcome, policy: string, { caller }: Context): Outcome {
  const watch = shownBatch(recordsIn(changes))
  const report = (before: Shown, after: Shown): Outcome =>
    answer(200, json(validReport(before, after)), { audit: [policyValidatedEvent(actorOf(caller), policy)] })
  return { ...answer(200), tried: { changes, watch, report: report as Tried['report'] } }
}

function createdRoles({ created }: Plan): Record<string, { id: string; api_key: string }> {
  return Object.fromEntries([...created].map(([id, key]) => [id, { id, api_key: key }]))
}

function versionChanges(
  policy: string,
  version: number,
  read: Loaded,
  facts: PolicyFacts,
  { caller, now, settings }: Context,
): Change[] {
  const tooMany = Math.max(0, facts.versions.length + 1 - settings.policyVersions)
  const row = {
    policy,
    version,
    role: caller.role ?? '',
    text: read.text,
    sha256: sha256Hex(read.text),
    client_ip: caller.clientIp,
    created_at: now,
    finished_at: now,
  }
  return [
    put('policy_versions', row),
    ...facts.versions.slice(0, tooMany).map((old) => remove('policy_versions', { policy, version: old })),
  ]
}

const NO_API_KEYS =
  'API key authentication for hosts is disabled by default and will be removed in a future release. ' +
  "Set the annotation 'authn/api-key: true' on a host that needs one: "

function refuseHostsWithoutKeys({ resolved }: Loaded): void {
  for (const { id, annotations } of resolved.records) {
    if (id.split(':')[1] !== 'host') continue
    const value = annotations.find(([name]) => name === 'authn/api-key')?.[1]
    if (value === undefined || value === 'false') throw new PolicyError(NO_API_KEYS + id)
  }
}

function refuseUsersBelowRoot({ resolved }: Loaded): void {
  const isBelow = ({ id, owner }: ResolvedRecord): boolean =>
    kindOf(id) === 'user' && owner !== makeId(accountOf(id), 'user', 'admin')
  if (resolved.records.some(isBelow)) throw new PolicyError('User creation is disabled.')
}

function subjectOf({ table, row }: Reported): PolicySubject | undefined {
  const text = (column: string): string => String((row as Row)[column])
  switch (table) {
    case 'roles':
      return { kind: 'role', role: text('id') }
    case 'resources':
      return { kind: 'resource', resource: text('id') }
    case 'annotations':
      return { kind: 'annotation', annotation: text('name'), resource: text('resource') }
    case 'permissions':
      return {
        kind: 'permission',
        resource: text('resource'),
        role: text('role'),
        privilege: text('privilege'),
      }
    case 'memberships':
      return row.ownership === 1
        ? { kind: 'ownership', role: text('role'), owner: text('member') }
        : { kind: 'membership', role: text('role'), member: text('member') }
    default:
      return undefined
  }
}

export const policyRoutes: readonly AnyRoute[] = [load('POST'), load('PATCH'), load('PUT')]
