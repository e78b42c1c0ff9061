// What a Follower is, whichever runtime holds it. It has two halves: one answers from the copy and keeps the audit, the
// other keeps the copy current. On Node each server thread is a first half and the main thread the second; in a Worker
// both stand in one object (createFollower).
import { type Api, createApi } from '#shared/api/app.ts'
import { nodeInfo, type ShownCertificate } from '#shared/api/info.ts'
import type { ApiNode, Health, NodeIo } from '#shared/api/node.ts'
import { createRemoteHealth } from '#shared/api/remote-health.ts'
import { secretEngineAt } from '#shared/api/secret-engine.ts'
import { apiSettingsOf } from '#shared/api/setting-tables.ts'
import type { Directories } from '#shared/authn/directory.ts'
import { createKeySets } from '#shared/authn/key-sets.ts'
import type { Outgoing } from '#shared/authn/outgoing.ts'
import { clientAddressThrough } from '#shared/authz/address.ts'
import type { Space } from '#shared/base/space.ts'
import type { Clock } from '#shared/base/time.ts'
import { notRead } from '#shared/policy/load.ts'
import type { Dial } from '#shared/replication/wire.ts'
import type { Keyring } from '#shared/secret/keyring.ts'
import type { SigningKeyRow, Tokens } from '#shared/token/access-token.ts'
import { followerHealth } from './health.ts'
import { forwardAudit } from './link/audit-forwarder.ts'
import { type Ended, follow, type LinkOptions, type LinkStatus } from './link/link.ts'
import type { ServingSettings } from './serving-settings.ts'
import type { AuditBudget, AuditQueue } from './store/audit-queue.ts'
import type { ReplicaStore } from './store/replica.ts'
import { createSnapshotStore } from './store/snapshot-store.ts'
import type { Sqlite } from './store/sqlite.ts'
import { readState } from './store/state.ts'

export type ServingPorts = {
  readonly name: string
  readonly settings: ServingSettings
  /** Where the copy is read. */
  readonly data: Sqlite
  readonly queue: AuditQueue
  readonly auditBudget: AuditBudget
  readonly keyring: Keyring
  readonly tokens: Tokens
  readonly clock: Clock
  readonly random: (length: number) => Uint8Array
  /** Where a Leader is first looked for; undefined: not known before it greets. */
  readonly leaderUrl: string | undefined
  /** What may still be written. */
  readonly space: () => Space
  /** By what others know this node, and how many of its keys lie in clear where it runs. */
  readonly shown: () => Promise<{
    readonly certificates: readonly ShownCertificate[]
    readonly unprotectedKeyFiles: number
  }>
  readonly balancers: readonly string[]
  readonly signCertificate: NodeIo['signCertificate']
  /** To identity providers. */
  readonly outgoing: Outgoing
  readonly directories: Directories | undefined
  /** Nothing may be pending while nothing happens: then the runtime puts this Follower out of memory. */
  readonly sleeps?: boolean
  /** What the operator should see. */
  readonly report: (message: string) => void
  readonly onFault: ApiNode['onFault']
}

export type Serving = {
  readonly api: Api
  readonly health: () => Health
  /** A commit or a snapshot has been stored. */
  readonly applied: () => void
  readonly linked: (status: LinkStatus) => void
  /** The whole copy has been compared with its digests, at this wall time. */
  readonly verified: (at: number) => void
  /** Sends audit records to the Leader until the signal is aborted. */
  readonly forward: (dial: Dial, signal: AbortSignal) => Promise<void>
}

/** The half that answers. Throws `settings_invalid` for a setting that is wrong. */
export function createServing(ports: ServingPorts): Serving {
  const { data, queue, tokens, clock, settings, report } = ports
  let link: LinkStatus = {
    state: 'connecting',
    leaderUrl: ports.leaderUrl,
    cluster: undefined,
    lastError: undefined,
    distrust: undefined,
  }
  let verifiedAt: number | undefined
  let forwarder = 'disconnected'
  const commits = createCommits(clock)
  const readKeys = keysOf(data, tokens)

  function health(): Health {
    const state = readState(data)
    const now = clock.wall()
    return followerHealth({
      name: ports.name,
      state,
      ageMs: state === undefined ? 0 : Math.max(0, now - state.newestAt),
      degradedAgeMs: settings.degraded_age * 1000,
      maxOfflineAgeMs: settings.max_offline_age * 1000,
      verifiedAt,
      space: ports.space(),
      link,
      audit: queue.pending(),
      auditForwarder: forwarder,
      auditBudget: ports.auditBudget,
      now,
    })
  }

  const node = nodeOf(ports, health, () => link, commits.next)
  readKeys()
  return {
    api: createApi(node),
    health,
    applied() {
      readKeys()
      commits.came()
    },
    linked(status) {
      link = status
    },
    verified(at) {
      verifiedAt = at
    },
    forward: (dial, signal) =>
      forwardAudit(
        {
          queue,
          dial,
          clock,
          random: Math.random,
          onStatus: (status) => {
            forwarder = status
          },
          report,
          ...(ports.sleeps === true ? { quiet: true } : {}),
        },
        signal,
      ),
  }
}

function nodeOf(
  ports: ServingPorts,
  health: () => Health,
  link: () => LinkStatus,
  nextCommit: ApiNode['nextCommit'],
): ApiNode {
  const { name, settings, keyring, clock, report } = ports
  const apiSettings = apiSettingsOf(settings)
  const store = createSnapshotStore(ports.data, clock)
  const { outgoing } = ports
  return {
    role: 'follower',
    store,
    ledger: undefined,
    audit: ports.queue,
    keyring,
    tokens: ports.tokens,
    clock,
    random: ports.random,
    settings: apiSettings,
    clientAddress: clientAddressThrough(settings.trusted_proxies),
    readPolicy: () => notRead,
    elsewhere: undefined,
    io: {
      keyring,
      clock,
      store,
      outgoing,
      keySets: createKeySets({ outgoing, clock }),
      directories: ports.directories,
      health,
      async info() {
        const { certificates, unprotectedKeyFiles } = await ports.shown()
        return nodeInfo({
          role: 'follower',
          name,
          settings: apiSettings,
          balancers: ports.balancers,
          origins: settings.origins,
          certificates,
          unprotectedKeyFiles,
          cluster: link().cluster,
        })
      },
      remoteHealth: createRemoteHealth(settings.remote_health),
      signCertificate: ports.signCertificate,
      askEngine: secretEngineAt(settings.secret_engine_url, report),
      auditRows: undefined,
      enrolment: undefined,
    },
    leaderUrl: () => link().leaderUrl,
    nextCommit,
    receipt: undefined,
    onFault: ports.onFault,
  }
}

/** Believes the keys of the data that is held now. */
function keysOf(data: Sqlite, tokens: Tokens): () => void {
  let version = -1
  return () => {
    const state = readState(data)
    if (state === undefined || state.dataVersion === version) return
    version = state.dataVersion
    tokens.keysChanged(data.all('SELECT kid, jwk FROM signing_keys', []) as unknown as SigningKeyRow[])
  }
}

function createCommits(clock: Clock): { came(): void; next(waitMs: number): Promise<void> } {
  let waiting: (() => void)[] = []
  return {
    came() {
      const woken = waiting
      waiting = []
      for (const wake of woken) wake()
    },
    next(waitMs) {
      const came = new AbortController()
      waiting.push(() => came.abort())
      return clock.sleep(waitMs, came.signal)
    },
  }
}

export type FollowerPorts = ServingPorts & {
  readonly store: ReplicaStore
  readonly dial: Dial
  readonly onStatus: (status: LinkStatus) => void
} & Pick<LinkOptions, 'incarnation' | 'keys' | 'set' | 'gunzip' | 'alarm' | 'leader'>

export type Follower = Omit<Serving, 'applied' | 'linked' | 'forward'> & {
  /** Follows the Leader and forwards audit, until the signal is aborted or the Leader wants this Follower no more. */
  readonly run: (signal: AbortSignal) => Promise<Ended>
}

/** Both halves, for a runtime that has one thread. */
export function createFollower(ports: FollowerPorts): Follower {
  const { applied, linked, forward, ...serving } = createServing(ports)
  return {
    ...serving,
    async run(signal) {
      const over = new AbortController()
      const ending = AbortSignal.any([signal, over.signal])
      const forwarding = forward(ports.dial, ending)
      const ended = await follow(
        {
          ...ports,
          random: Math.random,
          onApplied: applied,
          onStatus(status) {
            linked(status)
            ports.onStatus(status)
          },
        },
        ending,
      )
      over.abort()
      await forwarding
      return ended
    },
  }
}
