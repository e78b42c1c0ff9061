// Authentication by what is not stored here: tokens of identity providers, signed requests, directories, certificates
// (http-api 8.3 to 8.9). One pipeline for all (shared/authn/pipeline.ts); a row here is a path that leads to it.
import { type AuditEvent, authnEvent } from '../../audit/event.ts'
import { type Attempt, type AuthnSettings, type RefusalKind, Refused } from '../../authn/contract.ts'
import { loginItem, type Usable, usableProviders } from '../../authn/oidc-providers.ts'
import {
  authenticate,
  authenticatorBatch,
  type Circumstances,
  type Verdict,
  webserviceOf,
} from '../../authn/pipeline.ts'
import { fromUtf8, utf8 } from '../../base/bytes.ts'
import { limits } from '../../base/limits.ts'
import { kindOf } from '../../id/resource-id.ts'
import { configuredQuery } from '../../ledger/reads/authenticator.ts'
import type { FactsOf } from '../../ledger/store.ts'
import { recordId } from '../../secret/keyring.ts'
import { basicOfHeader } from '../../token/header.ts'
import type { NodeIo } from '../node.ts'
import { answer, json, type Outcome, recorded, text } from '../outcome.ts'
import { problems } from '../problems.ts'
import { formOf, type Query, type RouteRequest, textOf, wantsBase64 } from '../request.ts'
import { type AnyRoute, type Caller, type Docs, route } from '../route.ts'
import type { ApiSettings } from '../settings.ts'

/** `listed`: authenticators that are on whatever the database says. */
export type Asked = {
  readonly attempt: Attempt
  readonly listed: readonly string[]
  readonly settings: AuthnSettings
}

type Input = Asked & { readonly base64: boolean }

function inputOf(
  authenticator: string,
  method: 'GET' | 'POST',
  request: RouteRequest,
  { authenticators, authn }: ApiSettings,
): Input {
  const { params, body, header, certificate } = request
  return {
    attempt: {
      operation: 'authenticate',
      account: params.account!,
      authenticator,
      service: params.service,
      login: params.login,
      method,
      field: (name) => textOf(fieldsOf(method, request), name),
      body,
      header,
      certificate,
    },
    listed: authenticators,
    settings: authn,
    base64: wantsBase64(header('accept-encoding')),
  }
}

/**
 * Tokens are sent as forms whatever the media type says, and never in the address of a POST, which others write down. Not
 * every body is a form: it is read as one when it is asked for.
 */
const fieldsOf = (method: 'GET' | 'POST', request: RouteRequest): Query =>
  method === 'GET' ? request.query : formOf(request, 'forms')

type Refusals = Record<RefusalKind, (refused: Refused) => Outcome>

const refusals: Refusals = {
  unauthorized: () => problems.unauthorized(),
  not_enabled: () => problems.unauthorized(),
  no_role: () => problems.unauthorized(),
  expired: () => problems.unauthorizedBecause('CONJ00016E Token expired'),
  forbidden: () => problems.forbidden(),
  bad_request: () => problems.badRequest(),
  argument: ({ message }) => problems.argument(message),
  unavailable: () => answer(503),
  accepted: () => answer(202),
}

/** The code flow of authn-oidc has its own (http-api 8.7). */
const codeRefusals: Refusals = {
  ...refusals,
  not_enabled: refusals.bad_request,
  no_role: refusals.bad_request,
}

/** A token, and what belongs to one login only: nobody in between may keep it for the next. */
const notKept = { 'Cache-Control': 'no-store' }

export const refusalOf = (refused: Refused): Outcome => refusals[refused.kind](refused)

export function eventOf(attempt: Attempt, { role, known, refused }: Verdict, caller: Caller) {
  const { operation, authenticator } = attempt
  return authnEvent(
    { user: known && role !== undefined ? role : 'not-found', clientIp: caller.clientIp },
    {
      operation,
      role: role ?? 'not-found',
      authenticator,
      service: webserviceOf(attempt),
      error: refused?.message,
    },
  )
}

export const circumstancesOf = (
  io: NodeIo,
  { clientIp }: Caller,
  { listed, settings }: Asked,
): Circumstances => ({ io, settings, listed, store: io.store, clientIp, now: io.clock.wall() })

const refusal = (refused: Refused | undefined, audit: AuditEvent, answers: Refusals = refusals): Outcome =>
  recorded(refused === undefined ? problems.unauthorized() : answers[refused.kind](refused), audit)

const prove = (
  facts: FactsOf<ReturnType<typeof authenticatorBatch>>,
  input: Input,
  io: NodeIo,
  caller: Caller,
): Promise<Verdict> => authenticate(input.attempt, facts, circumstancesOf(io, caller, input))

const door = (
  id: string,
  authenticator: string,
  method: 'GET' | 'POST',
  path: string,
  docs: Partial<Docs>,
  answers: Refusals = refusals,
) =>
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
    prove,
    decide(_, input, { caller, settings }, verdict) {
      const audit = eventOf(input.attempt, verdict, caller)
      const { role, refused } = verdict
      if (refused !== undefined || role === undefined) return refusal(refused, audit, answers)
      const usual = kindOf(role) === 'user' ? settings.userTokenTtlSeconds : settings.hostTokenTtlSeconds
      const ttlSeconds = verdict.ttlSeconds ?? usual
      const token = { kind: 'token', role, ttlSeconds, base64: input.base64 } as const
      return answer(200, token, { audit: [audit], ...(method === 'GET' ? { headers: notKept } : {}) })
    },
  })

/** With a login in the path, with and without a service id. */
const byLogin = (id: string, authenticator: string, docs: Partial<Docs> = {}): readonly AnyRoute[] => [
  door(id, authenticator, 'POST', ':service/:account/:login/authenticate', docs),
  door(`${id}WithoutService`, authenticator, 'POST', ':account/:login/authenticate', docs),
]

/** Whom a browser may be sent to, whether it could log in here or not: who asks is nobody yet. */
const oidcProviders = route({
  id: 'oidcProviders',
  method: 'GET',
  path: '/authn-oidc/:account/providers',
  docs: { does: 'OpenID providers, and what one login at each needs', gives: 'json', answers: [200] },
  access: 'open',
  effect: 'read',
  input: ({ params }: RouteRequest) => ({ account: params.account! }),
  facts: ({ account }) => ({ configured: configuredQuery(account) }),
  prove: ({ configured }, { account }, io): Promise<readonly Usable[]> =>
    usableProviders(
      account,
      configured.map(({ name }) => name),
      io,
    ),
  decide: (_, __, { random }, usable) =>
    answer(200, json(usable.map((one) => loginItem(one, random))), { headers: notKept }),
})

const jwt: Partial<Docs> = { takes: 'form', fields: { jwt: 'The token' } }
const idToken: Partial<Docs> = {
  takes: 'form',
  fields: { id_token: 'The token, unless the header Authorization has it: Bearer' },
}
const code: Partial<Docs> = {
  query: { code: 'From the provider', nonce: 'As it was given', code_verifier: 'As it was given' },
}

export const externalAuthnRoutes: readonly AnyRoute[] = [
  door('authenticateJwt', 'authn-jwt', 'POST', ':service/:account/authenticate', jwt),
  door('authenticateJwtLogin', 'authn-jwt', 'POST', ':service/:account/:login/authenticate', jwt),
  oidcProviders,
  door('authenticateOidc', 'authn-oidc', 'POST', ':service/:account/authenticate', idToken),
  door('authenticateOidcWithoutService', 'authn-oidc', 'POST', ':account/authenticate', {
    ...idToken,
    answers: [401],
  }),
  door('authenticateOidcCode', 'authn-oidc', 'GET', ':service/:account/authenticate', code, codeRefusals),
  door(
    'authenticateOidcCodeWithoutService',
    'authn-oidc',
    'GET',
    ':account/authenticate',
    { ...code, answers: [401] },
    codeRefusals,
  ),
  door('authenticateGcp', 'authn-gcp', 'POST', ':account/authenticate', jwt),
  ...byLogin('authenticateAzure', 'authn-azure', jwt),
  ...byLogin('authenticateIam', 'authn-iam', { takes: 'bytes', answers: [200, 401, 403] }),
  ...byLogin('authenticateK8s', 'authn-k8s', { answers: [200, 401, 403, 422] }),
  ...byLogin('authenticateLdap', 'authn-ldap', { takes: 'text', answers: [200, 401, 403] }),
]

/** For whoever is known elsewhere: the credential stands in HTTP Basic (http-api 8.1). */
const login = (id: string, path: string) =>
  route({
    id,
    method: 'GET',
    path,
    docs: {
      does: 'The API key, for a password of a directory or itself',
      gives: 'text',
      basic: true,
      answers: [200, 401, 403],
    },
    access: 'optional',
    effect: 'read',
    input(request, settings) {
      const input = inputOf(request.params.authn!, 'GET', request, settings)
      const basic = basicOfHeader(request.header('authorization'))
      const said = { login: basic?.login ?? 'USERNAME_MISSING', body: utf8(basic?.secret ?? '') }
      return { ...input, attempt: { ...input.attempt, ...said, operation: 'login' as const } }
    },
    facts: ({ attempt }) => authenticatorBatch(attempt),
    prove,
    decide(_, input, { caller, keyring }, verdict) {
      const { role, apiKey } = verdict
      const keyless = role === undefined || apiKey === undefined
      const refused =
        verdict.refused ?? (keyless ? new Refused(`CONJ00121E '${role}' has no API key`) : undefined)
      const audit = eventOf(input.attempt, { ...verdict, ...(refused && { refused }) }, caller)
      if (refused !== undefined || keyless) return refusal(refused, audit)
      const key = fromUtf8(keyring.open(recordId('credentials', role), apiKey)) ?? ''
      return answer(200, text(key), { audit: [audit] })
    },
  })

/** Authenticators that know no login refuse it. Looked at last: their paths begin with a name of their own. */
export const externalLoginRoutes: readonly AnyRoute[] = [
  login('loginExternal', '/:authn/:service/:account/login'),
  login('loginExternalWithoutService', '/:authn/:account/login'),
]
