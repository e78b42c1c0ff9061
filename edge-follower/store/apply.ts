// One Leader transaction becomes one transaction here, with the position inside (cluster 6.3).
import { assert } from '#shared/base/assert.ts'
import type { Wall } from '#shared/base/time.ts'
import {
  type Change,
  type Commit,
  deleteSql,
  digestSql,
  keyParams,
  putParams,
  putSql,
} from '#shared/ledger/change.ts'
import { ContentHash, rowDigest } from '#shared/ledger/digest.ts'
import { compare, format } from '#shared/ledger/position.ts'
import { HashMismatch } from './replica.ts'
import type { Sqlite } from './sqlite.ts'
import { readState, writeState } from './state.ts'

/** Throws `HashMismatch` and changes nothing when the content afterwards is not the Leader's. */
export function applyCommit(sqlite: Sqlite, commit: Commit, newestAt: Wall): void {
  sqlite.transaction(() => {
    const held = readState(sqlite)
    assert(held !== undefined, 'a commit is applied to a snapshot')
    assert(commit.position.epoch >= held.position.epoch, 'I8: a lower epoch changes nothing')
    assert(compare(commit.position, held.position) > 0, 'I7: a Follower never goes back')
    assert(commit.position.seq === held.position.seq + 1, 'I7: every state is a prefix of the commit order')

    const hash = applyChanges(sqlite, commit.changes, ContentHash.parse(held.contentHash))
    if (hash.toString() !== commit.contentHash) throw new HashMismatch(format(commit.position))
    const dataChanged = commit.changes.some((change) => change.table !== 'heartbeats')
    writeState(sqlite, {
      position: commit.position,
      contentHash: commit.contentHash,
      newestAt,
      dataVersion: held.dataVersion + (dataChanged ? 1 : 0),
      snapshotId: held.snapshotId,
    })
  })
}

function applyChanges(sqlite: Sqlite, changes: readonly Change[], before: ContentHash): ContentHash {
  const added: Uint8Array[] = []
  const removed: Uint8Array[] = []
  for (const change of changes) {
    const key = keyParams(change.table, change.op === 'put' ? change.row : change.key)
    const [old] = sqlite.all(digestSql(change.table), key)
    if (old !== undefined) removed.push(old.digest as Uint8Array)
    if (change.op === 'put') {
      // Computed here and not taken from the wire: the hash then says what this copy really holds.
      const digest = rowDigest(change.table, change.row)
      sqlite.run(putSql(change.table), putParams(change.table, change.row, digest))
      added.push(digest)
    } else {
      sqlite.run(deleteSql(change.table), key)
    }
  }
  return before.change(added, removed)
}
