// Where people go to log in: the list of providers that browsers and command lines ask for (http-api 8.7).
import { toBase64Url, toHex } from '../base/bytes.ts'
import type { Json } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { sha256 } from '../base/native-crypto.ts'
import { makeId } from '../id/resource-id.ts'
import { settingsQuery } from '../ledger/reads/authenticator.ts'
import { type ReadStore, readFacts, statementsOf } from '../ledger/store.ts'
import type { Keyring } from '../secret/keyring.ts'
import { branchOf } from './catalogue.ts'
import { Refused, type Stored } from './contract.ts'
import type { Discovery } from './discovery.ts'
import { type CodeFlow, codeFlowOf } from './oidc.ts'
import { openedValues } from './settings.ts'
import { oidcSettings } from './status-checks.ts'

const NAME = 'authn-oidc'

/** One that can be used: it is set up for the code flow, and its provider answers. */
export type Usable = {
  readonly service: string
  readonly flow: CodeFlow
  readonly authorizationEndpoint: string
}

type Io = { readonly store: ReadStore; readonly keyring: Keyring; readonly discovery: Discovery }

/** `configured`: names of authenticators, `authn-oidc/okta`. In their order; the providers are asked all at once. */
export async function usableProviders(
  account: string,
  configured: readonly string[],
  io: Io,
): Promise<readonly Usable[]> {
  const services = configured
    .filter((name) => name.startsWith(`${NAME}/`))
    .map((name) => name.slice(NAME.length + 1))
    .slice(0, limits.oidcProviders)
  const usable = await Promise.all(
    (await storedOf(account, services, io)).map(async ([service, stored]) => {
      try {
        const flow = codeFlowOf(stored)
        const { authorizationEndpoint } = await io.discovery(flow.provider)
        return authorizationEndpoint === undefined ? [] : [{ service, flow, authorizationEndpoint }]
      } catch (error) {
        if (error instanceof Refused) return []
        throw error
      }
    }),
  )
  return usable.flat()
}

async function storedOf(
  account: string,
  services: readonly string[],
  { store, keyring }: Io,
): Promise<readonly (readonly [service: string, Stored])[]> {
  const prefixOf = (service: string): string => makeId(account, 'variable', `${branchOf(NAME, service)}/`)
  // By number: a service may be called as it likes, and an object has its own order and members.
  const batch = Object.fromEntries(
    services.map((service, i) => [i, settingsQuery(prefixOf(service), oidcSettings.variables)]),
  )
  const { rows } = await store.read({ statements: statementsOf(batch), caller: undefined })
  return Object.values(readFacts(batch, rows)).map((variables, i) => {
    const prefix = prefixOf(services[i]!)
    return [services[i]!, { prefix, values: openedValues(variables, keyring), annotations: new Map() }]
  })
}

/** What a client needs for one login: it goes to `redirect_uri`, and comes back with the code and with the two texts. */
export function loginItem(
  { service, flow, authorizationEndpoint }: Usable,
  random: (length: number) => Uint8Array,
): Json {
  const [nonce, verifier] = [toHex(random(25)), toHex(random(25))]
  const parameters: readonly (readonly [string, string | undefined])[] = [
    ['client_id', flow.clientId],
    ['response_type', 'code'],
    ['scope', flow.scope],
    ['nonce', nonce],
    ['code_challenge', toBase64Url(sha256(verifier))],
    ['code_challenge_method', 'S256'],
    ['redirect_uri', flow.redirectUri],
  ]
  const query = parameters.flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`],
  )
  // Some providers tell their tenants apart by a query of their own.
  const mark = authorizationEndpoint.includes('?') ? '&' : '?'
  return {
    service_id: service,
    type: NAME,
    name: flow.name ?? titleOf(service),
    nonce,
    code_verifier: verifier,
    redirect_uri: `${authorizationEndpoint}${mark}${query.join('&')}`,
  }
}

/** `okta-prod` → `Okta Prod`. */
const titleOf = (service: string): string =>
  service
    .replace(/([a-z\d])([A-Z])/g, '$1 $2')
    .replace(/[-_\s]+/g, ' ')
    .trim()
    .toLowerCase()
    .replace(/\b[a-z]/g, (letter) => letter.toUpperCase())
