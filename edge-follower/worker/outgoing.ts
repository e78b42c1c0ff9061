// The door to identity providers in a Worker. The platform resolves names and reaches no private network of ours; it has
// authorities of its own and takes no others.
import { boundedText } from '#shared/api/bounded-text.ts'
import type { ClusterDoor } from '#shared/authn/k8s/cluster.ts'
import { destinationOf, notAllowed } from '#shared/authn/networks.ts'
import { type Outgoing, OutgoingFailure } from '#shared/authn/outgoing.ts'
import type { Range } from '#shared/authz/address.ts'
import { limits } from '#shared/base/limits.ts'

/** Names that are no public ones wherever they are looked up (RFC 6761, RFC 6762, and the cloud's own). */
const LOCAL = /(^|\.)(localhost|local|internal)\.?$/

const PLATFORM_ONLY = 'a Worker checks certificates with the authorities of its platform only'

const notAsked = async (): Promise<never> => {
  throw new OutgoingFailure('not_allowed', `${PLATFORM_ONLY}, and a cluster has its own`)
}

/** Clusters have authorities of their own. */
export const noCluster: ClusterDoor = { own: async () => undefined, ask: notAsked, run: notAsked }

export function outgoingThrough(allowed: readonly Range[]): Outgoing {
  return async ({ method, url: given, headers, body, ca }) => {
    const { url, host } = destinationOf(given, allowed)
    if (ca !== undefined) throw new OutgoingFailure('not_allowed', PLATFORM_ONLY)
    if (LOCAL.test(host)) throw notAllowed()
    try {
      const response = await fetch(url, {
        method,
        redirect: 'manual',
        signal: AbortSignal.timeout(limits.providerMs),
        ...(headers === undefined ? {} : { headers: { ...headers } }),
        ...(body === undefined ? {} : { body }),
      })
      const text = await boundedText(response, limits.providerBytes)
      if (text === undefined) throw new OutgoingFailure('failed', 'its answer is too large, or no text')
      return { status: response.status, text }
    } catch (error) {
      if (error instanceof OutgoingFailure) throw error
      const late = error instanceof Error && error.name === 'TimeoutError'
      throw late
        ? new OutgoingFailure('timeout', `no answer within ${limits.providerMs} ms`)
        : new OutgoingFailure('failed', 'it cannot be asked')
    }
  }
}
