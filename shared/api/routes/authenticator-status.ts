// Whether an authenticator is set up, and switching it on and off (http-api 8.10, 8.11).
import { type AuthnOperation, authnEvent } from '../../audit/event.ts'
import { authenticatorOf, branchOf, fullName, isOn, isStatus, statusOf } from '../../authn/catalogue.ts'
import type { AuthnSettings } from '../../authn/contract.ts'
import { openedValues } from '../../authn/settings.ts'
import type { Fault } from '../../authn/status-checks.ts'
import { allowed } from '../../authz/decide.ts'
import { limits } from '../../base/limits.ts'
import { loginOfRole } from '../../id/login.ts'
import { makeId } from '../../id/resource-id.ts'
import { put } from '../../ledger/change.ts'
import { type Access, accessQuery } from '../../ledger/reads/access.ts'
import { type StoredVariable, settingsQuery, switchQuery } from '../../ledger/reads/authenticator.ts'
import { actorOf } from '../actor.ts'
import type { NodeIo } from '../node.ts'
import { answer, json, type Outcome, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import { parametersOf, type RouteRequest, textOf } from '../request.ts'
import { type AnyRoute, type Caller, route } from '../route.ts'

type Input = {
  /** `authn-jwt`. */
  readonly authenticator: string
  readonly identifier: string
  readonly webservice: string
  readonly statusService: string
  /** Id of a variable up to its name. */
  readonly prefix: string
}

function inputOf({ params }: RouteRequest): Input {
  const account = params.account!
  const [authn, service] = namesOf(params.authn!, params.service)
  const identifier = branchOf(authn, service)
  return {
    authenticator: authn,
    identifier,
    webservice: makeId(account, 'webservice', identifier),
    statusService: makeId(account, 'webservice', statusOf(identifier)),
    prefix: makeId(account, 'variable', `${identifier}/`),
  }
}

/** Clients also name an authenticator and its service in one segment: `authn-jwt%2Fci`. */
function namesOf(authn: string, service: string | undefined): [string, string | undefined] {
  const slash = authn.indexOf('/')
  if (service !== undefined || slash < 0) return [authn, service]
  return [authn.slice(0, slash), authn.slice(slash + 1)]
}

function eventOf(operation: AuthnOperation, input: Input, caller: Caller, error: string | undefined) {
  const { authenticator, webservice } = input
  const role = caller.role!
  return authnEvent(actorOf(caller), { operation, role, authenticator, service: webservice, error })
}

const notPrivileged = (caller: Caller, privilege: string, resource: string): string =>
  `CONJ00006E '${loginOfRole(caller.role!)}' does not have '${privilege}' privilege on ${resource}`

type StatusInput = Input & { readonly listed: readonly string[]; readonly settings: AuthnSettings }

const statusFacts = ({ authenticator, webservice, statusService, prefix }: Input) => ({
  access: accessQuery(statusService),
  held: switchQuery(webservice),
  variables: settingsQuery(prefix, authenticatorOf(authenticator)?.status?.variables ?? []),
})

type StatusFacts = {
  readonly access: Access
  readonly held: { readonly switchedOn: boolean } | undefined
  readonly variables: ReadonlyMap<string, StoredVariable>
}

type Refusal = { readonly status: 403 | 404 | 500 | 501; readonly fault: Fault }

/** The first thing that is wrong, in the order of the reference; undefined when all is well, its provider included. */
async function refusal(
  facts: StatusFacts,
  input: StatusInput,
  io: Pick<NodeIo, 'keyring' | 'keySets' | 'cluster'>,
  caller: Caller,
): Promise<Refusal | undefined> {
  const { authenticator, identifier, statusService } = input
  const no = (status: Refusal['status'], error: string, message: string): Refusal => ({
    status,
    fault: { error: `Authentication::${error}`, message },
  })
  const missing = (name: string): Refusal =>
    no(404, 'Security::WebserviceNotFound', `CONJ00005E Webservice '${name}' not found`)
  const name = fullName(identifier)
  const row = authenticatorOf(authenticator)
  if (row === undefined)
    return no(
      404,
      'AuthenticatorNotSupported',
      `CONJ00001E '${authenticator}' authenticators are not supported`,
    )
  if (row.status === undefined)
    return no(
      501,
      'StatusNotSupported',
      `CONJ00056E Status check is not supported for '${authenticator}' authenticators`,
    )
  if (!facts.access.exists) return missing(statusOf(name))
  if (!allowed(facts.access, 'read'))
    return no(403, 'Security::RoleNotAuthorizedOnResource', notPrivileged(caller, 'read', statusService))
  if (facts.held === undefined) return missing(name)
  if (!isOn(name, facts.held.switchedOn, input.listed))
    return no(500, 'Security::AuthenticatorNotWhitelisted', `CONJ00004E '${name}' is not enabled`)
  const stored = { prefix: input.prefix, values: openedValues(facts.variables, io.keyring) }
  const fault =
    row.status.check(stored) ?? (await row.status.ask?.(stored, { ...io, settings: input.settings }))
  return fault && { status: 500, fault }
}

const status = (id: string, path: string) =>
  route({
    id,
    method: 'GET',
    path,
    docs: {
      does: 'Whether an authenticator is set up',
      gives: 'json',
      answers: [200, 401, 403, 404, 500, 501],
    },
    access: 'optional',
    effect: 'read',
    input: (request, { authenticators, authn }): StatusInput => ({
      ...inputOf(request),
      listed: authenticators,
      settings: authn,
    }),
    facts: statusFacts,
    // Its provider is asked only for who may know.
    prove: async (facts, input, io, caller) =>
      caller.role === undefined ? undefined : refusal(facts, input, io, caller),
    decide(_, input, { caller }, refused) {
      if (caller.role === undefined) return problems.unauthorized()
      const event = eventOf('validate-status', input, caller, refused?.fault.message)
      if (refused === undefined) return answer(200, json({ status: 'ok' }), { audit: [event] })
      const { error, message } = refused.fault
      const body = json({ status: 'error', error: `#<Errors::${error}: ${message}>` })
      return answer(refused.status, body, { audit: [event] })
    },
  })

const enable = (id: string, path: string) =>
  route({
    id,
    method: 'PATCH',
    path,
    docs: {
      does: 'Switch an authenticator on or off',
      takes: 'form',
      fields: { enabled: 'true, or anything else' },
      answers: [204, 401, 403, 405],
    },
    access: 'optional',
    effect: 'write',
    bodyLimit: limits.bodyBytes,
    // Clients send the form as text/plain, too: were it ignored, switching on would switch off.
    input: (request) => ({
      ...inputOf(request),
      enabled: textOf(parametersOf(request, 'forms'), 'enabled') === 'true',
    }),
    facts: ({ webservice }) => ({ access: accessQuery(webservice), held: switchQuery(webservice) }),
    decide({ access, held }, input, { caller }) {
      if (caller.role === undefined) return problems.unauthorized()
      const { authenticator, identifier, webservice, enabled } = input
      const event = (error?: string) => eventOf('update-authenticator-configuration', input, caller, error)
      const refused = (outcome: Outcome, error: string): Outcome => recorded(outcome, event(error))
      if (authenticatorOf(authenticator) === undefined) {
        const words = `CONJ00001E '${authenticator}' authenticators are not supported`
        return refused(problems.unauthorized(), words)
      }
      if (held === undefined || isStatus(identifier)) {
        const words = `CONJ00005E Webservice '${fullName(identifier)}' not found`
        return refused(problems.unauthorized(), words)
      }
      if (!allowed(access, 'update')) {
        return refused(problems.forbidden(), notPrivileged(caller, 'update', webservice))
      }
      const changes =
        held.switchedOn === enabled ? [] : [put('authenticators', { webservice, enabled: enabled ? 1 : 0 })]
      return answer(204, undefined, { changes, audit: [event()] })
    },
  })

export const authenticatorStatusRoutes: readonly AnyRoute[] = [
  status('authenticatorStatus', '/:authn/:account/status'),
  status('serviceStatus', '/:authn/:service/:account/status'),
  enable('enableAuthenticator', '/:authn/:account'),
  enable('enableService', '/:authn/:service/:account'),
]
