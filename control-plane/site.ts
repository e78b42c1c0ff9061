// Where a control node stands, as the process that answers clients must know it: in a cluster, with a Postgres of its own,
// or on a managed Postgres that is all that the nodes have in common.
import type { Health } from '#shared/api/node.ts'
import type { Monotonic } from '#shared/base/time.ts'
import { systemClock } from '#shared/node/clock.ts'
import type { TlsFiles } from '#shared/node/listen.ts'
import { type About, aboutClusterNode, aboutLeader } from './about.ts'
import { type ClusterFacts, standbyHealth } from './cluster-health.ts'
import { usesIdentity } from './enrolment/node-files.ts'
import { connect } from './ledger/connection.ts'
import { watchLocal, watchSpace } from './local-facts.ts'
import { type ManagedFacts, managedStandbyHealth } from './managed/health.ts'
import type { NodeStatus } from './node-link.ts'
import { isManaged, type ManagedSettings, type NodeSettings } from './settings.ts'

export type Site = {
  /** Of the nodes together. */
  readonly name: string
  readonly about: About
  readonly databaseUrl: (database: string) => string
  /** The URL says nothing that the owner of the folder may not know. */
  readonly writesUrl: boolean
  /** False: the supervisor has the certificate of this node renewed. */
  readonly renewsIdentity: boolean
  /** 0: none. */
  readonly healthPort: number
  readonly facts: () => ClusterFacts | ManagedFacts
  /** Of this node while it does not lead. */
  readonly standby: () => Health
}

export type SiteOptions<S> = {
  readonly settings: S
  /** With `DATABASE` in place of a name. */
  readonly databaseUrl: string
  readonly tls: TlsFiles | undefined
  readonly status: () => NodeStatus | undefined
  readonly now: () => Monotonic
  readonly signal: AbortSignal
}

/** Throws `settings_invalid`. */
export function siteOf(options: SiteOptions<NodeSettings | ManagedSettings>): Site {
  const { settings } = options
  return isManaged(settings) ? onManaged({ ...options, settings }) : inCluster({ ...options, settings })
}

const urlIn =
  (databaseUrl: string) =>
  (database: string): string =>
    databaseUrl.replace('DATABASE?', `${database}?`)

function inCluster({ settings, databaseUrl, tls, status, now, signal }: SiteOptions<NodeSettings>): Site {
  const url = urlIn(databaseUrl)
  const local = watchLocal(connect(url('postgres'), 1), settings.data_dir, systemClock, signal)
  const { cluster, name: node } = settings
  const facts = (): ClusterFacts => ({ ...local(), cluster, node, status: status(), now: now() })
  return {
    name: cluster,
    about: aboutClusterNode(settings, tls),
    databaseUrl: url,
    writesUrl: true,
    renewsIdentity: !usesIdentity(settings),
    healthPort: settings.health_port,
    facts,
    standby: () => standbyHealth(facts()),
  }
}

/** Of nodes that know each other by their database alone. */
const MANAGED = 'managed'

function onManaged({ settings, databaseUrl, tls, status, now, signal }: SiteOptions<ManagedSettings>): Site {
  const space = watchSpace(settings.data_dir, systemClock, signal)
  const facts = (): ManagedFacts => ({
    managed: true,
    cluster: MANAGED,
    status: status(),
    now: now(),
    space: space(),
  })
  return {
    name: MANAGED,
    about: aboutLeader(settings, tls),
    databaseUrl: urlIn(databaseUrl),
    // It holds a password.
    writesUrl: false,
    renewsIdentity: true,
    healthPort: 0,
    facts,
    standby: () => managedStandbyHealth(facts()),
  }
}
