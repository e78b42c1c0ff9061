// A Follower's real link code over real SQLite, in this process, with the dial of a Worker.
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { forwardAudit } from '#edge-follower/link/audit-forwarder.ts'
import { type Ended, follow, type LinkStatus } from '#edge-follower/link/link.ts'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { type AuditQueue, createAuditQueue } from '#edge-follower/store/audit-queue.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import type { Position } from '#shared/ledger/position.ts'
import { systemClock } from '#shared/node/clock.ts'
import type { Dial } from '#shared/replication/wire.ts'

export type Edge = {
  readonly statuses: LinkStatus[]
  readonly reports: string[]
  readonly queue: AuditQueue
  readonly held: () => Position | undefined
  readonly ended: Promise<Ended>
  stop(): Promise<void>
}

/** `dial`: as a Worker would; `quiet`: as in `ForwarderOptions`. */
export function edgeFollower(folder: string, name: string, dial: Dial, quiet = false): Edge {
  const sqlite = openSqlite(join(folder, `${name}.db`), 'writer')
  const store = createReplicaStore(sqlite)
  const audit = openSqlite(join(folder, `${name}-audit.db`), 'owner')
  const queue = createAuditQueue({
    sqlite: audit,
    budget: { records: 1_000, bytes: 1_000_000 },
    now: Date.now,
    random: randomBytes,
    endOfTurn: setImmediate,
  })
  const stopping = new AbortController()
  const [statuses, reports]: [LinkStatus[], string[]] = [[], []]
  const common = {
    dial,
    clock: systemClock,
    random: Math.random,
    report: (message: string) => void reports.push(message),
  }
  const ended = follow(
    {
      ...common,
      store,
      set: 'full',
      incarnation: Date.now(),
      keys: [],
      gunzip: (packed) => gunzipSync(packed),
      onApplied: () => undefined,
      onStatus: (status) => void statuses.push(status),
      alarm: (message) => void reports.push(message),
    },
    stopping.signal,
  )
  const forwarding = forwardAudit({ ...common, queue, quiet, onStatus: () => undefined }, stopping.signal)
  return {
    statuses,
    reports,
    queue,
    ended,
    held: () => store.held()?.position,
    async stop() {
      stopping.abort()
      await Promise.all([ended, forwarding])
      sqlite.raw.close()
      audit.raw.close()
    },
  }
}
