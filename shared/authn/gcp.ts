// Workloads of Google Cloud, by the identity token that Google signs for them (http-api 8.6): for an instance of Compute
// Engine, with its project and name where it was asked for in the format full, or for a service account.
import { isStorable } from '../base/bytes.ts'
import { isObject } from '../base/json.ts'
import { roleOfLogin } from '../id/login.ts'
import { kindOf, type ResourceId } from '../id/resource-id.ts'
import { type Prover, Refused } from './contract.ts'
import { type Claims, verifyExternalToken } from './external-token.ts'
import { mustNotBeAdmin, requiredField } from './request.ts'
import { mustFollow, mustMatch, type Rules, restrictionsOf } from './restrictions.ts'

/** Where each restriction stands in a token. */
const CLAIMS: Readonly<Record<string, readonly string[]>> = {
  'project-id': ['google', 'compute_engine', 'project_id'],
  'instance-name': ['google', 'compute_engine', 'instance_name'],
  'service-account-id': ['sub'],
  'service-account-email': ['email'],
}

/** A name alone tells no instance: every project may have one of it. */
const RULES: Rules = {
  known: Object.keys(CLAIMS),
  anyOf: ['project-id', 'service-account-id', 'service-account-email'],
}

export const gcpProver: Prover<Claims> = {
  variables: [],
  async claim(attempt, _stored, { io, settings, now }) {
    const issuer = settings.gcpProvider
    const claims = await verifyExternalToken(requiredField(attempt, 'jwt'), {
      keys: (kid) => io.keySets.find({ kind: 'provider', url: issuer, ca: undefined }, kid),
      issuer,
      now,
    })
    return { role: roleOfAudience(claims.aud, attempt.account), evidence: claims }
  },
  prove({ evidence }, { annotations }, attempt) {
    const restrictions = restrictionsOf(attempt, annotations, false)
    mustFollow(restrictions, RULES)
    mustMatch(restrictions, (name) => claimOf(evidence, CLAIMS[name]!))
    return {}
  },
}

/** `conjur/acme/host/app/web`: whoever asks Google for a token says by its audience who it is for. Throws `Refused`. */
function roleOfAudience(audience: unknown, account: string): ResourceId {
  if (audience === undefined) throw new Refused("CONJ00051E Claim 'aud' is missing in the token")
  // One with several audiences was not made for us alone.
  const text = typeof audience === 'string' && isStorable(audience) ? audience : ''
  const [, given, login] = /^conjur\/([^/]+)\/(.+)$/s.exec(text) ?? []
  if (given === undefined || login === undefined) throw badAudience()
  if (given !== account)
    throw new Refused("CONJ00070E The account in the claim 'aud' is another than that of the request")
  const role = roleOfLogin(account, login)
  mustNotBeAdmin(account, role)
  if (kindOf(role) !== 'host' || login === 'host/') throw badAudience()
  return role
}

const badAudience = (): Refused =>
  new Refused("CONJ00067E The claim 'aud' is invalid: its form is conjur/<account>/host/<host-id>")

/** Throws `Refused` when it is no text, or empty. */
function claimOf(claims: Claims, path: readonly string[]): string {
  let value: unknown = claims
  for (const name of path) value = isObject(value) ? value[name] : undefined
  if (typeof value === 'string' && value !== '') return value
  throw new Refused(
    `CONJ00068E Claim '${path.join('/')}' is missing in the token: an instance gets it by asking for format=full`,
  )
}
