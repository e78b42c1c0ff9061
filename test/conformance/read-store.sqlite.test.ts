import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { createSnapshotStore } from '#edge-follower/store/snapshot-store.ts'
import { wall } from '#shared/base/time.ts'
import { inMemory, takeSnapshot, temporaryFolder } from '../support/copy.ts'
import { manualClock } from '../support/manual-clock.ts'
import { Source } from '../support/source.ts'
import { readStoreCases } from './read-store.cases.ts'

readStoreCases('SQLite in a file', async (changes) => {
  const folder = temporaryFolder()
  const writer = openSqlite(`${folder.path}/data.db`, 'writer')
  const source = new Source()
  const replica = createReplicaStore(writer)
  takeSnapshot(replica, source)
  replica.apply(source.commit(changes), wall(0))
  const reader = openSqlite(`${folder.path}/data.db`, 'reader')
  return {
    store: createSnapshotStore(reader, manualClock()),
    position: source.position,
    close() {
      reader.close()
      writer.close()
      folder.remove()
    },
  }
})

readStoreCases('SQLite in memory, one event at a time', async (changes) => {
  const sqlite = inMemory()
  const source = new Source()
  source.commit(changes)
  takeSnapshot(createReplicaStore(sqlite), source)
  return {
    store: createSnapshotStore(sqlite, manualClock()),
    position: source.position,
    close: () => sqlite.close(),
  }
})
