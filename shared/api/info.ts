// What `/info` says of a node (cluster 10). The same for every role.
import type { Json } from '../base/json.ts'
import { PROTOCOL } from '../replication/messages.ts'
import type { ApiSettings } from './settings.ts'

/** The version of the API we speak: clients compare it before they use newer routes. */
export const API_VERSION = '1.24.0'

export type InfoFacts = {
  readonly role: 'master' | 'follower'
  readonly name: string
  readonly settings: ApiSettings
  /** Files on this node that hold a key in clear. */
  readonly unprotectedKeyFiles: number
}

/** The authenticators this program knows. */
export const installedAuthenticators: readonly string[] = ['authn']

export function nodeInfo({ role, name, settings, unprotectedKeyFiles }: InfoFacts): Json {
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
        trusted_proxies: [...settings.trustedProxies],
        certificates: [],
        keys: { protection: 'none', state: 'unlocked', unprotected_files: unprotectedKeyFiles },
        replication: { set: 'full', protocol: PROTOCOL },
      },
    },
    authenticators: { installed: [...installedAuthenticators], configured: enabled, enabled },
    fips_mode: 'disabled',
    feature_flags: {},
  }
}
