// Settings as tables: what there is to set, in which form, and how values are found. Reads no file: a Node's door gives what
// stands in holdfast.yml (shared/node/settings.ts), a Worker's door has its variables only.
import { z } from 'zod'
import { ldapServer } from '../authn/directory.ts'
import { parseRanges } from '../authz/address.ts'
import { DomainError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { type ApiSettings, defaultApiSettings } from './settings.ts'

export type SettingRow = {
  readonly doc: string
  /** Takes text from flags and the environment, and YAML values from the file. */
  readonly form: z.ZodType
  /** Other environment variables of the same meaning, from the reference. */
  readonly env?: readonly string[]
}

/** Where a value came from: a flag, a variable, a file, or `default`. */
export type ShownSetting = { readonly name: string; readonly value: unknown; readonly from: string }
export type SettingTable = Readonly<Record<string, SettingRow>>
export type SettingsOf<T extends SettingTable> = { readonly [N in keyof T]: z.output<T[N]['form']> } & {
  /** Where each came from, for `/info`; absent where no program has read them. */
  readonly origins?: Readonly<Record<string, string>>
}

const list = z
  .union([
    z.array(z.coerce.string()),
    z.string().transform((text) => text.split(',').map((item) => item.trim())),
  ])
  .transform((items) => items.filter((item) => item !== ''))
const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')])
const count = z.coerce.number().int().min(0)
/** Brought into its bounds, not refused: the reference takes any number (http-api 4). */
const tokenTtl = z.coerce
  .number()
  .int()
  .transform((seconds) => Math.min(Math.max(seconds, 0), limits.tokenTtlSecondsMax))
  .default(limits.tokenTtlSeconds)
/** YAML reads some texts as numbers. What is not given stays so: coercion would make a text of it. */
const text = z.preprocess(
  (value) => (typeof value === 'number' || typeof value === 'boolean' ? String(value) : value),
  z.string().min(1),
)
export const port = z.coerce.number().int().min(0).max(65_535)
/** Of a service that this node asks; names and passwords in it would be shown with the settings. */
const url = text.refine((given) => {
  const parsed = URL.parse(given)
  return /^https?:$/.test(parsed?.protocol ?? '') && parsed?.username === '' && parsed.password === ''
}, 'it must be an http or https URL without a user')
const origin = url.refine((given) => {
  const parsed = URL.parse(given)
  return parsed !== null && `${parsed.pathname}${parsed.search}${parsed.hash}` === '/'
}, 'it must be an address without a path')
export const forms = { list, flag, count, text, httpUrl: url }

export type NamedUrl = { readonly name: string; readonly url: string }

/** `name=http://host:port` of other nodes. */
const namedUrls = list.pipe(
  z.array(z.string()).transform((entries, context): NamedUrl[] =>
    entries.flatMap((entry) => {
      const [, name, given] = /^([a-zA-Z0-9][\w.-]{0,99})=(\S+)$/.exec(entry) ?? []
      if (name !== undefined && url.safeParse(given).success && new URL(given!).pathname === '/')
        return [{ name, url: new URL(given!).origin }]
      context.addIssue({ code: 'custom', message: `${entry} is not of the form name=http://host:port` })
      return []
    }),
  ),
)

/** Of every node that serves the API. */
export const apiTable = {
  account: { doc: 'Account of this installation', form: text.default('default'), env: ['CONJUR_ACCOUNT'] },
  authenticators: {
    doc: 'Authenticators that are on whatever the database says',
    form: list.default(['authn']),
    env: ['CONJUR_AUTHENTICATORS'],
  },
  trusted_proxies: {
    doc: 'Addresses and CIDR ranges whose X-Forwarded-For and X-SSL-Client-Certificate are believed; loopback always is',
    form: list.default([]),
    env: ['CONJUR_TRUSTED_PROXIES', 'TRUSTED_PROXIES'],
  },
  remote_health: {
    doc: 'Other nodes whose health is told at /remote_health/NAME: name=http://host:port, separated by commas',
    form: namedUrls.default([]),
  },
  user_authorization_token_ttl: {
    doc: 'Life of users’ access tokens, seconds',
    form: tokenTtl,
    env: ['CONJUR_USER_AUTHORIZATION_TOKEN_TTL'],
  },
  host_authorization_token_ttl: {
    doc: 'Life of hosts’ access tokens, seconds',
    form: tokenTtl,
    env: ['CONJUR_HOST_AUTHORIZATION_TOKEN_TTL'],
  },
  authn_api_key_default: {
    doc: 'Whether hosts without the annotation authn/api-key may be loaded',
    form: flag.default(true),
    env: ['CONJUR_AUTHN_API_KEY_DEFAULT'],
  },
  api_resource_list_limit_max: {
    doc: 'Most resources of one list; 0: no limit',
    form: count.default(limits.resourceListLimit),
    env: ['CONJUR_API_RESOURCE_LIST_LIMIT_MAX'],
  },
  authn_jwt_ignore_missing_issuer_claim: {
    doc: 'Whether tokens for authn-jwt may lack the claim iss',
    form: flag.default(false),
    env: ['CONJUR_AUTHN_JWT_IGNORE_MISSING_ISSUER_CLAIM'],
  },
  authn_gcp_provider: {
    doc: 'Issuer of the tokens for authn-gcp; its discovery document says where its keys are',
    form: url.default(defaultApiSettings.authn.gcpProvider),
  },
  authn_private_networks: {
    doc: 'Addresses and CIDR ranges, not public ones, where identity providers may be asked',
    form: list.default([]),
  },
  authn_keys_max_age: {
    doc: 'For how long fetched keys of identity providers prove tokens while those cannot be asked, seconds',
    form: count.min(1).default(limits.keysMaxAgeSeconds),
  },
  authn_iam_sts_url: {
    doc: 'Where AWS STS is asked, a private endpoint such as https://vpce-1.sts.eu-west-1.vpce.amazonaws.com; default: at AWS',
    form: origin.optional(),
  },
  users_in_root_policy_only: {
    doc: 'Whether policies below root may not make users',
    form: flag.default(false),
    env: ['CONJUR_USERS_IN_ROOT_POLICY_ONLY'],
  },
  host_factories_enabled: {
    doc: 'Host factory routes',
    form: flag.default(true),
    env: ['CONJUR_HOST_FACTORIES_ENABLED'],
  },
  dynamic_secrets_enabled: {
    doc: 'Issuers, and variables under data/dynamic/ whose values they make',
    form: flag.default(false),
    env: ['CONJUR_FEATURE_DYNAMIC_SECRETS_ENABLED'],
  },
  dynamic_secrets_per_request_max: {
    doc: 'Most dynamic variables that one batch reads',
    form: count.default(limits.dynamicSecretsPerRequest),
    env: ['CONJUR_DYNAMIC_SECRETS_PER_REQUEST_MAX'],
  },
  secret_engine_url: {
    doc: 'Where the engine that makes dynamic secrets is asked, http or https; it is told the issuers’ keys',
    form: url.optional(),
  },
  secrets_version_limit: {
    doc: 'Versions of a secret that are kept',
    form: count.min(1).default(limits.secretVersions),
    env: ['SECRETS_VERSION_LIMIT'],
  },
  policies_version_limit: {
    doc: 'Versions of a policy that are kept',
    form: count.min(1).default(limits.policyVersions),
    env: ['POLICIES_VERSION_LIMIT'],
  },
  effective_policy_max_depth: {
    doc: 'Levels of an effective policy',
    form: count.max(limits.effectivePolicyDepth).default(limits.effectivePolicyDepth),
    env: ['CONJUR_EFFECTIVE_POLICY_MAX_DEPTH'],
  },
  effective_policy_max_limit: {
    doc: 'Records, annotations and permissions of an effective policy',
    form: count.max(limits.effectivePolicyLimit).default(limits.effectivePolicyLimit),
    env: ['CONJUR_EFFECTIVE_POLICY_MAX_LIMIT'],
  },
} as const satisfies SettingTable

/** The directory that authn-ldap asks where a webservice names none of its own. Of nodes that can reach one. */
export const directoryTable = {
  ldap_uri: {
    doc: 'Directory for authn-ldap where its webservice names none: ldap://host:port or ldaps://host:port',
    form: text
      .refine((given) => ldapServer(given) !== undefined, 'it must be ldap://host or ldaps://host')
      .optional(),
    env: ['LDAP_URI'],
  },
  ldap_base: { doc: 'Name below which its users are', form: text.optional(), env: ['LDAP_BASE'] },
  ldap_bind_dn: { doc: 'Name of the account that searches it', form: text.optional(), env: ['LDAP_BINDDN'] },
  ldap_bind_password_file: {
    doc: 'File with the password of that account; default: the variable LDAP_BINDPW, which is shown nowhere',
    form: text.optional(),
  },
  ldap_filter: {
    doc: 'Filter that finds a user; %s is the login',
    form: text.optional(),
    env: ['LDAP_FILTER'],
  },
} as const satisfies SettingTable

/** What a node listens with, beside host and port. TLS: both files or neither. */
export const doorTable = {
  balancers: {
    doc: 'Addresses and CIDR ranges of balancers: each of their connections begins with a PROXY header, version 2',
    form: list.default([]),
  },
  tls_cert_file: {
    doc: 'File with the certificate clients see, and those above it, PEM; with it the node speaks HTTPS only',
    form: text.optional(),
  },
  tls_key_file: { doc: 'File with its private key, PEM', form: text.optional() },
  client_certificates: {
    doc: 'Whether clients are asked for certificates, which authn-k8s reads; they may have none',
    form: flag.default(false),
  },
  token_socket: {
    doc: 'Path of a UNIX socket at which programs of this user get tokens for any role',
    form: text.optional(),
  },
} as const satisfies SettingTable

export function apiSettingsOf(s: SettingsOf<typeof apiTable>): ApiSettings {
  parseRanges(s.trusted_proxies, 'trusted_proxies')
  return {
    ...defaultApiSettings,
    account: s.account,
    authenticators: s.authenticators,
    trustedProxies: s.trusted_proxies,
    userTokenTtlSeconds: s.user_authorization_token_ttl,
    hostTokenTtlSeconds: s.host_authorization_token_ttl,
    authnApiKeyDefault: s.authn_api_key_default,
    resourceListLimitMax: s.api_resource_list_limit_max,
    usersInRootPolicyOnly: s.users_in_root_policy_only,
    authn: {
      jwtIgnoreMissingIssuer: s.authn_jwt_ignore_missing_issuer_claim,
      gcpProvider: s.authn_gcp_provider.replace(/\/$/, ''),
      iamStsUrl: s.authn_iam_sts_url,
    },
    hostFactoriesEnabled: s.host_factories_enabled,
    dynamicSecretsEnabled: s.dynamic_secrets_enabled,
    dynamicSecretsPerRequestMax: s.dynamic_secrets_per_request_max,
    secretVersions: s.secrets_version_limit,
    policyVersions: s.policies_version_limit,
    effectivePolicyMaxDepth: s.effective_policy_max_depth,
    effectivePolicyMaxLimit: s.effective_policy_max_limit,
  }
}

export type Sources = {
  /** By setting name, as the command line gave them. */
  readonly flags: Readonly<Record<string, string | undefined>>
  readonly env: Readonly<Record<string, string | undefined>>
  /** What stands in a file, and its name; absent: no file. */
  readonly file: { readonly name: string; readonly values: Readonly<Record<string, unknown>> } | undefined
}

/** Throws `settings_invalid` that names the setting, where it came from, and what would be right. */
export function readSettings<T extends SettingTable>(table: T, sources: Sources): SettingsOf<T> {
  const read = lookUpAll(table, sources)
  return Object.fromEntries([...read].map(([name, { value }]) => [name, value])) as SettingsOf<T>
}

/** For people: what a node would start with. No setting holds a secret, only names of files. Throws as `readSettings` does. */
export function showSettings(table: SettingTable, sources: Sources): ShownSetting[] {
  return [...lookUpAll(table, sources)].map(([name, { value, from }]) => ({
    name,
    value,
    from: from === NOT_GIVEN ? 'default' : from,
  }))
}

/** Of settings with their values: which source each came from, without the name of the file. Throws as `readSettings` does. */
export const originsOf = (table: SettingTable, sources: Sources): Record<string, string> =>
  Object.fromEntries(
    showSettings(table, sources).map(({ name, from }) => [name, from === sources.file?.name ? 'file' : from]),
  )

const NOT_GIVEN = 'not given'

function lookUpAll(table: SettingTable, sources: Sources): Map<string, { value: unknown; from: string }> {
  const fromFile = sources.file?.values ?? {}
  const unknown = Object.keys(fromFile).find((name) => !Object.hasOwn(table, name))
  if (unknown !== undefined) throw invalid(unknown, sources.file!.name, 'there is no such setting')
  const read = new Map<string, { value: unknown; from: string }>()
  for (const [name, row] of Object.entries(table)) {
    const { value, from } = lookUp(name, row, sources, fromFile)
    const parsed = row.form.safeParse(value)
    if (!parsed.success) {
      const why = parsed.error.issues.map((issue) => issue.message).join('; ')
      throw invalid(name, from, value === undefined ? 'it must be given' : why)
    }
    read.set(name, { value: parsed.data, from })
  }
  return read
}

function lookUp(
  name: string,
  row: SettingRow,
  { flags, env, file }: Sources,
  fromFile: Readonly<Record<string, unknown>>,
): { value: unknown; from: string } {
  if (flags[name] !== undefined) return { value: flags[name], from: `--${name.replaceAll('_', '-')}` }
  for (const variable of [`HOLDFAST_${name.toUpperCase()}`, ...(row.env ?? [])]) {
    if (env[variable] !== undefined) return { value: env[variable], from: variable }
  }
  if (Object.hasOwn(fromFile, name)) return { value: fromFile[name], from: file!.name }
  return { value: undefined, from: NOT_GIVEN }
}

function invalid(name: string, from: string, what: string): DomainError {
  return new DomainError('settings_invalid', `${name} (${from}): ${what}`, { target: name })
}
