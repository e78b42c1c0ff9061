// OpenID Connect (http-api 8.7): a user brings an id token, or a code that is redeemed at the provider. Plain code over jose:
// what a client library adds is its own way out and its own clock, and there is one of each here.
import { isStorable, toBase64, utf8 } from '../base/bytes.ts'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { constantTimeEqual } from '../base/native-crypto.ts'
import { durationMs, wall } from '../base/time.ts'
import { makeId } from '../id/resource-id.ts'
import { type Attempt, type Claimed, type Prover, Refused, type Stored, type Tools } from './contract.ts'
import { asked, issuersOf, type Provider } from './discovery.ts'
import { type Claims, type Expected, verifyExternalToken } from './external-token.ts'
import { missingField, mustNotBeAdmin } from './request.ts'
import { required } from './settings.ts'
import { oidcSettings } from './status-checks.ts'

/** Settings of the code flow. */
export type CodeFlow = {
  readonly provider: Provider
  readonly clientId: string
  readonly clientSecret: string
  /** The claim that names the user. */
  readonly claim: string
  readonly redirectUri: string | undefined
  /** Words between spaces. */
  readonly scope: string
  /** For people. */
  readonly name: string | undefined
  /** At most what any other token may live. */
  readonly ttlSeconds: number
}

const SCOPES = ['openid', 'email', 'profile']
const TOKEN_TTL = 'PT60M'

/** A variable that nobody has set is as good as none: policies name them all. */
const given = (stored: Stored, name: string): string | undefined => stored.values.get(name) || undefined

const providerOf = (stored: Stored): Provider => ({
  url: required(stored, 'provider-uri').trim(),
  // What is no text is no authority: the public ones were not meant.
  ca: stored.values.get('ca-cert'),
})

/** Throws `Refused` when the authenticator is not set up for it. */
export function codeFlowOf(stored: Stored): CodeFlow {
  const ttlMs = durationMs(given(stored, 'token-ttl') ?? TOKEN_TTL)
  const flow = {
    provider: providerOf(stored),
    clientId: required(stored, 'client-id'),
    clientSecret: required(stored, 'client-secret'),
    claim: required(stored, 'claim-mapping'),
    redirectUri: given(stored, 'redirect-uri'),
    scope: [...new Set([...SCOPES, ...words(given(stored, 'provider-scope') ?? '')])].join(' '),
    name: given(stored, 'name'),
  }
  if ((given(stored, 'response-type') ?? 'code') !== 'code')
    throw misconfigured(stored, 'response-type', 'only code is understood')
  if (ttlMs === undefined) throw misconfigured(stored, 'token-ttl', 'it is no ISO 8601 duration')
  return { ...flow, ttlSeconds: Math.min(ttlMs / 1_000, limits.tokenTtlSecondsMax) }
}

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '')

const misconfigured = ({ prefix }: Stored, name: string, why: string): Refused =>
  new Refused(`CONJ00130E The OIDC provider variable values are misconfigured: ${prefix}${name}: ${why}`)

/** `ttlSeconds`: undefined in the id-token flow. */
type Evidence = { readonly ttlSeconds: number | undefined }

export const oidcProver: Prover<Evidence> = {
  variables: oidcSettings.variables,
  needsService: true,
  claim: (attempt, stored, tools) =>
    attempt.method === 'GET' ? byCode(attempt, stored, tools) : byIdToken(attempt, stored, tools),
  // The credential is all there is, and was examined to know whose it is.
  prove: ({ evidence }) => evidence,
}

/** Whom the token was made for is not looked at: clients of any application of the provider bring theirs. */
async function byIdToken(attempt: Attempt, stored: Stored, tools: Tools): Promise<Claimed<Evidence>> {
  const token = attempt.field('id_token') || bearerOf(attempt.header('authorization'))
  if (token === undefined) throw missingField('id_token')
  const provider = providerOf(stored)
  const claim = required(stored, 'id-token-user-property')
  const claims = await verifyExternalToken(token, expectedOf(provider, tools))
  return { role: userOf(attempt.account, claims, claim), evidence: { ttlSeconds: undefined } }
}

const bearerOf = (header: string | undefined): string | undefined =>
  /^Bearer +(\S+)\s*$/i.exec(header ?? '')?.[1]

const expectedOf = (provider: Provider, { io, now }: Pick<Tools, 'io' | 'now'>): Expected => ({
  keys: (kid) => io.keySets.find({ kind: 'provider', ...provider }, kid),
  issuer: issuersOf(provider),
  now,
})

async function byCode(attempt: Attempt, stored: Stored, tools: Tools): Promise<Claimed<Evidence>> {
  const flow = codeFlowOf(stored)
  const [code, nonce] = ['code', 'nonce'].map((name) => {
    const value = attempt.field(name)
    if (value === undefined || value === '') throw missingField(name)
    return value
  }) as [string, string]
  const token = await redeemed(flow, { code, nonce, verifier: attempt.field('code_verifier') }, tools)
  const claims = await verifiedForUs(token, flow, tools)
  if (typeof claims.nonce !== 'string' || !constantTimeEqual(utf8(claims.nonce), utf8(nonce)))
    throw notGood('the nonce is not that of the request')
  const role = userOf(attempt.account, claims, flow.claim)
  return { role, evidence: { ttlSeconds: flow.ttlSeconds } }
}

type Code = { readonly code: string; readonly nonce: string; readonly verifier: string | undefined }

/** What the provider gives for the code (RFC 6749 4.1.3, RFC 7636 4.5): its id token, or its access token. */
async function redeemed(
  { provider, clientId, clientSecret, redirectUri, scope }: CodeFlow,
  { code, nonce, verifier }: Code,
  { io }: Tools,
): Promise<string> {
  const { tokenEndpoint } = await io.discovery(provider)
  if (tokenEndpoint === undefined)
    throw new Refused('CONJ00011E Provider cannot be discovered: its document names no token endpoint')
  const form = new URLSearchParams({ grant_type: 'authorization_code', scope, code, nonce })
  if (verifier) form.set('code_verifier', verifier)
  if (redirectUri !== undefined) form.set('redirect_uri', redirectUri)
  const { status, text } = await asked(io.outgoing, {
    method: 'POST',
    url: tokenEndpoint,
    ca: provider.ca,
    headers: {
      'Content-Type': 'application/x-www-form-urlencoded',
      Authorization: `Basic ${toBase64(utf8(`${formEncoded(clientId)}:${formEncoded(clientSecret)}`))}`,
    },
    body: form.toString(),
  })
  const said = parseJson(text)
  if (!isObject(said)) throw notRedeemed(`it was answered ${status} without JSON`)
  if (status !== 200) throw notRedeemed(`it was answered ${status} ${knownError(said.error)}`)
  const token = [said.id_token, said.access_token].find((one) => typeof one === 'string' && one !== '')
  if (token === undefined) throw notRedeemed('there is no token in the answer')
  return token as string
}

/** RFC 6749 2.3.1 wants both halves encoded before they are joined. */
const formEncoded = (text: string): string => new URLSearchParams({ '': text }).toString().slice(1)

/** RFC 6749 5.2. What else a provider says does not belong into our records. */
const TOKEN_ERRORS: readonly unknown[] = [
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
]
const knownError = (error: unknown): string =>
  TOKEN_ERRORS.includes(error) ? String(error) : 'unknown error'

const notRedeemed = (why: string): Refused =>
  new Refused(`CONJ00133E Access Token retrieval failure: ${why}`, 'bad_request')
const notGood = (why: string): Refused =>
  new Refused(`CONJ00128E JWT Token validation failed: ${why}`, 'bad_request')

/** The claims of a token that the provider has signed for this client. A token that is not good is 400, whatever it lacks. */
async function verifiedForUs(
  token: string,
  { provider, clientId }: CodeFlow,
  { io }: Tools,
): Promise<Claims> {
  // It was made after the request had begun, and by another clock.
  const now = wall(io.clock.wall() + limits.providerAheadMs)
  const expected = expectedOf(provider, { io, now })
  // Without keys nothing is known about the token, and the refusal stays what it is.
  let away: unknown
  const keys: Expected['keys'] = (kid) =>
    expected.keys(kid).catch((error: unknown) => {
      away = error
      throw error
    })
  let claims: Claims
  try {
    claims = await verifyExternalToken(token, { ...expected, keys, audience: clientId })
  } catch (error) {
    if (!(error instanceof Refused) || error === away) throw error
    throw new Refused(error.message, 'bad_request')
  }
  // OpenID Connect Core 3.1.3.7, 4 and 5.
  const many = Array.isArray(claims.aud) && claims.aud.length > 1
  if ((many || claims.azp !== undefined) && claims.azp !== clientId)
    throw notGood('it was made for another client')
  return claims
}

/** Users only: no claim names a host. What nobody can be called is in no record either. */
function userOf(account: string, claims: Claims, claim: string): string {
  const login = Object.hasOwn(claims, claim) ? claims[claim] : undefined
  if (typeof login !== 'string' || login === '' || !isStorable(login) || login.length > limits.idBytes)
    throw new Refused(`CONJ00013E Claim '${claim}' not found or empty in ID token`)
  const role = makeId(account, 'user', login)
  mustNotBeAdmin(account, role)
  return role
}
