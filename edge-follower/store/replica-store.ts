// The replica as the link writes it, on one writing connection.
import { applyCommit } from './apply.ts'
import { migrate } from './migrate.ts'
import type { ReplicaStore } from './replica.ts'
import type { Sqlite } from './sqlite.ts'
import { beginStage, dropStage, finishStage, readStage, stageChunk } from './staging.ts'
import { readState, replicaSchema } from './state.ts'

export function createReplicaStore(sqlite: Sqlite): ReplicaStore {
  migrate(sqlite, 'the local copy (data.db)', replicaSchema)
  return {
    held() {
      const state = readState(sqlite)
      return state && { position: state.position, contentHash: state.contentHash }
    },
    apply: (commit, newestAt) => applyCommit(sqlite, commit, newestAt),
    staged() {
      const stage = readStage(sqlite)
      return stage && { id: stage.header.id, nextChunk: stage.nextChunk }
    },
    stageBegin: (header) => beginStage(sqlite, header),
    stageChunk: (chunk, table, rows) => stageChunk(sqlite, chunk, table, rows),
    stageFinish: (newestAt) => finishStage(sqlite, newestAt),
    stageDrop: () => dropStage(sqlite),
  }
}
