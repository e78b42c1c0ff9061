// Who is calling, behind proxies; and whether an address lies in a list of ranges (http-api 3, cluster 15).
import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'
import { DomainError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'

export type Address = ipaddr.IPv4 | ipaddr.IPv6
export type Range = readonly [Address, number]

/** Of a URL; an IPv6 address without its brackets. */
export const bareHost = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, '')

/** Undefined when the text is not an address. IPv4 inside IPv6 is IPv4. */
export function parseAddress(text: string): Address | undefined {
  const bare = text.trim()
  return ipaddr.IPv4.isValidFourPartDecimal(bare) || ipaddr.IPv6.isValid(bare)
    ? ipaddr.process(bare)
    : undefined
}

export type CidrFault = { readonly message: string }

/** `10.0.0.0/8` or a single address, in its normal form with mask, or the message of policy 2.3. */
export function normaliseCidr(text: string): string | CidrFault {
  const invalid = { message: `Invalid IP address or CIDR range '${text}'` }
  const [host, mask, more] = text.split('/')
  const address = more === undefined ? parseAddress(host ?? '') : undefined
  if (address === undefined || (mask !== undefined && !/^\d{1,3}$/.test(mask))) return invalid
  const width = address.kind() === 'ipv4' ? 32 : 128
  const bits = mask === undefined ? width : Number(mask)
  if (bits > width) return invalid
  const network = networkOf(address, bits)
  if (network !== address.toString()) {
    return {
      message: `${invalid.message}: Value has bits set to right of mask. Did you mean '${network}/${bits}'?`,
    }
  }
  return `${network}/${bits}`
}

function networkOf(address: Address, bits: number): string {
  const bytes = address.toByteArray()
  bytes.forEach((byte, i) => {
    const keep = Math.min(8, Math.max(0, bits - i * 8))
    bytes[i] = byte & (0xff << (8 - keep)) & 0xff
  })
  return ipaddr.fromByteArray(bytes).toString()
}

/** Parsed once; throws `settings_invalid` naming the entry. */
export function parseRanges(texts: readonly string[], setting: string): readonly Range[] {
  return texts.map((text) => {
    const normal = normaliseCidr(text.trim())
    if (typeof normal !== 'string') {
      throw new DomainError('settings_invalid', `CONJ00065E ${setting}: ${normal.message}`, {
        target: setting,
      })
    }
    return ipaddr.parseCIDR(normal)
  })
}

export function inRanges(address: Address, ranges: readonly Range[]): boolean {
  return ranges.some(([network, bits]) => address.kind() === network.kind() && address.match(network, bits))
}

/** True when the list is empty (no restriction) or one range holds the address. Texts are normalised CIDRs. */
export function originAllowed(clientIp: string, cidrs: readonly string[]): boolean {
  if (cidrs.length === 0) return true
  const address = parseAddress(clientIp)
  return (
    address !== undefined &&
    inRanges(
      address,
      cidrs.map((cidr) => ipaddr.parseCIDR(cidr)),
    )
  )
}

const loopback: readonly Range[] = [ipaddr.parseCIDR('127.0.0.1/32'), ipaddr.parseCIDR('::1/128')]

const believed = (trustedProxies: readonly string[]): readonly Range[] => [
  ...loopback,
  ...parseRanges(trustedProxies, 'trusted_proxies'),
]

/** Whether a TCP peer is a proxy whose headers are believed. Throws `settings_invalid` as `clientAddressThrough` does. */
export function proxiesOf(trustedProxies: readonly string[]): (peer: string) => boolean {
  const trusted = believed(trustedProxies)
  return (peer) => {
    const address = parseAddress(peer)
    return address !== undefined && inRanges(address, trusted)
  }
}

export type ClientAddress = (peer: string, forwardedFor: string | undefined) => string

/**
 * The peer, unless it is trusted; then the first address from the right of X-Forwarded-For that is not trusted,
 * or the left-most when all are. Throws `settings_invalid` when made with a malformed entry.
 */
export function clientAddressThrough(trustedProxies: readonly string[]): ClientAddress {
  const trusted = believed(trustedProxies)
  const plain = new LRUCache<string, string>({ max: limits.addressesRemembered })
  return (peer, forwardedFor) => {
    const known = forwardedFor === undefined ? plain.get(peer) : undefined
    if (known !== undefined) return known
    const direct = parseAddress(peer)
    if (direct === undefined) return peer
    if (forwardedFor === undefined) plain.set(peer, direct.toString())
    if (forwardedFor === undefined || !inRanges(direct, trusted)) return direct.toString()
    const chain = forwardedFor.split(',').map(parseAddress)
    let leftmost = direct
    for (const address of chain.reverse()) {
      // A hop that is no address ends what can be believed.
      if (address === undefined) break
      leftmost = address
      if (!inRanges(address, trusted)) break
    }
    return leftmost.toString()
  }
}
