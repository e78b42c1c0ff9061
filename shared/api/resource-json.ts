// Resources as JSON (http-api 11), put together from the rows of one batch.
import { fromUtf8 } from '../base/bytes.ts'
import type { Json } from '../base/json.ts'
import { jsonInstant, secondsInstant } from '../base/time.ts'
import { kindOf } from '../id/resource-id.ts'
import type { Details, ResourceRow } from '../ledger/reads/resource.ts'
import { type Keyring, recordId } from '../secret/keyring.ts'

/** `policy` is left out when a row was not made by one. */
export const withPolicy = (policy: string | null): { policy?: string } => (policy === null ? {} : { policy })

/** One object per resource, in the order of the rows. */
export function resourcesJson(details: Details, keyring: Keyring): Json[] {
  const permissions = Map.groupBy(details.permissions, (row) => row.resource)
  const annotations = Map.groupBy(details.annotations, (row) => row.resource)
  const extras = extrasOf(details, keyring)
  return details.resources.map((row) => ({
    created_at: jsonInstant(row.created_at),
    id: row.id,
    owner: row.owner,
    ...withPolicy(row.policy),
    permissions: (permissions.get(row.id) ?? []).map(({ privilege, role, policy }) => ({
      privilege,
      role,
      ...withPolicy(policy),
    })),
    annotations: (annotations.get(row.id) ?? []).map(({ name, value, policy }) => ({
      name,
      value,
      ...withPolicy(policy),
    })),
    ...extras(row),
  }))
}

/** What a kind shows beyond the common members. */
function extrasOf(details: Details, keyring: Keyring): (row: ResourceRow) => { [name: string]: Json } {
  const secrets = Map.groupBy(details.secrets, (row) => row.resource)
  const versions = Map.groupBy(details.versions, (row) => row.policy)
  const credentials = new Map(details.credentials.map((row) => [row.role, row]))
  const tokens = Map.groupBy(details.tokens, (row) => row.factory)
  const layers = Map.groupBy(details.layers, (row) => row.member)
  const restricted = ({ id }: ResourceRow) => ({
    restricted_to: JSON.parse(credentials.get(id)?.restricted_to ?? '[]') as string[],
  })
  const kinds: Record<string, (row: ResourceRow) => { [name: string]: Json }> = {
    variable: ({ id }) => ({
      secrets: (secrets.get(id) ?? []).map(({ version, expires_at }) => ({
        version,
        expires_at: expires_at === null ? null : jsonInstant(expires_at),
      })),
    }),
    policy: ({ id }) => ({
      policy_versions: (versions.get(id) ?? []).map((row) => ({
        version: row.version,
        created_at: jsonInstant(row.created_at),
        policy_text: row.text,
        policy_sha256: row.sha256,
        finished_at: jsonInstant(row.finished_at),
        client_ip: row.client_ip,
        id: row.policy,
        role: row.role,
      })),
    }),
    user: restricted,
    host: restricted,
    host_factory: ({ id }) => ({
      tokens: (tokens.get(id) ?? []).map(({ id: token, sealed, cidr, expires_at }) => ({
        expiration: secondsInstant(expires_at),
        cidr: JSON.parse(cidr) as string[],
        token: fromUtf8(keyring.open(recordId('host_factory_tokens', token), sealed)) ?? '',
      })),
      layers: (layers.get(id) ?? []).map(({ role }) => role),
    }),
  }
  return (row) => kinds[kindOf(row.id)]?.(row) ?? {}
}
