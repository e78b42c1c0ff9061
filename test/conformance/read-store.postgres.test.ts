import { currentEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { createReader } from '#control-plane/ledger/reader.ts'
import { createWriter } from '#control-plane/ledger/writer.ts'
import { manualClock } from '../support/manual-clock.ts'
import { ledgerDatabase } from '../support/postgres.ts'
import { readStoreCases } from './read-store.cases.ts'

readStoreCases('Postgres', async (changes) => {
  const database = await ledgerDatabase()
  const epoch = await currentEpoch(database, 'leader-1', 1)
  const writer = await createWriter({ database, epoch, clock: manualClock() })
  const decide = () => ({ changes, records: [] })
  const { position } = await writer.submit({ statements: [], caller: undefined, decide })
  await writer.idle()
  return { store: createReader(database), position, close: () => database.close() }
})
