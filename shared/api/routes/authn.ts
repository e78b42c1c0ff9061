// Login and authenticate with stored credentials (http-api 8.1, 8.2).
import { authnEvent } from '../../audit/event.ts'
import { authenticateFault, secretMatches } from '../../authn/api-key.ts'
import { fromUtf8 } from '../../base/bytes.ts'
import { limits } from '../../base/limits.ts'
import { roleOfLogin } from '../../id/login.ts'
import { kindOf, makeId } from '../../id/resource-id.ts'
import { credentialsQuery } from '../../ledger/reads/caller.ts'
import { kept } from '../../ledger/store.ts'
import { recordId } from '../../secret/keyring.ts'
import { basicOfHeader } from '../../token/header.ts'
import { answer, type Outcome, recorded, text } from '../outcome.ts'
import { problems } from '../problems.ts'
import { wantsBase64 } from '../request.ts'
import { type AnyRoute, type Caller, route } from '../route.ts'

type Attempt = {
  readonly operation: 'login' | 'authenticate'
  readonly account: string
  readonly role: string
  /** Whether such a role is there: a name nobody has is not written down as a user. */
  readonly known: boolean
  readonly error?: string | undefined
}

function attemptEvent(caller: Caller, attempt: Attempt) {
  return authnEvent(
    { user: attempt.known ? attempt.role : 'not-found', clientIp: caller.clientIp },
    {
      operation: attempt.operation,
      role: attempt.role,
      authenticator: 'authn',
      service: makeId(attempt.account, 'webservice', 'conjur/authn'),
      error: attempt.error,
    },
  )
}

const refused = (caller: Caller, attempt: Attempt): Outcome =>
  recorded(problems.unauthorized(), attemptEvent(caller, attempt))

const INVALID = 'CONJ00002E Invalid credentials'

/** Basic credentials that are wrong, whatever was asked with them: guesses leave their traces everywhere. */
export const refusedBasic = (caller: Caller, who: Pick<Attempt, 'account' | 'role' | 'known'>): Outcome =>
  refused(caller, { ...who, operation: 'login', error: INVALID })

/** `alice` and `user/alice` are the same user. */
const authenticate = route({
  id: 'authenticate',
  method: 'POST',
  path: '/authn/:account/:login/authenticate',
  docs: { does: 'An access token for an API key', takes: 'text', gives: 'json', answers: [200, 401] },
  access: 'open',
  effect: 'read',
  bodyLimit: limits.bodyBytes,
  input: ({ params, body, header }) => ({
    account: params.account!,
    role: roleOfLogin(params.account!, params.login!),
    key: body,
    base64: wantsBase64(header('accept-encoding')),
  }),
  facts: ({ role }) => ({ held: kept(credentialsQuery(role)) }),
  decide({ held }, { account, role, key, base64 }, { caller, keyring, now, settings }) {
    const error = authenticateFault(role, held, key, keyring, caller.clientIp, now)
    const attempt: Attempt = { operation: 'authenticate', account, role, known: held.exists, error }
    if (error !== undefined) return refused(caller, attempt)
    const ttlSeconds = kindOf(role) === 'user' ? settings.userTokenTtlSeconds : settings.hostTokenTtlSeconds
    return answer(
      200,
      { kind: 'token', role, ttlSeconds, base64 },
      { audit: [attemptEvent(caller, attempt)] },
    )
  },
})

const login = route({
  id: 'login',
  method: 'GET',
  path: '/authn/:account/login',
  docs: { does: 'The API key, for a password or itself', gives: 'text', basic: true, answers: [200, 401] },
  access: 'optional',
  effect: 'read',
  input: ({ params, header }) => {
    const basic = basicOfHeader(header('authorization'))
    return {
      account: params.account!,
      role: roleOfLogin(params.account!, basic?.login ?? 'USERNAME_MISSING'),
      secret: basic?.secret,
    }
  },
  facts: ({ role }) => ({ held: credentialsQuery(role) }),
  prove: async ({ held }, { role, secret }, { keyring }) =>
    secret !== undefined && (await secretMatches(role, held.credentials, secret, keyring)),
  decide({ held }, { account, role, secret }, { caller, keyring }, proved) {
    const attempt = { operation: 'login', account, role, known: held.exists } as const
    const sealed = held.credentials?.apiKey
    if (!proved || sealed === undefined) {
      const error = secret === undefined ? 'CONJ00009E Credentials are missing' : INVALID
      return refused(caller, { ...attempt, error })
    }
    const key = fromUtf8(keyring.open(recordId('credentials', role), sealed)) ?? ''
    return answer(200, text(key), { audit: [attemptEvent(caller, attempt)] })
  },
})

export const authnRoutes: readonly AnyRoute[] = [authenticate, login]
