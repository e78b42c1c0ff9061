// The publishing half of a Leader on a real Postgres and a real socket: writer, log, snapshots, entrance.
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ChangeLog } from '#control-plane/ledger/change-log.ts'
import type { Database } from '#control-plane/ledger/connection.ts'
import { currentEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { createChangeLog } from '#control-plane/ledger/log.ts'
import { createWriter, type Writer } from '#control-plane/ledger/writer.ts'
import { byBearer, createEntrance, type Streams } from '#control-plane/publish/entrance.ts'
import { createPublisher, type Publisher } from '#control-plane/publish/publisher.ts'
import { createSnapshots } from '#control-plane/publish/snapshots.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import type { Change } from '#shared/ledger/change.ts'
import type { Position } from '#shared/ledger/position.ts'
import { systemClock } from '#shared/node/clock.ts'
import { ledgerDatabase } from './postgres.ts'

export type PublishingLeader = {
  readonly database: Database
  readonly writer: Writer
  readonly log: ChangeLog & { trim(): Promise<void> }
  readonly publisher: Publisher
  readonly port: number
  readonly streams: Streams
  readonly reports: readonly string[]
  /** `follower kid` of every key that was to be registered. */
  readonly keys: readonly string[]
  write(...changes: readonly Change[]): Promise<Position>
  close(): Promise<void>
}

/** `bearers`: secret of each Follower by its name. */
export async function publishingLeader(bearers: Record<string, string>): Promise<PublishingLeader> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-leader-'))
  const database = await ledgerDatabase()
  const epoch = await currentEpoch(database, 'leader-1', 1)
  const writer = await createWriter({ database, epoch, clock: systemClock })
  const log = await createChangeLog(database, writer)
  const reports: string[] = []
  const keys: string[] = []
  const report = (message: string): void => void reports.push(message)
  const publisher = createPublisher({
    log,
    snapshots: createSnapshots(log, folder, randomBytes),
    clock: systemClock,
    leaderUrl: 'https://leader.example',
    registerKeys: async (follower, registered) => {
      for (const { kid } of registered) keys.push(`${follower} ${kid}`)
    },
    report,
    alarm: report,
  })
  const streams: Streams = {
    onStream: (identity, wire) => publisher.attach(identity, wire),
    onAudit: async (_identity, wire) => wire.close(),
  }
  const server = createServer()
  server.on(
    'upgrade',
    createEntrance({
      identify: byBearer(Object.entries(bearers).map(([name, bearer]) => ({ name, bearer }))),
      ...streams,
      report,
    }),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the Leader has no port')
  return {
    database,
    writer,
    log,
    publisher,
    port: address.port,
    streams,
    reports,
    keys,
    async write(...changes) {
      const decide = () => ({ changes, records: [] })
      return (await writer.submit({ statements: [], caller: undefined, decide })).position
    },
    async close() {
      publisher.close()
      await new Promise((resolve) => server.close(resolve))
      await writer.idle()
      await database.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
