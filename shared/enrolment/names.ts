// Who a node is, as its certificate says it, and which links each class of nodes may use (cluster 4). One place: the
// authority writes these names, and every listener reads them.
import { limits } from '../base/limits.ts'

/** Of certificates. Any control node may lead, so there is no class for the Leader. */
export const roleClasses = ['control', 'dr', 'follower'] as const
export type RoleClass = (typeof roleClasses)[number]

/** What a node joins as. */
export const nodeKinds = ['standby', 'dr', 'follower'] as const
export type NodeKind = (typeof nodeKinds)[number]

export const classOf: Readonly<Record<NodeKind, RoleClass>> = {
  standby: 'control',
  dr: 'dr',
  follower: 'follower',
}

/** Who may use a link as the one that asks, and which class answers it. */
export const links = {
  changes: { from: ['follower'], does: 'the change stream' },
  audit: { from: ['follower'], does: 'the audit stream' },
  renewal: { from: ['control', 'dr', 'follower'], does: 'the renewal of certificates' },
  replication: { from: ['control', 'dr'], does: 'physical replication' },
  coordination: { from: ['control', 'dr'], does: 'the coordination store' },
} as const satisfies Readonly<Record<string, { from: readonly RoleClass[]; does: string }>>
export type LinkName = keyof typeof links

export const mayUse = (link: LinkName, roleClass: RoleClass): boolean =>
  (links[link].from as readonly RoleClass[]).includes(roleClass)

/** A host name as well: it stands in certificates, in URLs and as the name of a Postgres role (63 bytes). */
export const NODE_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/
export const CLUSTER_ID = /^[0-9a-f]{32}$/
/** A host name or an address, with a port. */
export const ADDRESS = /^(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]):\d{1,5}$/

export const hostOf = (address: string): string =>
  address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')

export type NodeName = {
  readonly clusterId: string
  readonly roleClass: RoleClass
  readonly node: string
}

export const uriOf = ({ clusterId, roleClass, node }: NodeName): string =>
  `spiffe://${clusterId}/${roleClass}/${node}`

/** Names that end so are the authority's alone to give. */
const reserved = (clusterId: string): string => `.${clusterId}.internal`

/** In the certificates of those that may use the coordination store: etcd knows whom to let in by a host name only. */
export const storeUserOf = (clusterId: string): string => `coordination${reserved(clusterId)}`

/** The host names of a certificate, of those that were asked for: nobody may ask for a reserved one. */
export const hostsFor = ({ clusterId, roleClass }: NodeName, asked: readonly string[]): string[] => {
  const given = asked.filter((host) => !host.toLowerCase().endsWith(reserved(clusterId)))
  return [...new Set([...given, ...(mayUse('coordination', roleClass) ? [storeUserOf(clusterId)] : [])])]
}

const URI = new RegExp(
  `^URI:spiffe://([0-9a-f]{32})/(${roleClasses.join('|')})/(${NODE_NAME.source.slice(1, -1)})$`,
)

/** From the text form of a certificate's alternative names; undefined when they name no node, or more than one. */
export function nameIn(alternativeNames: string | undefined): NodeName | undefined {
  const uris = (alternativeNames ?? '').split(', ').filter((name) => name.startsWith('URI:'))
  const match = uris.length === 1 ? URI.exec(uris[0]!) : null
  if (match === null) return undefined
  return { clusterId: match[1]!, roleClass: match[2] as RoleClass, node: match[3]! }
}

/** Wall times, milliseconds. */
export type Validity = { readonly notBefore: number; readonly notAfter: number }

/** At two thirds of the time since a certificate was issued: it is dated back a little, for clocks that are behind. */
export const renewalDueAt = ({ notBefore, notAfter }: Validity): number =>
  notAfter - (notAfter - notBefore - limits.certificateBackdatedMs) / 3

/** What a connection showed, once the TLS library has looked at it. */
export type Shown =
  | { readonly kind: 'nothing' }
  /** Not of the cluster's authority, or run out. */
  | { readonly kind: 'untrusted'; readonly why: string }
  | {
      readonly kind: 'trusted'
      readonly serial: string
      readonly name: NodeName | undefined
      readonly notAfter: number
    }
