// Commits to Followers. A commit is encoded once, in the log; every Follower takes it at its own pace, and one
// that is slow reads from the stored log again and slows nobody.
import { fromUtf8 } from '#shared/base/bytes.ts'
import type { Clock } from '#shared/base/time.ts'
import { decodeChanges } from '#shared/ledger/change.ts'
import { format, type Position, zero } from '#shared/ledger/position.ts'
import type { Hello, LedCluster } from '#shared/replication/messages.ts'
import type { Wire } from '#shared/replication/wire.ts'
import type { ChangeLog, LoggedCommit } from '../ledger/change-log.ts'
import { mayShow } from './release.ts'
import { Session } from './session.ts'
import type { Snapshots } from './snapshots.ts'

export type FollowerIdentity = {
  readonly name: string
  readonly set: string
  /** As in `SessionOptions`. */
  readonly heartbeatMs?: number | undefined
}

/** As `/health` shows it (cluster 9.2). */
export type FollowerStatus = {
  readonly name: string
  readonly set: string
  readonly position: string
  readonly lag_changes: number
  readonly age_ms: number
  readonly last_ack: string
  readonly connected: boolean
}

export type Publisher = {
  /** Feeds one Follower until its wire ends. */
  attach(identity: FollowerIdentity, wire: Wire): Promise<void>
  /** Every Follower that was ever admitted by this process. */
  followers(): FollowerStatus[]
  close(): void
}

export type PublisherOptions = {
  readonly log: ChangeLog
  readonly snapshots: Snapshots
  readonly clock: Clock
  readonly leaderUrl: string | undefined
  /** Undefined: this Leader stands alone. */
  readonly cluster?: LedCluster | undefined
  /** Makes sure that all nodes believe the Follower's tokens. */
  readonly registerKeys: (follower: string, keys: Hello['keys']) => Promise<void>
  readonly report: (message: string) => void
  /** Two processes have one identity: somebody should look. */
  readonly alarm: (message: string) => void
}

/** What is known of one Follower; bounded by the number of identities that the entrance knows. */
type Known = {
  readonly set: string
  session: Session | undefined
  acknowledged: Position
  lastAckAt: number
}

export function createPublisher(options: PublisherOptions): Publisher {
  const { log, clock } = options
  const known = new Map<string, Known>()
  const stop = log.subscribe((commit) => {
    const head = log.head().position
    if (!mayShow(commit.position, head)) return
    const isHeartbeat = onlySaysTheTime(commit)
    for (const { session } of known.values()) session?.committed(commit, head, isHeartbeat)
  })

  async function attach({ name, set, heartbeatMs }: FollowerIdentity, wire: Wire): Promise<void> {
    const session = new Session(
      {
        ...options,
        heartbeatMs,
        registerKeys: (keys) => options.registerKeys(name, keys),
        otherIncarnation: () => known.get(name)?.session?.incarnation,
        admit: (admitted) => admit(name, set, admitted),
        report: (message) => options.report(`Follower ${name}: ${message}`),
      },
      wire,
    )
    try {
      await session.run()
    } finally {
      const entry = known.get(name)
      if (entry?.session === session) {
        remember(entry)
        entry.session = undefined
      }
    }
  }

  function admit(name: string, set: string, session: Session): void {
    const before = known.get(name)
    if (before !== undefined) remember(before)
    const other = before?.session
    if (other !== undefined && other.incarnation !== session.incarnation) {
      options.alarm(
        `SUPERSEDED: a newer process of ${name} has connected while another was, which is told to stop. If it was not started anew, its disk was cloned: stop the clone, and join it under a name of its own`,
      )
    }
    other?.superseded(session.incarnation)
    const { acknowledged = zero } = before ?? {}
    known.set(name, { set, session, acknowledged, lastAckAt: session.lastAckAt })
  }

  function remember(entry: Known): void {
    entry.acknowledged = entry.session?.acknowledged ?? entry.acknowledged
    entry.lastAckAt = entry.session?.lastAckAt ?? entry.lastAckAt
  }

  return {
    attach,
    followers: () =>
      [...known].map(([name, entry]) => {
        remember(entry)
        return {
          name,
          set: entry.set,
          position: format(entry.acknowledged),
          lag_changes: log.head().position.seq - entry.acknowledged.seq,
          age_ms: clock.wall() - entry.lastAckAt,
          last_ack: new Date(entry.lastAckAt).toISOString(),
          connected: entry.session !== undefined,
        }
      }),
    close() {
      stop()
      for (const { session } of known.values()) session?.close('the Leader is stopping')
    },
  }
}

/** `[["p","heartbeats",[1,…]]]` and nothing beside it: no other commit is looked into. */
const HEARTBEAT_BYTES = 64

const onlySaysTheTime = ({ parts, bytes }: LoggedCommit): boolean =>
  bytes <= HEARTBEAT_BYTES &&
  parts.every((part) => decodeChanges(fromUtf8(part) ?? '').every(({ table }) => table === 'heartbeats'))
