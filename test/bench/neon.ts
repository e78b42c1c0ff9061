// Writes of the ledger through each driver, on the same Postgres: what it costs to reach one over WebSockets.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '#control-plane/ledger/connection.ts'
import { currentEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { createDatabases, ledgerMigrations, migrate } from '#control-plane/ledger/migrate.ts'
import { createWriter } from '#control-plane/ledger/writer.ts'
import { findBinaries } from '#control-plane/postgres/binaries.ts'
import { createPostgres } from '#control-plane/postgres/server.ts'
import { put } from '#shared/ledger/change.ts'
import { systemClock } from '#shared/node/clock.ts'
import { overWebSockets } from '../support/websockets.ts'
import { type Figure, figure } from './measure.ts'

const ROUNDS = 3
const SECONDS = 3

export async function neonWrites(): Promise<Figure[]> {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
  const binaries = await findBinaries(process.env.PGBIN)
  const postgres = createPostgres({ dataDirectory, binaries, clock: systemClock, log: () => undefined })
  await postgres.start()
  const websockets = await overWebSockets(postgres, 'SUPERUSER')
  try {
    const names = ['over_sockets', 'over_websockets'] as const
    const admin = connect(postgres.url('postgres'), 1)
    await createDatabases(admin, names)
    await admin.close()
    const sockets = await ledgerAt(postgres.url(names[0]))
    const others = await ledgerAt(websockets.url(names[1]))
    const figures: Figure[] = []
    for (const clients of [1, 8]) {
      const ours: number[] = []
      const ratios: number[] = []
      for (let round = 0; round < ROUNDS; round++) {
        const writes = await others.writesPerSecond(clients)
        ours.push(writes)
        ratios.push(writes / (await sockets.writesPerSecond(clients)))
      }
      figures.push(figure(`ledger writes over WebSockets, clients: ${clients}`, 'writes/s', ours))
      figures.push(figure(`the same ÷ those of the driver pg, clients: ${clients}`, 'ratio', ratios))
    }
    await Promise.all([sockets.close(), others.close()])
    return figures
  } finally {
    await websockets.close()
    await postgres.stop()
    rmSync(dataDirectory, { recursive: true, force: true })
  }
}

async function ledgerAt(url: string) {
  const database = connect(url)
  await migrate(database, ledgerMigrations)
  const epoch = await currentEpoch(database, 'leader-1', 1)
  const writer = await createWriter({ database, epoch, clock: systemClock })
  return {
    async writesPerSecond(clients: number): Promise<number> {
      const stopAt = performance.now() + SECONDS * 1_000
      let written = 0
      const client = async (_: unknown, c: number): Promise<void> => {
        while (performance.now() < stopAt) {
          const role = { id: `a:user:u${c}`, policy: null, created_at: ++written }
          const changes = [put('roles', role)]
          await writer.submit({
            statements: [],
            caller: undefined,
            decide: () => ({ changes, records: ['line'] }),
          })
        }
      }
      await Promise.all(Array.from({ length: clients }, client))
      return written / SECONDS
    },
    async close(): Promise<void> {
      await writer.idle()
      await database.close()
    },
  }
}
