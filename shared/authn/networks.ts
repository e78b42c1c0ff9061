// Which addresses an identity provider may have (SSRF): public ones, and what the operator has allowed.
import { type Address, bareHost, inRanges, parseAddress, parseRanges, type Range } from '../authz/address.ts'
import { OutgoingFailure } from './outgoing.ts'

/**
 * False for loopback, link-local (cloud metadata), private, shared and reserved addresses that no range allows, and for those
 * of IPv6 that stand for one of IPv4: behind a translator they lead to any.
 */
export function mayBeAsked(address: string, allowed: readonly Range[]): boolean {
  const parsed = parseAddress(address)
  if (parsed === undefined) return false
  return isPublic(parsed) || inRanges(parsed, allowed)
}

/** Of IPv6 one eighth is given out as public (RFC 4291 2.4); old forms such as ::127.0.0.1 lie outside. */
const GLOBAL_UNICAST = parseRanges(['2000::/3'], 'global unicast')

/** It looks public, and of each machine of Azure it is the one that runs it. */
const MACHINES_OWN = parseRanges(['168.63.129.16'], 'machines of Azure')

const isPublic = (address: Address): boolean =>
  address.range() === 'unicast' &&
  !inRanges(address, MACHINES_OWN) &&
  (address.kind() === 'ipv4' || inRanges(address, GLOBAL_UNICAST))

/**
 * Where a URL that stands in a variable leads. `host`: without the brackets of IPv6; numbers in any spelling (decimal,
 * hexadecimal, short, with a dot at the end) have become addresses.
 */
export type Destination = { readonly url: URL; readonly host: string }

/** Throws `OutgoingFailure`. A name is judged when it has been looked up. */
export function destinationOf(given: string, allowed: readonly Range[]): Destination {
  const url = URL.parse(given)
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new OutgoingFailure('failed', 'its address is no http or https URL')
  // They would be sent to it.
  if (url.username !== '' || url.password !== '')
    throw new OutgoingFailure('not_allowed', 'its address holds a user')
  const host = bareHost(url)
  if (parseAddress(host) !== undefined && !mayBeAsked(host, allowed)) throw notAllowed()
  return { url, host }
}

export const notAllowed = (): OutgoingFailure =>
  new OutgoingFailure(
    'not_allowed',
    'its address is no public one: authn_private_networks says which others may be asked',
  )
