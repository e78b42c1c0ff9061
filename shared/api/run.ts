// The whole life of a request: identify → facts → (prove) → decide → record → finish → respond.
import { formatEvent } from '../audit/rfc5424.ts'
import { type Code, DomainError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Wall } from '../base/time.ts'
import {
  type Batch,
  type Decision,
  type ReadRequest,
  readFacts,
  type Snapshot,
  type Statement,
  statementsOf,
} from '../ledger/store.ts'
import { type Conditions, conditionsOf, unmet } from './conditions.ts'
import { clientCertificate, identify, isOutcome } from './identify.ts'
import type { Matcher } from './match.ts'
import type { ApiNode, Performed } from './node.ts'
import { answer, type Outcome, recorded } from './outcome.ts'
import { problems } from './problems.ts'
import { type Answer, parseQuery, type RawRequest } from './request.ts'
import { finish, respond, type Stamps } from './respond.ts'
import type { Access, AnyRoute, Caller, Context } from './route.ts'

const noBody = new Uint8Array()

/** Never rejects: what goes wrong becomes an answer. */
export async function run(
  match: Matcher,
  request: RawRequest,
  node: ApiNode,
  requestId: string,
): Promise<Answer> {
  const accept = request.header('accept')
  try {
    const now = node.clock.wall()
    const { outcome, stamps } = await decided(match, request, node, requestId, now)
    const finished = finish(outcome, node.tokens, now)
    return respond(finished instanceof Promise ? await finished : finished, stamps, accept)
  } catch (error) {
    return respond(outcomeOf(error, node, requestId), { requestId }, accept)
  }
}

type Decided = { readonly outcome: Outcome; readonly stamps: Stamps }

async function decided(
  matcher: Matcher,
  request: RawRequest,
  node: ApiNode,
  requestId: string,
  now: Wall,
): Promise<Decided> {
  const query = parseQuery(request.query)
  const match = matcher(request.method, request.path, query)
  const access = match?.route.access ?? accessOfUnknown(request.path)
  const identified = identify(access, request, node, requestId, now)
  const caller = identified instanceof Promise ? await identified : identified
  if (isOutcome(caller)) return { outcome: caller, stamps: { requestId } }
  if (match === undefined || match.route.offered?.(node.settings) === false)
    return { outcome: problems.noRoute(), stamps: { requestId } }
  const { route, params } = match
  const body = route.bodyLimit === undefined ? noBody : await request.body(route.bodyLimit)
  if (node.elsewhere !== undefined && body.length > (route.elsewhereBytes ?? Number.POSITIVE_INFINITY))
    return await answered(node.elsewhere({ route: route.id, params, query, body, caller, now }), caller, node)
  const input: unknown = route.input(
    { params, query, header: request.header, body, certificate: () => clientCertificate(request, node) },
    node.settings,
    node.readPolicy,
  )
  const asked: Asked<ApiNode> = { route, input, caller, now, node }
  // Awaited here: a promise that is returned takes three turns of the microtask queue to settle.
  if (route.effect === 'read' || node.ledger === undefined) return await look(asked, conditionsOf(request))
  const proof = route.prove === undefined ? undefined : await proved(asked)
  return await answered(perform(asked, proof), caller, node)
}

type Asked<Node> = {
  readonly route: AnyRoute
  readonly input: unknown
  readonly caller: Caller
  readonly now: Wall
  readonly node: Node
}

/** What a decision and its commit need of a node. */
export type PerformingNode = Pick<ApiNode, 'ledger' | 'keyring' | 'random' | 'settings'>

/** Reads one snapshot and decides on it. A write that would have succeeded is 405: there is no one to commit it. */
async function look(asked: Asked<ApiNode>, conditions: Conditions): Promise<Decided> {
  const { route, input, caller, now, node } = asked
  const batch: Batch = route.facts(input, caller, now)
  const statements = route.effect === 'write' ? statementsOf(batch).map(uncommitted) : statementsOf(batch)
  let stamps: Stamps = { requestId: caller.requestId }
  let rows: Snapshot['rows'] = []
  // Health and the like read no rows, and must answer when the store cannot.
  if (statements.length > 0 || caller.role !== undefined) {
    const read = fresh(asked, { statements, caller: caller.role }, conditions)
    // An await that waits for nothing costs a turn of the microtask queue, and a secret read is made of few things.
    const snapshot = read instanceof Promise ? await read : read
    stamps = { ...stamps, position: snapshot.position, ageMs: snapshot.ageMs }
    const stale = unmet(conditions, snapshot)
    if (stale !== undefined) return { outcome: problems.notFreshEnough(stale), stamps }
    if (caller.role !== undefined && !snapshot.callerKnown) return { outcome: problems.forbidden(), stamps }
    rows = snapshot.rows
  }
  const facts = readFacts(batch, rows)
  const proving = route.prove?.(facts, input, node.io, caller)
  const proof = proving instanceof Promise ? await proving : proving
  const outcome = route.decide(facts, input, contextOf(asked), proof)
  if (route.effect === 'write' && outcome.status < 400) return { outcome: readOnly(node), stamps }
  if (outcome.audit.length > 0) await node.audit.append(linesOf(outcome, asked))
  return { outcome, stamps }
}

const uncommitted = (statement: Statement): Statement => (statement.doomed ? noRows : statement)
const noRows: Statement = { sql: 'SELECT 1 AS absent WHERE 1 = 0', params: [] }

function fresh(
  { node }: Asked<ApiNode>,
  request: ReadRequest,
  conditions: Conditions,
): Snapshot | Promise<Snapshot> {
  return conditions.wait ? awaited(node, request, conditions) : node.store.read(request)
}

async function awaited(node: ApiNode, request: ReadRequest, conditions: Conditions): Promise<Snapshot> {
  let snapshot = await node.store.read(request)
  const giveUpAt = node.clock.monotonic() + limits.positionWaitMs
  while (unmet(conditions, snapshot) !== undefined) {
    const left = giveUpAt - node.clock.monotonic()
    if (left <= 0) break
    await node.nextCommit(left)
    snapshot = await node.store.read(request)
  }
  return snapshot
}

async function proved({ route, input, caller, now, node }: Asked<ApiNode>): Promise<unknown> {
  const batch: Batch = route.facts(input, caller, now)
  const snapshot = await node.store.read({ statements: statementsOf(batch), caller: caller.role })
  return route.prove!(readFacts(batch, snapshot.rows), input, node.io, caller)
}

async function answered(
  performed: Promise<Performed>,
  { requestId }: Caller,
  node: ApiNode,
): Promise<Decided> {
  const { outcome, position, changed, unrecorded } = await performed
  if (unrecorded.length > 0) await node.audit.append(unrecorded)
  const receipt = changed && position !== undefined ? await node.receipt?.(position, requestId) : undefined
  return { outcome, stamps: { requestId, position, receipt } }
}

/** A write, or the rehearsal of one: everything between its input and its answer. */
export async function perform(asked: Asked<PerformingNode>, proof?: unknown): Promise<Performed> {
  const { route, input, caller } = asked
  try {
    return await (route.rehearses?.(input) ? rehearse(asked) : commit(asked, proof))
  } catch (error) {
    if (!(error instanceof DomainError && error.code === 'policy_conflict') || !route.conflict) throw error
    const outcome = recorded(outcomes.policy_conflict(error), route.conflict(caller))
    return { outcome, position: undefined, changed: false, unrecorded: linesOf(outcome, asked) }
  }
}

type RouteDecision = Decision & { readonly outcome: Outcome }

/** Runs facts and decision inside the writer's transaction; the audit records are stored with the commit. */
async function commit(asked: Asked<PerformingNode>, proof: unknown): Promise<Performed> {
  const { route, input, caller, now, node } = asked
  const batch: Batch = route.facts(input, caller, now)
  const decide = (snapshot: Snapshot): RouteDecision => {
    const outcome =
      caller.role !== undefined && !snapshot.callerKnown
        ? problems.forbidden()
        : route.decide(readFacts(batch, snapshot.rows), input, contextOf(asked), proof)
    return { outcome, changes: outcome.changes, records: linesOf(outcome, asked) }
  }
  const lane = route.lane?.(input)
  const { decision, position, changed } = await node.ledger!.submit<RouteDecision>({
    statements: statementsOf(batch),
    caller: caller.role,
    decide,
    ...(lane === undefined ? {} : { lane }),
  })
  return { outcome: decision.outcome, position, changed, unrecorded: [] }
}

/** Decides in a transaction that is rolled back, and answers with what it would have done. */
async function rehearse(asked: Asked<PerformingNode>): Promise<Performed> {
  const { route, input, caller, now, node } = asked
  const batch: Batch = route.facts(input, caller, now)
  const { decision, position, before, after } = await node.ledger!.rehearse({
    statements: statementsOf(batch),
    caller: caller.role,
    decide(snapshot) {
      const outcome =
        caller.role !== undefined && !snapshot.callerKnown
          ? problems.forbidden()
          : route.decide(readFacts(batch, snapshot.rows), input, contextOf(asked), undefined)
      const { changes = [], watch = {} } = outcome.tried ?? {}
      return { outcome, changes, watch: statementsOf(watch) }
    },
  })
  const { tried } = decision.outcome
  const outcome =
    tried?.report(readFacts(tried.watch, before), readFacts(tried.watch, after)) ?? decision.outcome
  return { outcome, position, changed: false, unrecorded: linesOf(outcome, asked) }
}

function contextOf({ caller, now, node }: Asked<PerformingNode>): Context {
  return { caller, now, random: node.random, keyring: node.keyring, settings: node.settings }
}

function linesOf(outcome: Outcome, { now, caller }: Asked<PerformingNode>): string[] {
  return outcome.audit.map((event) => formatEvent(event, { timestamp: now, procid: caller.requestId }))
}

function readOnly(node: ApiNode): Outcome {
  const leader = node.leaderUrl()
  const outcome = problems.readOnly()
  return leader === undefined ? outcome : { ...outcome, headers: { 'X-Leader-Url': leader } }
}

/** Where a token is not looked at, and where only if there is one; all other paths want one, known or not (http-api 3). */
const OPEN =
  /^\/(authenticators|host_factories\/hosts|assets\/.*|authn(-[^/]+)?\/.*\/authenticate|authn-oidc\/.*\/providers)?$/
const OPTIONAL = /^\/(authn(-[^/]+)?|public_keys)\//

function accessOfUnknown(path: string): Access {
  if (OPEN.test(path)) return 'open'
  return OPTIONAL.test(path) ? 'optional' : 'token'
}

const outcomes: Record<Code, (error: DomainError) => Outcome> = {
  bad_request: (e) => problems.badRequest(e.message === '' ? undefined : e.message),
  unauthorized: () => problems.unauthorized(),
  forbidden: () => problems.forbidden(),
  not_found: (e) => problems.notFound(e.message),
  method_not_allowed: (e) => problems.notAllowed(e.message),
  not_acceptable: (e) => problems.notAcceptable(e.message),
  conflict: (e) => problems.unprocessable(e.message),
  policy_conflict: () => problems.policyConflict(Math.ceil(limits.policyLoadWaitMs / 1000)),
  too_large: () => problems.tooLarge(),
  argument_error: (e) => problems.argument(e.message),
  parameter_missing: (e) => problems.parameterMissing(e.target ?? ''),
  validation_failed: (e) => problems.validation(e.target ?? '', e.message),
  unprocessable_entity: (e) => problems.unprocessable(e.message),
  policy_invalid: (e) => problems.policyInvalid(e.message),
  data_key_invalid: (e) => problems.unavailable('data_key_invalid', e.message),
  unavailable: (e) => problems.unavailable('unavailable', e.message),
  audit_unavailable: (e) => problems.unavailable('audit_unavailable', e.message),
  stale_epoch: () => problems.unavailable('stale_epoch', 'this node is no longer the Leader'),
  settings_invalid: (e) => problems.unavailable('settings_invalid', e.message),
}

function outcomeOf(error: unknown, node: ApiNode, requestId: string): Outcome {
  const known = error instanceof DomainError
  // What is refused because something of ours is broken must be seen by the operator as well.
  if (!known || outcomes[error.code](error).status >= 500) node.onFault(error, requestId)
  return known ? outcomes[error.code](error) : answer(500)
}
