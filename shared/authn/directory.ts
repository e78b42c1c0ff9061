// Directories (LDAP, RFC 4511): what a conversation with one is to authn-ldap, and how its address is written.
import { bareHost } from '../authz/address.ts'

export type DirectoryServer = {
  readonly host: string
  readonly port: number
  /** `plain`: in clear. `tls`: StartTLS, before anything else is said. `ssl`: TLS from the first byte. */
  readonly connect: 'plain' | 'tls' | 'ssl'
  /** PEM of the authorities that it is checked with; undefined: those that the runtime trusts. */
  readonly ca: string | undefined
}

export type Directory = {
  /**
   * Undefined: it takes this name with this password; otherwise its result code (RFC 4511 A). Neither may be empty: either
   * would be anonymous, which is no proof (RFC 4513 5.1.2).
   */
  readonly bind: (name: string, password: string) => Promise<number | undefined>
  /** Names of the entries below `base` that this filter (RFC 4515) finds. Referrals are not followed. */
  readonly find: (base: string, filter: string) => Promise<readonly string[]>
}

/** What the operator says for webservices that do not say it themselves. */
export type OwnDirectory = {
  readonly uri: string | undefined
  readonly base: string | undefined
  readonly bindDn: string | undefined
  readonly bindPassword: string | undefined
  readonly filter: string | undefined
}

export type Directories = {
  readonly own: OwnDirectory
  /** Rejects with `OutgoingFailure`: it may not be asked, is away, late, or speaks of something else. */
  readonly talk: <T>(
    server: DirectoryServer,
    conversation: (directory: Directory) => Promise<T>,
  ) => Promise<T>
}

export type NamedServer = {
  readonly host: string
  readonly port: number | undefined
  readonly connect: 'plain' | 'ssl'
}

/** `ldap://host:389` or `ldaps://host`; undefined for other addresses and for one with a user in it. */
export function ldapServer(uri: string): NamedServer | undefined {
  const url = URL.parse(uri)
  if (url === null || !/^ldaps?:$/.test(url.protocol)) return undefined
  if (url.hostname === '' || url.username !== '' || url.password !== '') return undefined
  return {
    host: bareHost(url),
    port: url.port === '' ? undefined : Number(url.port),
    connect: url.protocol === 'ldaps:' ? 'ssl' : 'plain',
  }
}
