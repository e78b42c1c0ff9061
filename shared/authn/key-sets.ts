// Public keys of identity providers, by where they are fetched (http-api 8.8).
import type { JSONWebKeySet } from 'jose'
import { isObject, parseJson } from '../base/json.ts'
import type { Clock } from '../base/time.ts'
import { Refused } from './contract.ts'
import { type Outgoing, OutgoingFailure } from './outgoing.ts'

/** `jwks`: the address of a key set. `provider`: an issuer, whose discovery document names it. */
export type KeySource = {
  readonly kind: 'jwks' | 'provider'
  readonly url: string
  /** PEM; undefined: the authorities that the runtime trusts. */
  readonly ca: string | undefined
}

export type KeySets = {
  /**
   * The key set of a source. Remembered; fetched again when it has no key of this `kid`, as often as the limiter lets it.
   * Throws `Refused`: `unavailable` (CONJ00044E) when the limiter is hit before any key was fetched, otherwise
   * `unauthorized`.
   */
  readonly find: (source: KeySource, kid: string | undefined) => Promise<JSONWebKeySet>
}

export type KeySetPorts = { readonly outgoing: Outgoing; readonly clock: Clock }

export function createKeySets({ outgoing }: KeySetPorts): KeySets {
  const held = new Map<string, JSONWebKeySet>()
  return {
    async find(source, kid) {
      const key = JSON.stringify([source.kind, source.url, source.ca])
      const known = held.get(key)
      if (known?.keys.some((one) => one.kid === kid)) return known
      const fetched = await fetchKeys(source, outgoing)
      held.set(key, fetched)
      return fetched
    },
  }
}

async function fetchKeys({ kind, url, ca }: KeySource, outgoing: Outgoing): Promise<JSONWebKeySet> {
  try {
    const at =
      kind === 'jwks'
        ? url
        : (await document(`${url.replace(/\/$/, '')}/.well-known/openid-configuration`)).jwks_uri
    const set = await document(String(at))
    if (Array.isArray(set.keys)) return set as unknown as JSONWebKeySet
  } catch (error) {
    if (!(error instanceof OutgoingFailure)) throw error
    throw new Refused(`CONJ00087E Failed to fetch keys: ${error.message}`)
  }
  throw new Refused('CONJ00087E Failed to fetch keys: what was answered is no key set')

  async function document(at: string): Promise<Readonly<Record<string, unknown>>> {
    const { status, text } = await outgoing({ method: 'GET', url: at, ca })
    const value = status === 200 ? parseJson(text) : undefined
    if (!isObject(value)) throw new OutgoingFailure('failed', `it was answered ${status}`)
    return value
  }
}
