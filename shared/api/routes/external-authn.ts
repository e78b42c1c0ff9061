// Authentication by what is not stored here: tokens of identity providers, signed requests, directories, certificates
// (http-api 8.3 to 8.9). One pipeline for all (shared/authn/pipeline.ts); a row here is a path that leads to it.
import { type AuthnOperation, authnEvent } from '../../audit/event.ts'
import type { Attempt, AuthnSettings, RefusalKind, Refused } from '../../authn/contract.ts'
import {
  authenticate,
  authenticatorBatch,
  type Circumstances,
  type Verdict,
  webserviceOf,
} from '../../authn/pipeline.ts'
import { limits } from '../../base/limits.ts'
import { kindOf } from '../../id/resource-id.ts'
import type { NodeIo } from '../node.ts'
import { answer, type Outcome, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import { parametersOf, type RouteRequest, wantsBase64 } from '../request.ts'
import { type AnyRoute, type Caller, type Docs, route } from '../route.ts'
import type { ApiSettings } from '../settings.ts'

type Input = {
  readonly attempt: Attempt
  readonly listed: readonly string[]
  readonly settings: AuthnSettings
  readonly base64: boolean
}

function inputOf(
  authenticator: string,
  method: 'GET' | 'POST',
  request: RouteRequest,
  { authenticators, jwtIgnoreMissingIssuer }: ApiSettings,
): Input {
  const { params, body, header, certificate } = request
  const fields = new Map<string, string>()
  // Tokens are sent as forms whatever the media type says.
  for (const [name, value] of parametersOf(request, 'forms'))
    if (typeof value === 'string') fields.set(name, value)
  return {
    attempt: {
      account: params.account!,
      authenticator,
      service: params.service,
      login: params.login,
      method,
      fields,
      body,
      header,
      certificate,
    },
    listed: authenticators,
    settings: { jwtIgnoreMissingIssuer },
    base64: wantsBase64(header('accept-encoding')),
  }
}

const refusals: Record<RefusalKind, (refused: Refused) => Outcome> = {
  unauthorized: () => problems.unauthorized(),
  expired: () => problems.unauthorizedBecause('CONJ00016E Token expired'),
  forbidden: () => problems.forbidden(),
  bad_request: () => problems.badRequest(),
  argument: ({ message }) => problems.argument(message),
  unavailable: () => answer(503),
  accepted: () => answer(202),
}

export const refusalOf = (refused: Refused): Outcome => refusals[refused.kind](refused)

export function eventOf(
  operation: AuthnOperation,
  attempt: Attempt,
  { role, known, refused }: Verdict,
  caller: Caller,
) {
  const { authenticator, service } = attempt
  return authnEvent(
    { user: known && role !== undefined ? role : 'not-found', clientIp: caller.clientIp },
    {
      operation,
      role: role ?? 'not-found',
      authenticator,
      service: service === undefined ? undefined : webserviceOf(attempt),
      error: refused?.message,
    },
  )
}

export const circumstancesOf = (
  io: NodeIo,
  { clientIp }: Caller,
  listed: readonly string[],
  settings: AuthnSettings,
): Circumstances => ({ io, settings, listed, store: io.store, clientIp, now: io.clock.wall() })

const door = (id: string, authenticator: string, method: 'GET' | 'POST', path: string, docs: Partial<Docs>) =>
  route({
    id,
    method,
    path: `/${authenticator}/${path}`,
    docs: {
      does: `An access token by ${authenticator}`,
      gives: 'json',
      answers: [200, 400, 401, 403],
      ...docs,
    },
    access: 'open',
    effect: 'read',
    ...(method === 'POST' ? { bodyLimit: limits.bodyBytes } : {}),
    input: (request, settings) => inputOf(authenticator, method, request, settings),
    facts: ({ attempt }) => authenticatorBatch(attempt),
    prove: (facts, { attempt, listed, settings }, io, caller): Promise<Verdict> =>
      authenticate(attempt, facts, circumstancesOf(io, caller, listed, settings)),
    decide(_, input, { caller, settings }, verdict) {
      const audit = eventOf('authenticate', input.attempt, verdict, caller)
      const { role, refused } = verdict
      if (refused !== undefined || role === undefined)
        return recorded(refused === undefined ? problems.unauthorized() : refusalOf(refused), audit)
      const usual = kindOf(role) === 'user' ? settings.userTokenTtlSeconds : settings.hostTokenTtlSeconds
      const ttlSeconds = verdict.ttlSeconds ?? usual
      return answer(200, { kind: 'token', role, ttlSeconds, base64: input.base64 }, { audit: [audit] })
    },
  })

/** With a login in the path, with and without a service id. */
const byLogin = (id: string, authenticator: string, docs: Partial<Docs> = {}): readonly AnyRoute[] => [
  door(id, authenticator, 'POST', ':service/:account/:login/authenticate', docs),
  door(`${id}WithoutService`, authenticator, 'POST', ':account/:login/authenticate', docs),
]

export const externalAuthnRoutes: readonly AnyRoute[] = [
  door('authenticateJwt', 'authn-jwt', 'POST', ':service/:account/authenticate', {
    takes: 'form',
    fields: { jwt: 'The token' },
  }),
  door('authenticateJwtLogin', 'authn-jwt', 'POST', ':service/:account/:login/authenticate', {
    takes: 'form',
    fields: { jwt: 'The token' },
  }),
  door('authenticateOidc', 'authn-oidc', 'POST', ':service/:account/authenticate', {
    takes: 'form',
    fields: { id_token: 'The token' },
  }),
  door('authenticateOidcCode', 'authn-oidc', 'GET', ':service/:account/authenticate', {
    query: { code: 'From the provider', nonce: 'As it was given', code_verifier: 'As it was given' },
  }),
  door('authenticateGcp', 'authn-gcp', 'POST', ':account/authenticate', {
    takes: 'form',
    fields: { jwt: 'The token' },
  }),
  ...byLogin('authenticateAzure', 'authn-azure', { takes: 'form', fields: { jwt: 'The token' } }),
  ...byLogin('authenticateIam', 'authn-iam', { takes: 'bytes' }),
  ...byLogin('authenticateK8s', 'authn-k8s', { answers: [200, 401, 403, 422] }),
  ...byLogin('authenticateLdap', 'authn-ldap', { takes: 'text' }),
]
