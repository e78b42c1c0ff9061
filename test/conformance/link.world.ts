// The link on Node: better-sqlite3 in a file, a reader beside the writer.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach } from 'vitest'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import type { OpenReplica } from './link.cases.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-link-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** The copy called `name` of the test that runs. */
export function openOnNode(name: string): OpenReplica {
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
