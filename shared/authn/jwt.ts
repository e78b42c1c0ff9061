// authn-jwt (http-api 8.8): a token of an identity provider whose keys stand in a variable or are fetched.
import { LRUCache } from 'lru-cache'
import { bareHost } from '../authz/address.ts'
import { parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { onceFor } from '../base/once-for.ts'
import { roleOfLogin } from '../id/login.ts'
import { makeId } from '../id/resource-id.ts'
import { annotationsBelow, claimRules, hostNamed, mustMeet } from './claims.ts'
import { type Attempt, type Prover, Refused, type Stored, type Tools } from './contract.ts'
import { type Claims, type Expected, verifyExternalToken } from './external-token.ts'
import { type KeySet, signingKeysIn } from './provider-keys.ts'
import { requiredField } from './request.ts'
import { optional, required } from './settings.ts'
import { jwtKeys, jwtSettings } from './status-checks.ts'

export const jwtProver: Prover<Claims> = {
  variables: jwtSettings.variables,
  holdsNoSecrets: true,
  async claim(attempt, stored, tools) {
    const token = requiredField(attempt, 'jwt')
    const fault = faultIn(stored)
    if (fault !== undefined) throw new Refused(fault.message)
    const property = optional(stored, 'token-app-property')
    if ((property === undefined) === (attempt.login === undefined))
      throw new Refused(
        'CONJ00098E The role is named either by token-app-property or by the login in the path: one of them, not both',
      )
    const claims = await verifyExternalToken(token, expectedOf(stored, tools))
    return { role: roleOf(attempt, claims, property, stored), evidence: claims }
  },
  prove({ evidence }, { annotations }, { authenticator, service }, stored) {
    // Those without the service's id say nothing here.
    mustMeet(evidence, annotationsBelow(annotations, `${authenticator}/${service}/`), rulesIn(stored))
    return {}
  },
}

const faultIn = onceFor(jwtSettings.check)
const sourceIn = onceFor(jwtKeys)
const rulesIn = onceFor((stored: Stored) =>
  claimRules(optional(stored, 'enforced-claims'), optional(stored, 'claim-aliases')),
)
const issuerIn = onceFor((stored: Stored) => issuerOf(stored, sourceIn(stored)))

function roleOf(
  { account, login }: Attempt,
  claims: Claims,
  property: string | undefined,
  stored: Stored,
): string {
  if (property === undefined) return roleOfLogin(account, login!)
  return makeId(account, 'host', hostNamed(claims, property, optional(stored, 'identity-path')))
}

function expectedOf(stored: Stored, { io, settings, now }: Tools): Expected {
  const source = sourceIn(stored)
  return {
    keys: async (kid) =>
      source === undefined ? givenKeys.memo(required(stored, 'public-keys')) : io.keySets.find(source, kid),
    issuer: issuerIn(stored),
    mayLackIssuer: settings.jwtIgnoreMissingIssuer,
    audience: optional(stored, 'audience'),
    now,
  }
}

function issuerOf(stored: Stored, source: ReturnType<typeof jwtKeys>): string {
  const said = optional(stored, 'issuer')
  if (said !== undefined || source === undefined) return said ?? required(stored, 'issuer')
  return source.kind === 'provider' ? source.url : bareHost(new URL(source.url))
}

/**
 * The same text is the same set: its keys, as far as a provider's would be believed, are imported once. Texts: as the status
 * check has found them to be.
 */
const givenKeys = new LRUCache<string, KeySet>({
  max: limits.keySetsRead,
  maxSize: limits.keySetBytesRead,
  sizeCalculation: (_, text) => text.length,
  memoMethod(text) {
    const { value } = parseJson(text) as unknown as { readonly value: KeySet }
    return { keys: signingKeysIn(value.keys) }
  },
})
