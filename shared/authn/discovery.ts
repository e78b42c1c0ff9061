// Where an identity provider is asked, as it says itself (OpenID Connect Discovery 1.0, section 4).
import { isObject, parseJson } from '../base/json.ts'
import { Refused } from './contract.ts'
import { type Outgoing, OutgoingFailure } from './outgoing.ts'

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

/** Throws `Refused` (CONJ00010E, CONJ00011E). */
export type Discovery = (provider: Provider) => Promise<Discovered>

const withoutSlash = (url: string): string => url.trim().replace(/\/$/, '')

/** How a provider may name itself in its tokens: operators write a slash at the end, or leave it out. */
export function issuersOf({ url }: Pick<Provider, 'url'>): readonly string[] {
  const bare = withoutSlash(url)
  return [bare, `${bare}/`]
}

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
    const fetched = fetchDocument(provider, outgoing).finally(() => underWay.delete(key))
    underWay.set(key, fetched)
    return fetched
  }
}

async function fetchDocument(provider: Provider, outgoing: Outgoing): Promise<Discovered> {
  const url = `${withoutSlash(provider.url)}/.well-known/openid-configuration`
  const { status, text } = await asked(outgoing({ method: 'GET', url, ca: provider.ca }))
  const document = status === 200 ? parseJson(text) : undefined
  if (!isObject(document)) throw failed(`it was answered ${status}, or with no document`)
  // Otherwise one provider could speak for another (section 4.3).
  if (!issuersOf(provider).includes(String(document.issuer)))
    throw failed('it says that it is another issuer')
  const jwksUri = endpoint(document.jwks_uri, provider)
  if (jwksUri === undefined) throw failed('it names no keys that can be fetched')
  return {
    jwksUri,
    authorizationEndpoint: endpoint(document.authorization_endpoint, provider),
    tokenEndpoint: endpoint(document.token_endpoint, provider),
  }
}

/** Undefined for what nobody should be sent to: a browser follows one of them, a client secret another. */
function endpoint(given: unknown, provider: Provider): string | undefined {
  const scheme = typeof given === 'string' ? URL.parse(given)?.protocol : undefined
  const isSafe = scheme === 'https:' || (scheme === 'http:' && /^http:/i.test(provider.url.trim()))
  return isSafe ? (given as string) : undefined
}

const failed = (why: string): Refused => new Refused(`CONJ00011E Provider discovery failed: ${why}`)

/** What a provider answers; that it did not is a refusal. */
export async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (!(error instanceof OutgoingFailure)) throw error
    throw error.kind === 'timeout'
      ? new Refused(`CONJ00010E Provider discovery timed out: ${error.message}`)
      : failed(error.message)
  }
}
