// Authentication by something that is not stored here, step by step (http-api 8): enabled → webservice → claim → role →
// privilege → origin → proof. What went wrong is for the audit; outside nearly all of it is 401.
import { originAllowed } from '../authz/address.ts'
import { allowed } from '../authz/decide.ts'
import { limits } from '../base/limits.ts'
import { loginOfRole, roleOfLogin } from '../id/login.ts'
import { kindOf, makeId } from '../id/resource-id.ts'
import { accessQuery } from '../ledger/reads/access.ts'
import { annotationsOfQuery, settingsQuery, switchQuery } from '../ledger/reads/authenticator.ts'
import { credentialsQuery } from '../ledger/reads/caller.ts'
import { type FactsOf, kept, type ReadStore, readFacts, statementsOf } from '../ledger/store.ts'
import { authenticatorOf, branchOf, fullName, isOn } from './catalogue.ts'
import { type Attempt, type Claimed, type Prover, Refused, type Stored, type Tools } from './contract.ts'
import { openedValues } from './settings.ts'

/** What came of an attempt. `role`: as claimed; undefined: it was not found out. */
export type Verdict = {
  readonly role: string | undefined
  /** Whether there is such a role: a name nobody has is not written down as a user. */
  readonly known: boolean
  /** Of the role, sealed. */
  readonly apiKey?: Uint8Array | undefined
  readonly ttlSeconds?: number | undefined
  readonly refused?: Refused
}

/** Where requests of an attempt come from, and what is on whatever the database says. */
export type Circumstances = Tools & {
  readonly clientIp: string
  readonly listed: readonly string[]
  readonly store: ReadStore
}

export const webserviceOf = ({ account, authenticator, service }: Attempt): string =>
  makeId(account, 'webservice', branchOf(authenticator, service))

const proverOf = ({ authenticator }: Attempt): Prover | undefined => authenticatorOf(authenticator)?.prover

/** Of the authenticator, before anybody is claimed. */
export function authenticatorBatch(attempt: Attempt, prover = proverOf(attempt)) {
  const { account, authenticator, service } = attempt
  const webservice = webserviceOf(attempt)
  const prefix = makeId(account, 'variable', `${branchOf(authenticator, service)}/`)
  return {
    held: kept(switchQuery(webservice)),
    variables: kept(settingsQuery(prefix, prover?.variables ?? [])),
    annotations: kept(annotationsOfQuery(webservice)),
  }
}

type AuthenticatorFacts = FactsOf<ReturnType<typeof authenticatorBatch>>

/** Never throws `Refused`: a refusal is what came of it. Other errors are ours. `prover`: as for its facts. */
export async function authenticate(
  attempt: Attempt,
  facts: AuthenticatorFacts,
  around: Circumstances,
  prover = proverOf(attempt),
): Promise<Verdict> {
  const found: { -readonly [Part in keyof Verdict]: Verdict[Part] } = { role: undefined, known: false }
  if (attempt.login !== undefined) found.role = roleOfLogin(attempt.account, attempt.login)
  try {
    if (prover === undefined)
      throw new Refused(`CONJ00001E '${attempt.authenticator}' authenticators are not supported`)
    if (prover.needsService && attempt.service === undefined)
      throw new Refused(`CONJ00075E Service id is required for '${attempt.authenticator}'`)
    if (attempt.operation === 'login' && prover.logsIn !== true)
      throw new Refused(`CONJ00001E '${attempt.authenticator}' authenticators have no login`)
    mustBeOn(attempt, facts, around.listed)
    const stored = storedOf(attempt, prover, facts, around)
    const claimed: Claimed<unknown> =
      prover.claim === undefined
        ? { role: loginRole(attempt), evidence: attempt }
        : await prover.claim(attempt, stored, around)
    mustBeName(claimed.role)
    found.role = claimed.role
    const role = await roleFacts(claimed.role, webserviceOf(attempt), around.store)
    found.known = role.held.exists
    found.apiKey = role.held.credentials?.apiKey
    mustBeAllowed(attempt, claimed.role, role, around.clientIp)
    const { ttlSeconds } = await prover.prove(claimed, role, attempt, stored, around)
    return { ...found, ttlSeconds }
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    return { ...found, refused: error }
  }
}

/** The authenticator is on and its webservice is there, in this order. */
function mustBeOn(attempt: Attempt, { held }: AuthenticatorFacts, listed: readonly string[]): void {
  const name = fullName(branchOf(attempt.authenticator, attempt.service))
  if (!isOn(name, held?.switchedOn ?? false, listed))
    throw new Refused(`CONJ00004E '${name}' is not enabled`, 'not_enabled')
  if (held === undefined) throw new Refused(`CONJ00005E Webservice '${name}' not found`)
}

function storedOf(
  { account, authenticator, service }: Attempt,
  { holdsNoSecrets }: Prover,
  { variables, annotations }: AuthenticatorFacts,
  { io }: Tools,
): Stored {
  const known = opened.get(variables)
  if (known !== undefined) return known
  const stored = {
    prefix: makeId(account, 'variable', `${branchOf(authenticator, service)}/`),
    values: openedValues(variables, io.keyring),
    annotations,
  }
  if (holdsNoSecrets) opened.set(variables, stored)
  return stored
}

/** By facts that are kept, read in one snapshot with their annotations. */
const opened = new WeakMap<AuthenticatorFacts['variables'], Stored>()

function loginRole({ account, login }: Attempt): string {
  if (login === undefined) throw new Refused('CONJ00007E the request names no role')
  return roleOfLogin(account, login)
}

/** Nobody can have such a name, so nothing is asked about it; one from a credential is not even written down. */
function mustBeName(role: string): void {
  if (role.length > limits.idBytes)
    throw new Refused('CONJ00007E the name of the role is longer than any', 'no_role')
}

async function roleFacts(role: string, webservice: string, store: ReadStore) {
  const batch = {
    held: kept(credentialsQuery(role)),
    annotations: kept(annotationsOfQuery(role)),
    access: kept(accessQuery(webservice)),
  }
  // The closure is that of the role that is claimed, not of the caller, who is nobody yet.
  const { rows } = await store.read({ statements: statementsOf(batch), caller: role })
  return readFacts(batch, rows)
}

function mustBeAllowed(
  attempt: Attempt,
  role: string,
  { held, access }: Awaited<ReturnType<typeof roleFacts>>,
  clientIp: string,
): void {
  if (!held.exists) throw new Refused(`CONJ00007E '${role}' not found`, 'no_role')
  if (kindOf(role) !== 'user' && kindOf(role) !== 'host')
    throw new Refused(`CONJ00007E '${role}' is no user or host`)
  if (!allowed(access, 'authenticate')) {
    const words = `'${loginOfRole(role)}' does not have 'authenticate' privilege on ${webserviceOf(attempt)}`
    throw new Refused(`CONJ00006E ${words}`, 'forbidden')
  }
  if (attempt.operation === 'login') return
  if (!originAllowed(clientIp, held.credentials?.restrictedTo ?? []))
    throw new Refused('CONJ00003E User is not authorized to login from the current origin')
}
