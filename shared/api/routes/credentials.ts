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
import { accessQuery } from '../../ledger/reads/access.ts'
import { type Credentials, credentialsQuery } from '../../ledger/reads/caller.ts'
import type { RowOf } from '../../ledger/tables.ts'
import { recordId } from '../../secret/keyring.ts'
import { hashPassword, passwordFault } from '../../secret/password.ts'
import { drawApiKey } from '../../token/api-key.ts'
import { type Basic, basicOfHeader } from '../../token/header.ts'
import { answer, json, type Outcome, recorded, text } from '../outcome.ts'
import { problems } from '../problems.ts'
import { type Query, textOf } from '../request.ts'
import { type AnyRoute, type Caller, type Context, route } from '../route.ts'

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

const changePassword = route({
  id: 'changePassword',
  method: 'PUT',
  path: '/authn/:account/password',
  docs: { does: 'Change one’s own password', takes: 'text', basic: true, answers: [204, 401, 403, 405, 422] },
  access: 'optional',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input: ({ params, header, body }) => {
    const basic = basicOfHeader(header('authorization'))
    return { role: basic && roleOfLogin(params.account!, basic.login), basic, password: fromUtf8(body) ?? '' }
  },
  facts: ({ role }) => ({ held: credentialsQuery(role ?? '') }),
  async prove({ held }, { role, basic, password }, { keyring }) {
    if (role === undefined || basic === undefined) return undefined
    if (!(await secretMatches(role, held.credentials, basic.secret, keyring))) return undefined
    const fits = passwordFault(password) === undefined
    return {
      against: fingerprint(held.credentials),
      hash: fits ? await hashPassword(password, randomBytes(16)) : undefined,
    }
  },
  decide({ held }, { role, password }, { caller }, proof) {
    if (caller.role !== undefined) return problems.unauthorizedBecause(WEAK)
    const credentials = held.credentials
    if (role === undefined || credentials === undefined || proof?.against !== fingerprint(credentials)) {
      return problems.unauthorized()
    }
    const actor = { user: role, clientIp: caller.clientIp }
    const fault = passwordFault(password)
    const error = kindOf(role) !== 'user' ? 'Forbidden' : fault
    if (error !== undefined || proof.hash === undefined) {
      const outcome =
        error === 'Forbidden' ? problems.forbidden() : problems.validation('password', fault ?? '')
      return recorded(outcome, passwordEvent(actor, { role, error: error ?? '' }))
    }
    const changes = [changed(role, credentials, { password: proof.hash })]
    return answer(204, undefined, { changes, audit: [passwordEvent(actor, { role })] })
  },
})

/** Whatever authenticator is named, Basic credentials are judged by the first of them. */
const API_KEY = '/:authn/:account/api_key'

type KeyInput = {
  /** The role of Basic credentials. */
  readonly basicRole: string | undefined
  readonly basic: Basic | undefined
  /** As the parameter names it, for messages. */
  readonly asked: string | undefined
  readonly target: string | undefined
}

function keyInput(account: string, query: Query, authorization: string | undefined): KeyInput {
  const basic = basicOfHeader(authorization)
  const asked = textOf(query, 'role') || undefined
  const target = asked === undefined ? undefined : expandId(account, asked)
  if (asked !== undefined && (target === undefined || parseId(target) === undefined)) {
    throw new DomainError('argument_error', `Invalid role: ${asked}`)
  }
  return { basicRole: basic && roleOfLogin(account, basic.login), basic, asked, target }
}

const keyFacts = ({ basicRole, target }: KeyInput, caller: Caller) => {
  const subject = target ?? basicRole ?? caller.role ?? ''
  return {
    own: credentialsQuery(basicRole ?? ''),
    held: credentialsQuery(subject),
    access: accessQuery(subject),
  }
}

type KeyFacts = {
  own: { credentials: Credentials | undefined }
  held: { exists: boolean; credentials: Credentials | undefined }
  access: Parameters<typeof allowed>[0]
}

/** The role whose key is meant, or the answer that refuses it: one rule for reading and rotating. */
function keySubject(
  { own, held, access }: KeyFacts,
  { basicRole, asked, target }: KeyInput,
  caller: Caller,
  proof: string | undefined,
): string | Outcome {
  if (caller.role === undefined) {
    const proved = basicRole !== undefined && proof === fingerprint(own.credentials)
    if (!proved || (target !== undefined && target !== basicRole)) return problems.unauthorized()
    return basicRole
  }
  if (target === undefined || target === caller.role) return problems.unauthorizedBecause(WEAK)
  const missing = (name: string): Outcome =>
    problems.notFound(`CONJ00123E Resource '${name}' requested by role '${caller.role}' not found`)
  if (!held.exists) return missing(asked!)
  if (!visible(access)) return missing(target)
  if (!allowed(access, 'update')) return problems.forbidden()
  const kind = kindOf(target)
  if (!isKind(kind) || !kinds[kind].credentials) {
    return problems.notAllowed(`CONJ00126E Role '${target}' is not applicable for key rotation`)
  }
  return target
}

async function proveBasic(
  facts: KeyFacts,
  input: KeyInput,
  keyring: Context['keyring'],
): Promise<string | undefined> {
  const { basicRole, basic } = input
  if (basicRole === undefined || basic === undefined) return undefined
  const matches = await secretMatches(basicRole, facts.own.credentials, basic.secret, keyring)
  return matches ? fingerprint(facts.own.credentials) : undefined
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
  input: ({ params, query, header }) => keyInput(params.account!, query, header('authorization')),
  facts: keyFacts,
  prove: (facts, input, { keyring }) => proveBasic(facts, input, keyring),
  decide(facts, input, { caller, keyring, random, now }, proof) {
    const subject = keySubject(facts, input, caller, proof)
    const user = caller.role ?? input.basicRole ?? 'not-found'
    const actor = { user, clientIp: caller.clientIp }
    if (typeof subject !== 'string') {
      const role = input.target ?? user
      return recorded(subject, apiKeyEvent(actor, { role, error: failureWords(subject) }))
    }
    const key = drawApiKey(random)
    const sealed = keyring.seal(recordId('credentials', subject), utf8(key))
    const changes = [changed(subject, facts.held.credentials, { api_key: sealed, rotated_at: now })]
    return answer(200, text(key), { changes, audit: [apiKeyEvent(actor, { role: subject })] })
  },
})

const failureWords = ({ status }: Outcome): string =>
  ({ 401: 'Unauthorized', 403: 'Forbidden', 404: 'CONJ00123E not found', 405: 'CONJ00126E not applicable' })[
    status
  ] ?? String(status)

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
  input: ({ params, query, header }) => keyInput(params.account!, query, header('authorization')),
  facts: keyFacts,
  prove: (facts, input, { keyring }) => proveBasic(facts, input, keyring),
  decide(facts, input, { caller }, proof) {
    const subject = keySubject(facts, input, caller, proof)
    if (typeof subject !== 'string') return subject
    const rotatedAt = facts.held.credentials?.rotatedAt ?? null
    return answer(
      200,
      json({ role: subject, timestamp: rotatedAt === null ? '' : secondsInstant(rotatedAt) }),
    )
  },
})

export const credentialRoutes: readonly AnyRoute[] = [changePassword, rotateKey, keyTime]
