// What an authenticator is to the pipeline (http-api 8): which settings it reads, whom it takes a request for, and what
// proves that. Refusals are thrown as `Refused`: their words go into the audit, outside all of them look alike.
import type { Clock, Wall } from '../base/time.ts'
import type { CertificateOrder } from '../base/x509.ts'
import type { RoleCredentials } from '../ledger/reads/caller.ts'
import type { Keyring } from '../secret/keyring.ts'
import type { Directories } from './directory.ts'
import type { Discovery } from './discovery.ts'
import type { ClusterDoor } from './k8s/cluster.ts'
import type { KeySets } from './key-sets.ts'
import type { Outgoing } from './outgoing.ts'

/** A request to authenticate, as the routes read it. */
export type Attempt = {
  /** `login`: for the API key, wherever it is asked from (http-api 8.1). */
  readonly operation: 'authenticate' | 'login' | 'k8s-inject-client-cert'
  readonly account: string
  /** `authn-jwt`. */
  readonly authenticator: string
  /** Service id; undefined where the path names none. */
  readonly service: string | undefined
  /** The login of the path, decoded; undefined: the credential says who it is. */
  readonly login: string | undefined
  readonly method: 'GET' | 'POST'
  /** Of the query of a GET, of the body of a POST as a form or JSON: texts only. Throws `bad_request` for JSON that is none. */
  readonly field: (name: string) => string | undefined
  readonly body: Uint8Array
  readonly header: (name: string) => string | undefined
  /** PEM of a certificate whose key the client has: whom it belongs to, and who signed it, is not known yet. */
  readonly certificate?: (() => string | undefined) | undefined
}

/** The variables that an authenticator reads, opened, and the annotations of its webservice. */
export type Stored = {
  /** Id of a variable up to its name: `acme:variable:conjur/authn-jwt/ci/`. */
  readonly prefix: string
  /** Values of the variables that exist, by name; undefined: it has none. */
  readonly values: ReadonlyMap<string, string | undefined>
  readonly annotations: ReadonlyMap<string, string>
}

/** Whom a request is from, once that is known. `evidence`: what the proof needs of the credential. */
export type Claimed<Evidence> = { readonly role: string; readonly evidence: Evidence }

/** Of the role that is claimed: it exists, may authenticate here, and from this address. */
export type RoleFacts = {
  readonly annotations: ReadonlyMap<string, string>
  readonly held: RoleCredentials
}

/** Who has proved it. `ttlSeconds`: life of the token, where the authenticator says it. */
export type Proven = { readonly ttlSeconds?: number | undefined }

/** What proofs may touch besides what they are given. */
export type AuthnIo = {
  readonly keyring: Keyring
  /** For what is made while a request is being answered. */
  readonly clock: Clock
  readonly outgoing: Outgoing
  readonly discovery: Discovery
  readonly keySets: KeySets
  /** Undefined where the platform reaches none. */
  readonly directories: Directories | undefined
  /** To clusters of Kubernetes. */
  readonly cluster: ClusterDoor
  /** PEM; undefined for a request that is malformed or not signed by its own key. */
  readonly signCertificate: (order: CertificateOrder) => Promise<string | undefined>
}

export type AuthnSettings = {
  /** Tokens without `iss` are taken (authn_jwt_ignore_missing_issuer_claim). */
  readonly jwtIgnoreMissingIssuer: boolean
  /** Issuer of the tokens for authn-gcp, without a slash at the end (authn_gcp_provider). */
  readonly gcpProvider: string
  /** Where STS is asked instead of at AWS (authn_iam_sts_url). */
  readonly iamStsUrl: string | undefined
}

export type Tools = { readonly io: AuthnIo; readonly settings: AuthnSettings; readonly now: Wall }

// biome-ignore lint/suspicious/noExplicitAny: evidence is the authenticator's own between its two steps
export type Prover<Evidence = any> = {
  /** Variables that are opened for it, by name. */
  readonly variables: readonly string[]
  /** No value of theirs is a secret: it may stay in memory, opened. */
  readonly holdsNoSecrets?: true
  /** A request that names no service is refused before anything else (CONJ00075E). */
  readonly needsService?: true
  /** What it proves is enough to be told the API key. */
  readonly logsIn?: true
  /** Absent: the login of the path, with the attempt itself as the evidence. Throws `Refused`. */
  readonly claim?: (
    attempt: Attempt,
    stored: Stored,
    tools: Tools,
  ) => Claimed<Evidence> | Promise<Claimed<Evidence>>
  /** After the role was found to be allowed. Throws `Refused`. */
  readonly prove: (
    claimed: Claimed<Evidence>,
    facts: RoleFacts,
    attempt: Attempt,
    stored: Stored,
    tools: Tools,
  ) => Proven | Promise<Proven>
}

/** How a refusal is answered (http-api 8). */
export type RefusalKind =
  /** 401 without a body: nearly all. */
  | 'unauthorized'
  /** 401 that says that the token has expired. */
  | 'expired'
  /** 401: the authenticator is not enabled, or nobody has the name. In the code flow of authn-oidc both are 400. */
  | 'not_enabled'
  | 'no_role'
  | 'forbidden'
  | 'bad_request'
  /** 422. */
  | 'argument'
  /** 503. */
  | 'unavailable'
  /** As if it had gone well: who asked finds out elsewhere. */
  | 'accepted'

export class Refused extends Error {
  readonly kind: RefusalKind
  /** `message`: code and words of http-api 17.1; never a credential, a claim's value that is secret, or a setting. */
  constructor(message: string, kind: RefusalKind = 'unauthorized') {
    super(message)
    this.name = 'Refused'
    this.kind = kind
  }
}
