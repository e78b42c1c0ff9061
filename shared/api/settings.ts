// Settings of the API that change behaviour (http-api 2, cluster 16). Read by shared/node/settings.ts or a Worker's door.
import { limits } from '../base/limits.ts'

export type ApiSettings = {
  /** The account of a node's own records and of `/info`. */
  readonly account: string
  /** `authn`, `authn-jwt/ci`, …: switched on by the operator whatever the database says. */
  readonly authenticators: readonly string[]
  /** Addresses and CIDR ranges; loopback is always trusted. */
  readonly trustedProxies: readonly string[]
  readonly userTokenTtlSeconds: number
  readonly hostTokenTtlSeconds: number
  /** False: policy loads refuse hosts whose annotation authn/api-key is absent or false. */
  readonly authnApiKeyDefault: boolean
  /** True: policy loads refuse users that the admin does not own. */
  readonly usersInRootPolicyOnly: boolean
  /** Tokens for authn-jwt may lack `iss`. */
  readonly jwtIgnoreMissingIssuer: boolean
  /** Where STS is asked for authn-iam; undefined: at AWS. */
  readonly iamStsUrl: string | undefined
  /** Hashes of the passwords that users get when a policy declares them, by `passwordName` (policy 3). */
  readonly passwords: Readonly<Record<string, string>>
  /** 0 means no cap. */
  readonly resourceListLimitMax: number
  readonly hostFactoriesEnabled: boolean
  /** Issuers, and variables under `data/dynamic/` whose values they make. */
  readonly dynamicSecretsEnabled: boolean
  /** Most dynamic variables that one batch reads. */
  readonly dynamicSecretsPerRequestMax: number
  readonly secretVersions: number
  readonly policyVersions: number
  readonly effectivePolicyMaxDepth: number
  readonly effectivePolicyMaxLimit: number
}

export const defaultApiSettings: ApiSettings = {
  account: 'default',
  authenticators: ['authn'],
  trustedProxies: [],
  userTokenTtlSeconds: limits.tokenTtlSeconds,
  hostTokenTtlSeconds: limits.tokenTtlSeconds,
  authnApiKeyDefault: true,
  usersInRootPolicyOnly: false,
  jwtIgnoreMissingIssuer: false,
  iamStsUrl: undefined,
  passwords: {},
  resourceListLimitMax: limits.resourceListLimit,
  hostFactoriesEnabled: true,
  dynamicSecretsEnabled: false,
  dynamicSecretsPerRequestMax: limits.dynamicSecretsPerRequest,
  secretVersions: limits.secretVersions,
  policyVersions: limits.policyVersions,
  effectivePolicyMaxDepth: limits.effectivePolicyDepth,
  effectivePolicyMaxLimit: limits.effectivePolicyLimit,
}
