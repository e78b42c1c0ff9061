// The link on Node, in each way in which it may be carried: better-sqlite3 in a file, a reader beside the writer.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach } from 'vitest'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { ways } from '../support/link-ways.ts'
import { linkCases, type OpenReplica } from './link.cases.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-link-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function open(name: string): OpenReplica {
  const file = join(folder, `${name}.db`)
  const sqlite = openSqlite(file, 'writer')
  const store = createReplicaStore(sqlite)
  const reader = openSqlite(file, 'reader')
  return {
    store,
    sqlite,
    reader,
    gunzip: (packed) => gunzipSync(packed),
    close() {
      reader.raw.close()
      sqlite.raw.close()
    },
  }
}

for (const way of ways) linkCases('better-sqlite3', open, way)
