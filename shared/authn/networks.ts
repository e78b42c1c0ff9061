// Which addresses an identity provider may have (SSRF): public ones, and what the operator has allowed.
import { inRanges, parseAddress, type Range } from '../authz/address.ts'

/** False for loopback, link-local (cloud metadata), private and reserved addresses that no range allows. */
export function mayBeAsked(address: string, allowed: readonly Range[]): boolean {
  const parsed = parseAddress(address)
  if (parsed === undefined) return false
  return parsed.range() === 'unicast' || inRanges(parsed, allowed)
}
