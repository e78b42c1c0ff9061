// What `/info` says of a node (cluster 10). The same for every role.
import type { Json } from '../base/json.ts'
import { PROTOCOL } from '../replication/messages.ts'
import type { ApiSettings } from './settings.ts'

/** The version of the API we speak: clients compare it before they use newer routes. */
export const API_VERSION = '1.24.0'

/** One of the certificates by which others know this node. */
export type ShownCertificate = {
  readonly use: 'client-facing' | 'internal'
  readonly subject: string
  readonly not_after: string
  readonly sha256: string
}

/** The service role of a node that serves what its class can; a node that knows no other one serves nothing (cluster 3). */
export const SERVES_ALL = 'all'

export type InfoFacts = {
  readonly role: 'master' | 'standby' | 'follower'
  readonly name: string
  readonly settings: ApiSettings
  /** Who is believed about the address of a client: the proxies of `settings`, these balancers, and where both are set. */
  readonly balancers: readonly string[]
  readonly origins: Readonly<Record<string, string>> | undefined
  readonly certificates: readonly ShownCertificate[]
  /** Files on this node that hold a key in clear. */
  readonly unprotectedKeyFiles: number
  /** Undefined where no cluster is known of. */
  readonly cluster: ClusterNames | undefined
}

/** Names only: where other nodes are is not for everybody. */
export type ClusterNames = {
  readonly name: string
  /** Null while nobody leads. */
  readonly leader: string | null
}

/** The authenticators this program knows. */
export const installedAuthenticators: readonly string[] = ['authn']

export function nodeInfo(facts: InfoFacts): Json {
  const { role, name, settings } = facts
  const enabled = [...settings.authenticators].sort()
  return {
    release: API_VERSION,
    version: API_VERSION,
    role,
    container: name,
    services: { possum: { desired: 'i', status: 'i', name: 'holdfast', version: API_VERSION, arch: 'any' } },
    configuration: {
      conjur: {
        account: settings.account,
        role,
        hostname: name,
        ...clusterKeys(facts),
        trusted_proxies: [...settings.trustedProxies],
        trusted_proxies_source: facts.origins?.trusted_proxies ?? 'default',
        balancers: [...facts.balancers],
        balancers_source: facts.origins?.balancers ?? 'default',
        certificates: facts.certificates.map((certificate) => ({ ...certificate })),
        keys: { protection: 'none', state: 'unlocked', unprotected_files: facts.unprotectedKeyFiles },
        replication: { set: 'full', service_role: SERVES_ALL, protocol: PROTOCOL },
      },
    },
    authenticators: { installed: [...installedAuthenticators], configured: enabled, enabled },
    fips_mode: 'disabled',
    feature_flags: {},
  }
}

const clusterKeys = ({ cluster, name }: InfoFacts): { [key: string]: Json } =>
  cluster === undefined
    ? {}
    : { cluster_name: cluster.name, cluster_leader: cluster.leader, cluster_machine_name: name }
