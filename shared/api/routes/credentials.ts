// Passwords and API keys: change and rotation (http-api 9).
import { apiKeyEvent, passwordEvent } from '../../audit/event.ts'
import { secretMatches } from '../../authn/api-key.ts'
import { allowed, visible } from '../../authz/decide.ts'
import { fromUtf8, toHex, utf8 } from '../../base/bytes.ts'
import { DomainError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { randomBytes } from '../../base/native-crypto.ts'
import { secondsInstant } from '../../base/time.ts'
import { isKind, kinds } from '../../id/kinds.ts'
import { roleOfLogin } from '../../id/login.ts'
import { expandId, kindOf, parseId } from '../../id/resource-id.ts'
import { type Change, put } from '../../ledger/change.ts'
import { type Access, accessQuery } from '../../ledger/reads/access.ts'
import { type Credentials, credentialsQuery, type RoleCredentials } from '../../ledger/reads/caller.ts'
import type { RowOf } from '../../ledger/tables.ts'
import { type Keyring, recordId } from '../../secret/keyring.ts'
import { hashPassword, passwordFault } from '../../secret/password.ts'
import { drawApiKey } from '../../token/api-key.ts'
import { type Basic, basicOfHeader } from '../../token/header.ts'
import { answer, json, type Outcome, recorded, text } from '../outcome.ts'
import { problems } from '../problems.ts'
import { type RouteRequest, textOf } from '../request.ts'
import { type AnyRoute, type Caller, route } from '../route.ts'
import { refusedBasic } from './authn.ts'

const WEAK = 'Credential strength is insufficient'

/** What stood in the row that a secret was checked against: a decision inside a transaction refuses another. */
const fingerprint = (held: Credentials | undefined): string =>
  `${held?.password ?? ''} ${held?.apiKey === undefined ? '' : toHex(held.apiKey)}`

/** The row with some cells replaced. */
function changed(role: string, held: Credentials | undefined, cells: Partial<RowOf<'credentials'>>): Change {
  return put('credentials', {
    role,
    api_key: held?.apiKey ?? null,
    password: held?.password ?? null,
    restricted_to: JSON.stringify(held?.restrictedTo ?? []),
    expires_at: held?.expiresAt ?? null,
    rotated_at: held?.rotatedAt ?? null,
    ...cells,
  })
}

/** Whose key or password is meant, and who says so. */
type KeyInput = {
  readonly account: string
  /** The role of Basic credentials. */
  readonly basicRole: string | undefined
  readonly basic: Basic | undefined
  /** As the parameter names it, for messages. */
  readonly asked: string | undefined
  readonly target: string | undefined
}

function keyInput({ params, query, header }: RouteRequest): KeyInput {
  const account = params.account!
  const basic = basicOfHeader(header('authorization'))
  const asked = textOf(query, 'role') || undefined
  const target = asked === undefined ? undefined : expandId(account, asked)
  if (asked !== undefined && (target === undefined || parseId(target) === undefined)) {
    throw new DomainError('argument_error', `Invalid role: ${asked}`)
  }
  return { account, basicRole: basic && roleOfLogin(account, basic.login), basic, asked, target }
}

/** Without a token Basic credentials must be given, and be right; the answer when they are not. */
function unproved(
  own: RoleCredentials,
  { account, basicRole }: KeyInput,
  caller: Caller,
  against: string | undefined,
): Outcome | undefined {
  if (caller.role !== undefined) return undefined
  if (basicRole === undefined) return problems.unauthorized()
  if (against === fingerprint(own.credentials)) return undefined
  return refusedBasic(caller, { account, role: basicRole, known: own.exists })
}

async function proveBasic(
  own: RoleCredentials,
  { basicRole, basic }: KeyInput,
  keyring: Keyring,
): Promise<string | undefined> {
  if (basicRole === undefined || basic === undefined) return undefined
  const matches = await secretMatches(basicRole, own.credentials, basic.secret, keyring)
  return matches ? fingerprint(own.credentials) : undefined
}

const changePassword = route({
  id: 'changePassword',
  method: 'PUT',
  path: '/authn/:account/password',
  docs: { does: 'Change one’s own password', takes: 'text', basic: true, answers: [204, 401, 403, 405, 422] },
  access: 'optional',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input: (request) => ({ ...keyInput(request), password: fromUtf8(request.body) ?? '' }),
  facts: ({ basicRole }) => ({ own: credentialsQuery(basicRole ?? '') }),
  async prove({ own }, input, { keyring }) {
    const against = await proveBasic(own, input, keyring)
    const fits = against !== undefined && passwordFault(input.password) === undefined
    return { against, hash: fits ? await hashPassword(input.password, randomBytes(16)) : undefined }
  },
  decide({ own }, input, { caller }, { against, hash }) {
    const refused = unproved(own, input, caller, against)
    if (refused !== undefined) return refused
    const role = caller.role ?? input.basicRole!
    const event = (error?: string) =>
      passwordEvent({ user: role, clientIp: caller.clientIp }, { role: input.target ?? role, error })
    const no = (outcome: Outcome, error: string): Outcome => recorded(outcome, event(error))
    if (input.target !== undefined && input.target !== role)
      return no(problems.unauthorized(), 'Unauthorized')
    if (caller.role !== undefined) return no(problems.unauthorizedBecause(WEAK), WEAK)
    if (kindOf(role) !== 'user') return no(problems.forbidden(), 'Forbidden')
    const fault = passwordFault(input.password)
    if (fault !== undefined || hash === undefined)
      return no(problems.validation('password', fault ?? ''), fault ?? '')
    const changes = [changed(role, own.credentials, { password: hash })]
    return answer(204, undefined, { changes, audit: [event()] })
  },
})

/** Whatever authenticator is named, Basic credentials are judged by the first of them. */
const API_KEY = '/:authn/:account/api_key'

const keyFacts = ({ basicRole, target }: KeyInput, caller: Caller) => {
  const subject = target ?? basicRole ?? caller.role ?? ''
  return {
    own: credentialsQuery(basicRole ?? ''),
    held: credentialsQuery(subject),
    access: accessQuery(subject),
  }
}

type KeyFacts = {
  readonly held: RoleCredentials
  readonly access: Access
}

type Refused = { readonly outcome: Outcome; readonly error: string }

/** The role whose key is meant, or why not: one rule for reading and rotating. */
function keySubject(
  { held, access }: KeyFacts,
  { basicRole, asked, target }: KeyInput,
  caller: Caller,
): string | Refused {
  if (caller.role === undefined) {
    if (target === undefined || target === basicRole) return basicRole!
    return { outcome: problems.unauthorized(), error: 'Unauthorized' }
  }
  if (target === undefined || target === caller.role)
    return { outcome: problems.unauthorizedBecause(WEAK), error: WEAK }
  if (!held.exists || !visible(access)) {
    const name = held.exists ? target : asked!
    const error = `CONJ00123E Resource '${name}' requested by role '${caller.role}' not found`
    return { outcome: problems.notFound(error), error }
  }
  if (!allowed(access, 'update')) return { outcome: problems.forbidden(), error: 'Forbidden' }
  const kind = kindOf(target)
  if (isKind(kind) && kinds[kind].credentials) return target
  const error = `CONJ00126E Role '${target}' is not applicable for key rotation`
  return { outcome: problems.notAllowed(error), error }
}

const rotateKey = route({
  id: 'rotateApiKey',
  method: 'PUT',
  path: API_KEY,
  docs: {
    does: 'A new API key, for oneself or another role',
    query: { role: 'Whose, as kind:id or a full id; absent: one’s own' },
    gives: 'text',
    basic: true,
    answers: [200, 401, 403, 404, 405, 422],
  },
  access: 'optional',
  effect: 'write',
  input: keyInput,
  facts: keyFacts,
  prove: ({ own }, input, { keyring }) => proveBasic(own, input, keyring),
  decide(facts, input, { caller, keyring, random, now }, proof) {
    const refused = unproved(facts.own, input, caller, proof)
    if (refused !== undefined) return refused
    const user = caller.role ?? input.basicRole!
    const actor = { user, clientIp: caller.clientIp }
    const subject = keySubject(facts, input, caller)
    if (typeof subject !== 'string') {
      const { outcome, error } = subject
      return recorded(outcome, apiKeyEvent(actor, { role: input.target ?? user, error }))
    }
    const key = drawApiKey(random)
    const sealed = keyring.seal(recordId('credentials', subject), utf8(key))
    const changes = [changed(subject, facts.held.credentials, { api_key: sealed, rotated_at: now })]
    return answer(200, text(key), { changes, audit: [apiKeyEvent(actor, { role: subject })] })
  },
})

const keyTime = route({
  id: 'apiKeyTime',
  method: 'GET',
  path: API_KEY,
  docs: {
    does: 'When an API key was rotated',
    query: { role: 'Whose, as kind:id or a full id; absent: one’s own' },
    gives: 'json',
    basic: true,
    answers: [200, 401, 403, 404, 405, 422],
  },
  access: 'optional',
  effect: 'read',
  input: keyInput,
  facts: keyFacts,
  prove: ({ own }, input, { keyring }) => proveBasic(own, input, keyring),
  decide(facts, input, { caller }, proof) {
    const refused = unproved(facts.own, input, caller, proof)
    if (refused !== undefined) return refused
    const subject = keySubject(facts, input, caller)
    if (typeof subject !== 'string') return subject.outcome
    const rotatedAt = facts.held.credentials?.rotatedAt ?? null
    return answer(
      200,
      json({ role: subject, timestamp: rotatedAt === null ? '' : secondsInstant(rotatedAt) }),
    )
  },
})

export const credentialRoutes: readonly AnyRoute[] = [changePassword, rotateKey, keyTime]
