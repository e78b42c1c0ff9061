// What can be wrong with the settings of an authenticator, and with the provider that they name (http-api 8.10). Messages
// name variables and never hold what is in them.
import { isObject, parseJson } from '../base/json.ts'
import { type AuthnSettings, Refused, type Stored } from './contract.ts'
import type { ClusterDoor } from './k8s/cluster.ts'
import type { KeySets, KeySource } from './key-sets.ts'

/** The reference's class of an error, and its text with the code of http-api 17.1. */
export type Fault = { readonly error: string; readonly message: string }

/** Where the variables are, and what is in them. */
export type Settings = Pick<Stored, 'prefix' | 'values'>

type Check = (stored: Settings) => Fault | undefined

/** Whom a status check may ask. */
export type StatusIo = {
  readonly keySets: KeySets
  readonly cluster: ClusterDoor
  readonly settings: AuthnSettings
}

export type StatusCheck = {
  /** Variables that it looks at, by name. */
  readonly variables: readonly string[]
  readonly check: Check
  /** Asks whoever else must answer, when nothing else is wrong. */
  readonly ask?: (stored: Settings, io: StatusIo) => Promise<Fault | undefined>
}

/** The reference's classes of what providers are refused for. */
const classes: Readonly<Record<string, string>> = {
  CONJ00010E: 'Authentication::OAuth::ProviderDiscoveryTimeout',
  CONJ00011E: 'Authentication::OAuth::ProviderDiscoveryFailed',
  CONJ00012E: 'Authentication::OAuth::FetchProviderKeysFailed',
  CONJ00087E: 'Authentication::AuthnJwt::FetchJwksKeysFailed',
  CONJ00088E: 'Authentication::AuthnJwt::FetchJwksUriKeysNotFound',
  CONJ00093E: 'Authentication::AuthnJwt::FailedToConvertResponseToJwks',
}

/** Of a refusal: its class by its code, or `other`. Throws what is none. */
export function faultOf(error: unknown, byCode: Readonly<Record<string, string>>, other: string): Fault {
  if (!(error instanceof Refused)) throw error
  const { message } = error
  return { error: byCode[message.slice(0, 'CONJ00000E'.length)] ?? other, message }
}

/** Asks the provider for the keys of this source, when there is one. */
const keysOf =
  (sourceOf: (stored: Settings, settings: AuthnSettings) => KeySource | undefined) =>
  async (stored: Settings, { keySets, settings }: StatusIo): Promise<Fault | undefined> => {
    const source = sourceOf(stored, settings)
    if (source === undefined) return undefined
    try {
      await keySets.check(source)
      return undefined
    } catch (error) {
      return faultOf(error, classes, 'Authentication')
    }
  }

/** Of the first of these variables that has a value. */
const keysBy =
  (...names: readonly ('jwks-uri' | 'provider-uri')[]) =>
  ({ values }: Settings): KeySource | undefined => {
    const name = names.find((one) => values.get(one) !== undefined)
    if (name === undefined) return undefined
    const kind = name === 'jwks-uri' ? 'jwks' : 'provider'
    return { kind, url: values.get(name)!.trim(), ca: values.get('ca-cert') }
  }

/** These must exist and have values. */
const needed =
  (...names: readonly string[]): Check =>
  (stored) => {
    const absent = names.find((name) => !stored.values.has(name))
    if (absent === undefined) return filled(...names)(stored)
    return {
      error: 'Conjur::RequiredResourceMissing',
      message: `CONJ00036E Missing required resource: ${stored.prefix}${absent}`,
    }
  }

/** Of these, those that exist must have values. */
const filled =
  (...names: readonly string[]): Check =>
  ({ prefix, values }) => {
    const unset = names.find((name) => values.has(name) && values.get(name) === undefined)
    if (unset === undefined) return undefined
    return {
      error: 'Conjur::RequiredSecretMissing',
      message: `CONJ00037E Missing value for resource: ${prefix}${unset}`,
    }
  }

/** It must be an address that a provider can be asked at. */
const address =
  (name: string): Check =>
  ({ prefix, values }) => {
    if (/^https?:$/.test(URL.parse(values.get(name)?.trim() ?? '')?.protocol ?? '')) return undefined
    return {
      error: 'Authentication::OAuth::ProviderDiscoveryFailed',
      message: `CONJ00011E Provider cannot be asked: ${prefix}${name} is no http or https address`,
    }
  }

/** `{"type":"jwks","value":{"keys":[…]}}`. */
const publicKeys: Check = ({ prefix, values }) => {
  const set = parseJson(values.get('public-keys') ?? '')
  const keys = isObject(set) && set.type === 'jwks' && isObject(set.value) ? set.value.keys : undefined
  if (Array.isArray(keys) && keys.length > 0 && keys.every(isObject)) return undefined
  return {
    error: 'Authentication::AuthnJwt::InvalidPublicKeys',
    message: `CONJ00120E Failed to parse ${prefix}public-keys: it is no key set of the type jwks`,
  }
}

/** The first thing that one of them finds. */
const all =
  (...checks: readonly Check[]): Check =>
  (stored) => {
    for (const check of checks) {
      const fault = check(stored)
      if (fault !== undefined) return fault
    }
    return undefined
  }

/** Google's keys, which need no setting here. */
export const googleSettings: StatusCheck = {
  variables: [],
  check: all(),
  ask: keysOf((_, { gcpProvider }) => ({ kind: 'provider', url: gcpProvider, ca: undefined })),
}

export const providerSettings: StatusCheck = {
  variables: ['provider-uri'],
  check: all(needed('provider-uri'), address('provider-uri')),
  ask: keysOf(keysBy('provider-uri')),
}

/** The authority that signs for pods (http-api 8.9). */
export const authoritySettings: StatusCheck = {
  variables: ['ca/cert', 'ca/key'],
  check: needed('ca/cert', 'ca/key'),
}

const CODE_FLOW = ['client-id', 'client-secret', 'claim-mapping']
const OIDC_OPTIONAL = ['redirect-uri', 'response-type', 'provider-scope', 'name', 'token-ttl', 'ca-cert']

/** Which flow it has is known from the variables that there are (http-api 8.7). */
export const oidcSettings: StatusCheck = {
  variables: ['provider-uri', 'id-token-user-property', ...CODE_FLOW, ...OIDC_OPTIONAL],
  check(stored) {
    const codeFlow = CODE_FLOW.some((name) => stored.values.has(name))
    const names = codeFlow ? CODE_FLOW : ['id-token-user-property']
    return all(providerSettings.check, needed(...names), filled(...OIDC_OPTIONAL))(stored)
  },
  ask: keysOf(keysBy('provider-uri')),
}

const KEY_SOURCES = ['jwks-uri', 'provider-uri', 'public-keys']
const JWT_OPTIONAL = ['ca-cert', 'issuer', 'audience', 'token-app-property', 'identity-path']
const JWT_LISTS = ['enforced-claims', 'claim-aliases']

const signingKeys = (message: string): Fault => ({
  error: 'Authentication::AuthnJwt::InvalidSigningKeySettings',
  message: `CONJ00122E Invalid signing key settings: ${message}`,
})

/** Where the keys are fetched; undefined: they stand in a variable. */
export const jwtKeys = keysBy('jwks-uri', 'provider-uri')

/** Exactly one source of keys, and what goes with it (http-api 8.8). */
export const jwtSettings: StatusCheck = {
  variables: [...KEY_SOURCES, ...JWT_OPTIONAL, ...JWT_LISTS],
  check(stored) {
    const has = (name: string): boolean => stored.values.has(name)
    const [source, another] = KEY_SOURCES.filter(has)
    if (source === undefined) return signingKeys(`one of ${KEY_SOURCES.join(', ')} must be defined`)
    if (another !== undefined) return signingKeys(`${source} and ${another} cannot be defined simultaneously`)
    const fetched = source !== 'public-keys'
    if (!fetched && has('ca-cert')) return signingKeys('ca-cert cannot be defined together with public-keys')
    if (!fetched && !has('issuer')) return signingKeys('issuer must be defined together with public-keys')
    const optional = filled(...JWT_OPTIONAL, ...JWT_LISTS)
    return all(needed(source), fetched ? address(source) : publicKeys, optional)(stored)
  },
  ask: keysOf(jwtKeys),
}
