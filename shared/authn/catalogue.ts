// One row per authenticator: all there is to know about it (http-api 8, 15). Code takes a row and never asks for a name.
import { azureProver } from './azure.ts'
import type { Prover } from './contract.ts'
import { type Fields, missingWords } from './fields.ts'
import { gcpProver } from './gcp.ts'
import { iamProver } from './iam.ts'
import { jwtProver } from './jwt.ts'
import { k8sProver } from './k8s/prover.ts'
import { k8sStatus } from './k8s/status.ts'
import { ldapProver } from './ldap.ts'
import { oidcProver } from './oidc.ts'
import {
  googleSettings,
  jwtSettings,
  oidcSettings,
  providerSettings,
  type StatusCheck,
} from './status-checks.ts'

export type Authenticator = {
  /** What V2 calls it; the first name is printed. None: V2 does not know it. */
  readonly types: readonly string[]
  /** There may be many, each with a service id and a branch of its own; otherwise V2 calls the only one `default`. */
  readonly services: boolean
  /** Whether whoever makes one has to say settings. */
  readonly data: 'required' | 'optional' | 'forbidden'
  readonly fields: Fields
  /** What is wrong with the fields that were given, in words. */
  readonly fieldFault: (has: (field: string) => boolean) => string | undefined
  /** Absent: it cannot be asked for its status. */
  readonly status?: StatusCheck
  /** Absent: nobody authenticates by it here (`authn` has routes of its own). */
  readonly prover?: Prover
}

const anyFields = (): undefined => undefined

const authenticators: Readonly<Record<string, Authenticator>> = {
  authn: { types: [], services: false, data: 'forbidden', fields: {}, fieldFault: anyFields },
  'authn-jwt': {
    types: ['jwt'],
    services: true,
    data: 'required',
    fields: {
      jwks_uri: 'text',
      public_keys: 'text',
      issuer: 'text',
      audience: 'text',
      ca_cert: 'text',
      'identity.token_app_property': 'text',
      'identity.identity_path': 'text',
      'identity.enforced_claims': 'list',
      'identity.claim_aliases': 'map',
    },
    fieldFault(has) {
      const [fetched, given] = [has('jwks_uri'), has('public_keys')]
      if (!fetched && !given) return missingWords('jwks_uri or public_keys')
      if (fetched && given) return together('jwks_uri', 'public_keys')
      if (given && !has('issuer')) return missingWords('issuer')
      return has('identity.identity_path') && !has('identity.token_app_property')
        ? missingWords('token_app_property')
        : undefined
    },
    status: jwtSettings,
    prover: jwtProver,
  },
  'authn-oidc': {
    types: ['oidc'],
    services: true,
    data: 'required',
    fields: {
      provider_uri: 'text',
      client_id: 'text',
      client_secret: 'text',
      claim_mapping: 'text',
      id_token_user_property: 'text',
      redirect_uri: 'text',
      name: 'text',
      ca_cert: 'text',
      token_ttl: 'text',
      provider_scope: 'text',
    },
    fieldFault(has) {
      if (!has('provider_uri')) return missingWords('provider_uri')
      const codeFlow = ['client_id', 'client_secret', 'redirect_uri', 'claim_mapping']
      const [given, absent] = [codeFlow.filter(has), codeFlow.filter((name) => !has(name))]
      if (!has('id_token_user_property')) return absent.length > 0 ? missingWords(...absent) : undefined
      return given.length > 0 ? together('id_token_user_property', ...given) : undefined
    },
    status: oidcSettings,
    prover: oidcProver,
  },
  'authn-iam': {
    types: ['aws', 'iam'],
    services: true,
    data: 'forbidden',
    fields: {},
    fieldFault: anyFields,
    prover: iamProver,
  },
  'authn-azure': {
    types: ['azure'],
    services: true,
    data: 'required',
    fields: { provider_uri: 'text' },
    fieldFault: (has) => (has('provider_uri') ? undefined : missingWords('provider_uri')),
    status: providerSettings,
    prover: azureProver,
  },
  'authn-gcp': {
    types: ['gcp'],
    services: false,
    data: 'forbidden',
    fields: {},
    fieldFault: anyFields,
    status: googleSettings,
    prover: gcpProver,
  },
  'authn-ldap': {
    types: ['ldap'],
    services: true,
    data: 'optional',
    fields: { bind_password: 'text', tls_ca_cert: 'text' },
    fieldFault: anyFields,
    prover: ldapProver,
  },
  'authn-k8s': {
    types: ['k8s'],
    services: true,
    data: 'required',
    fields: {
      'kubernetes/service_account_token': 'text',
      'kubernetes/ca_cert': 'text',
      'kubernetes/api_url': 'text',
      'ca/cert': 'text',
      'ca/key': 'text',
    },
    fieldFault: anyFields,
    status: k8sStatus,
    prover: k8sProver,
  },
}

const together = (...names: readonly string[]): string =>
  `These parameters cannot be used together: ${names.join(', ')}`

/** By its name in paths: `authn-jwt`. */
export const authenticatorOf = (name: string): Authenticator | undefined =>
  Object.hasOwn(authenticators, name) ? authenticators[name] : undefined

/** Names of those that V2 knows. */
export const managed: readonly string[] = Object.keys(authenticators).filter(
  (name) => authenticators[name]!.types.length > 0,
)

/** `jwt` → `authn-jwt`; undefined for what V2 does not know. */
export const nameOfType = (type: string): string | undefined =>
  managed.find((name) => authenticators[name]!.types.includes(type))

/** Identifier of its webservice, and of the branch with its records: `conjur/authn-jwt/ci`. */
export const branchOf = (name: string, service: string | undefined): string =>
  service === undefined ? `conjur/${name}` : `conjur/${name}/${service}`

/** `authn-jwt/ci`: how settings, lists and messages call the authenticator of a webservice. */
export const fullName = (identifier: string): string => identifier.slice('conjur/'.length)

/** The webservice that says who may ask for the status of another. */
export const statusOf = (identifier: string): string => `${identifier}/status`
export const isStatus = (identifier: string): boolean => identifier.endsWith('/status')

/** What the operator has listed stays on whatever the database says (http-api 7). `name`: `authn-jwt/ci`. */
export const isOn = (name: string, switchedOn: boolean, listed: readonly string[]): boolean =>
  switchedOn || listed.includes(name)
