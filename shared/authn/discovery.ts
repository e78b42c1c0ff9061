// Where an identity provider is asked, as it says itself (OpenID Connect Discovery 1.0). Refusals are `Refused` with
// CONJ00010E and CONJ00011E.
import { isObject, parseJson } from '../base/json.ts'
import { Refused } from './contract.ts'
import { type Outgoing, type OutgoingAnswer, OutgoingFailure, type OutgoingRequest } from './outgoing.ts'

export type Provider = {
  /** Its issuer, as the operator has set it; with or without a slash at the end. */
  readonly url: string
  /** PEM; undefined: the authorities that the runtime trusts. */
  readonly ca: string | undefined
}

/** Addresses are http or https, and https where the provider's own is. */
export type Discovered = {
  readonly jwksUri: string
  /** Undefined: it names none that can be used. */
  readonly authorizationEndpoint: string | undefined
  readonly tokenEndpoint: string | undefined
}

/** Throws `Refused`. */
export type Discovery = (provider: Provider) => Promise<Discovered>

/**
 * Remembers nothing: a provider that is away is away. Who asks for a document that is being fetched waits for the same
 * answer: nobody who may ask for the list of providers makes a node ask one of them twice at once.
 */
export function createDiscovery(outgoing: Outgoing): Discovery {
  const underWay = new Map<string, Promise<Discovered>>()
  return (provider) => {
    const key = JSON.stringify([provider.url, provider.ca])
    const same = underWay.get(key)
    if (same !== undefined) return same
    const fetched = discover(provider, outgoing).finally(() => underWay.delete(key))
    underWay.set(key, fetched)
    return fetched
  }
}

/** Throws `Refused`. */
export async function discover(provider: Provider, outgoing: Outgoing): Promise<Discovered> {
  const base = URL.parse(provider.url)
  // An issuer has neither (section 3): behind them the well-known path would be a part of them.
  if (base !== null && (base.search !== '' || base.hash !== ''))
    throw failed('its address has a query or a fragment')
  const url = `${withoutSlash(provider.url)}/.well-known/openid-configuration`
  const { status, text } = await asked(outgoing, { method: 'GET', url, ca: provider.ca })
  if (status !== 200) throw failed(`it was answered ${status}`)
  const document = parseJson(text)
  if (!isObject(document)) throw failed('its answer is no JSON object')
  // Otherwise one provider could speak for another (section 4.3).
  if (!issuersOf(provider).some((issuer) => issuer === document.issuer))
    throw failed('its document names another issuer')
  const jwksUri = endpoint(document.jwks_uri, provider)
  if (jwksUri === undefined) throw failed('its document names no keys that can be fetched')
  return {
    jwksUri,
    authorizationEndpoint: endpoint(document.authorization_endpoint, provider),
    tokenEndpoint: endpoint(document.token_endpoint, provider),
  }
}

/** How a provider may name itself in its tokens: operators write a slash at the end, or leave it out. */
export function issuersOf({ url }: Pick<Provider, 'url'>): readonly string[] {
  const bare = withoutSlash(url)
  return [bare, `${bare}/`]
}

/** An issuer is the same with a slash at its end. */
export const withoutSlash = (url: string): string => url.trim().replace(/\/$/, '')

/** Undefined for what nobody should be sent to: a browser follows one of them, a client's secret another. */
function endpoint(given: unknown, provider: Provider): string | undefined {
  const scheme = typeof given === 'string' ? URL.parse(given)?.protocol : undefined
  const isSafe = scheme === 'https:' || (scheme === 'http:' && /^http:/i.test(provider.url.trim()))
  return isSafe ? (given as string) : undefined
}

const failed = (why: string): Refused => new Refused(`CONJ00011E Provider cannot be discovered: ${why}`)

const refusalOf = ({ kind, message }: OutgoingFailure): Refused =>
  kind === 'timeout' ? new Refused(`CONJ00010E Provider discovery timed out: ${message}`) : failed(message)

/** What a provider answers. Throws what `refusing` says when it does not. */
export async function asked(
  outgoing: Outgoing,
  { headers, ...request }: OutgoingRequest,
  refusing: (failure: OutgoingFailure) => Refused = refusalOf,
): Promise<OutgoingAnswer> {
  try {
    // The operator expects that somebody is checked with it.
    if (request.ca !== undefined && !/^https:/i.test(request.url))
      throw new OutgoingFailure(
        'failed',
        'TLS misconfiguration: there is a ca-cert, and its address is not https',
      )
    return await outgoing({ ...request, headers: { Accept: 'application/json', ...headers } })
  } catch (error) {
    throw error instanceof OutgoingFailure ? refusing(error) : error
  }
}
