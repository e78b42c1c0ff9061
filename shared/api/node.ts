// What the API needs of the node that serves it. The wiring of each program fills this in on one page.
import type { Directories } from '../authn/directory.ts'
import type { Discovery } from '../authn/discovery.ts'
import type { ClusterDoor } from '../authn/k8s/cluster.ts'
import type { KeySets } from '../authn/key-sets.ts'
import type { Outgoing } from '../authn/outgoing.ts'
import type { ClientAddress } from '../authz/address.ts'
import type { Json } from '../base/json.ts'
import type { Clock, Wall } from '../base/time.ts'
import type { CertificateOrder } from '../base/x509.ts'
import type { NodeKind } from '../enrolment/names.ts'
import type { Crowd } from '../enrolment/regions.ts'
import type { Position } from '../ledger/position.ts'
import type { LoadMode } from '../ledger/reads/policy.ts'
import type { Ledger, ReadStore } from '../ledger/store.ts'
import type { LoadRead } from '../policy/load.ts'
import type { Keyring } from '../secret/keyring.ts'
import type { Tokens } from '../token/access-token.ts'
import type { Outcome } from './outcome.ts'
import type { RouteRequest } from './request.ts'
import type { Caller } from './route.ts'
import type { ApiSettings } from './settings.ts'

export type NodeRole = 'leader' | 'follower'

export interface AuditLog {
  /**
   * Resolves when the lines are durable on this node (I9). Rejects with `audit_unavailable` when they cannot
   * be: disk full, budget reached, store gone. The request is then answered 503, never unaudited.
   */
  append(lines: readonly string[]): void | Promise<void>
}

export type AuditFilter = {
  /** Columns: facility, severity, hostname, appname, procid, msgid. */
  readonly columns: Readonly<Record<string, string>>
  /** `<sd-id>/<parameter>` = value. */
  readonly sdata: readonly { readonly id: string; readonly parameter: string; readonly value: string }[]
  readonly resource?: string
  readonly role?: string
  readonly entity?: string
  readonly limit?: number
  readonly offset?: number
}

/** A secret to be made, for the engine that makes it. */
export type SecretOrder = { readonly requestId: string; readonly body: Json }

/** The engine's text, made or refused; or the status to answer with when it gave none. */
export type SecretAnswer =
  | { readonly kind: 'made' | 'refused'; readonly text: string }
  | { readonly kind: 'failed'; readonly status: 502 | 503 | 504 }

/** A seed to be made (cluster 3); hosts: names and addresses of the node beside its own. */
export type SeedOrder = {
  readonly node: string
  readonly kind: NodeKind
  readonly replicationSet: string
  readonly serviceRole: string
  readonly hosts: readonly string[]
  readonly lifeSeconds: number
  /** host:port of the Leader's node port, before those of the settings; undefined: only those. */
  readonly leader: string | undefined
  /** Followers without a file system, which get a bearer. */
  readonly edge: EdgeOrder | undefined
}

export type EdgeOrder = {
  /** Where the Leader dials them; undefined: they dial the Leader. */
  readonly url: string | undefined
  /** Empty: there is one, of the name of the order. */
  readonly crowds: readonly Crowd[]
}

/** Where nodes are taken in. Refusals are words for the operator. */
export type EnrolmentDesk = {
  readonly makeSeed: (order: SeedOrder, asker: Caller) => Promise<{ seed: string } | { refusal: string }>
  readonly members: () => Promise<Json>
  /** `unknown`: no such node is known, and no seed for it. `leads`: it is this node. */
  readonly evict: (node: string, asker: Caller) => Promise<'done' | 'unknown' | 'leads'>
}

/** How a node is: `ok` decides the status, `body` says why (cluster 9). */
export type Health = { readonly ok: boolean; readonly body: Json }

/** What only a `prove` may touch. */
export type NodeIo = {
  readonly keyring: Keyring
  readonly clock: Clock
  /** For facts that are known to be wanted only then. */
  readonly store: ReadStore
  /** To identity providers. */
  readonly outgoing: Outgoing
  readonly discovery: Discovery
  readonly keySets: KeySets
  readonly directories: Directories | undefined
  /** To clusters of Kubernetes. */
  readonly cluster: ClusterDoor
  readonly health: () => Health
  /**
   * Of another node, as seen from here; undefined for a name that is not known. Never rejects: one that does not answer
   * is not well. `role`: as in `/health?role=`.
   */
  readonly remoteHealth: (name: string, role: string | undefined) => Promise<Health | undefined>
  readonly info: () => Json | Promise<Json>
  /** PEM; undefined for a request that is malformed or not signed by its own key. */
  readonly signCertificate: (order: CertificateOrder) => Promise<string | undefined>
  /** Never rejects; undefined where no secret engine is set. */
  readonly askEngine: ((order: SecretOrder) => Promise<SecretAnswer>) | undefined
  /** Undefined where this node has no audit database. */
  readonly auditRows: ((filter: AuditFilter) => Promise<readonly Json[]>) | undefined
  /** Undefined at a Follower, where nothing that is asked of it is done. */
  readonly enrolment: EnrolmentDesk | undefined
}

/** Reads a policy text up to its transaction, where policies are loaded. */
export type PolicyReader = (body: Uint8Array, account: string, policy: string, mode: LoadMode) => LoadRead

/** A write as it travels: nothing of it is a function. */
export type AskedElsewhere = {
  readonly route: string
  readonly params: RouteRequest['params']
  readonly query: RouteRequest['query']
  readonly body: Uint8Array
  readonly caller: Caller
  readonly now: Wall
}

/** What came of a write. */
export type Performed = {
  readonly outcome: Outcome
  /** Of the commit, or of the data that was read; undefined when nothing was. */
  readonly position: Position | undefined
  readonly changed: boolean
  /** Audit lines that no commit has stored. */
  readonly unrecorded: readonly string[]
}

export type ApiNode = {
  readonly role: NodeRole
  readonly store: ReadStore
  /** Undefined on a Follower. */
  readonly ledger: Ledger | undefined
  readonly audit: AuditLog
  readonly keyring: Keyring
  readonly tokens: Tokens
  readonly clock: Clock
  readonly random: (length: number) => Uint8Array
  readonly settings: ApiSettings
  /** Behind the proxies of the settings, parsed once. */
  readonly clientAddress: ClientAddress
  /** Whether the TCP peer is one of those proxies. */
  readonly isProxy: (peer: string) => boolean
  readonly readPolicy: PolicyReader
  /** Does what `perform` does where nobody waits for it; undefined on a node that has no such place. */
  readonly elsewhere: ((asked: AskedElsewhere) => Promise<Performed>) | undefined
  readonly io: NodeIo
  /** Sent with 405 when known. */
  readonly leaderUrl: () => string | undefined
  /** Resolves when a newer commit can be read here, or when `waitMs` have passed. */
  readonly nextCommit: (waitMs: number) => Promise<void>
  /** Compact JWS over a write's position; undefined where no receipts are made. */
  readonly receipt: ((position: Position, requestId: string) => string | Promise<string>) | undefined
  /** For what is our fault: logged with the request id, answered without detail. */
  readonly onFault: (error: unknown, requestId: string) => void
}
