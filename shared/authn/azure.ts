// Workloads of Azure, by the token of their managed identity (http-api 8.5). Its claim `xms_mirid` is the path of the
// resource that the identity belongs to, and `oid` the object id of the identity.
import { roleOfLogin } from '../id/login.ts'
import { type Prover, Refused } from './contract.ts'
import { issuersOf } from './discovery.ts'
import { type Claims, verifyExternalToken } from './external-token.ts'
import { mustNotBeAdmin, requiredField } from './request.ts'
import { mustFollow, mustMatch, type Rules, restrictionsOf } from './restrictions.ts'
import { required } from './settings.ts'

const PROVIDER_URI = 'provider-uri'

const RULES: Rules = {
  known: ['subscription-id', 'resource-group', 'user-assigned-identity', 'system-assigned-identity'],
  required: ['subscription-id', 'resource-group'],
  exclusive: [['user-assigned-identity', 'system-assigned-identity']],
}

export const azureProver: Prover<undefined> = {
  variables: [PROVIDER_URI],
  claim({ account, login }) {
    const role = roleOfLogin(account, login!)
    mustNotBeAdmin(account, role)
    return { role, evidence: undefined }
  },
  async prove(_claimed, { annotations }, attempt, stored, { io, now }) {
    const token = requiredField(attempt, 'jwt')
    const provider = { url: required(stored, PROVIDER_URI), ca: undefined }
    const claims = await verifyExternalToken(token, {
      keys: (kid) => io.keySets.find({ kind: 'provider', ...provider }, kid),
      // The first version of its tokens names the issuer with a slash at the end, the second without.
      issuer: issuersOf(provider),
      now,
    })
    const said = restrictionsIn(claims)
    const restrictions = restrictionsOf(attempt, annotations)
    mustFollow(restrictions, RULES)
    mustMatch(restrictions, (name) => said[name])
    return {}
  },
}

/** What a token says, by the names of the restrictions. Throws `Refused`. */
function restrictionsIn({ xms_mirid, oid }: Claims): Readonly<Record<string, string | undefined>> {
  for (const [name, value] of Object.entries({ xms_mirid, oid }))
    if (value === undefined || value === '')
      throw new Refused(`CONJ00051E Claim '${name}' is missing in the token`)
  if (typeof oid !== 'string') throw new Refused("CONJ00051E Claim 'oid' is no text")
  const { subscription, group, provider, type, name } = readResourcePath(xms_mirid)
  const isUserAssigned = provider === 'microsoft.managedidentity' && type === 'userassignedidentities'
  return {
    'subscription-id': subscription,
    'resource-group': group,
    'user-assigned-identity': isUserAssigned ? name : undefined,
    'system-assigned-identity': isUserAssigned ? undefined : oid,
  }
}

/**
 * `/subscriptions/S/resourcegroups/G/providers/PROVIDER/TYPE/NAME`, with or without the slash before it. Azure writes the
 * fixed words, providers and types in any case (they come back in lower case), and names as they are.
 */
function readResourcePath(path: unknown) {
  if (typeof path !== 'string')
    throw new Refused("CONJ00052E Failed to parse the claim 'xms_mirid': it is no text")
  const [subscriptions, subscription, groups, group, providers, ...fields] = path
    .replace(/^\//, '')
    .split('/')
  const fixed = [subscriptions, groups, providers].map((word) => word?.toLowerCase()).join()
  if (fixed !== 'subscriptions,resourcegroups,providers' || !subscription || !group)
    throw new Refused(
      "CONJ00053E The claim 'xms_mirid' does not name subscriptions, resourcegroups and providers, in this order",
    )
  const [provider, type, name] = fields
  if (fields.length !== 3 || !provider || !type || !name)
    throw new Refused("CONJ00054E The claim 'xms_mirid' does not end with a provider, a type and a name")
  return { subscription, group, provider: provider.toLowerCase(), type: type.toLowerCase(), name }
}
