// The replica as the link writes it, on one writing connection.
import { applyCommit } from './apply.ts'
import type { ReplicaStore } from './replica.ts'
import type { Sqlite } from './sqlite.ts'
import { beginStage, createStagingTable, dropStage, finishStage, readStage, stageChunk } from './staging.ts'
import { createTables, readState } from './state.ts'

export function createReplicaStore(sqlite: Sqlite): ReplicaStore {
  createTables(sqlite)
  createStagingTable(sqlite)
  return {
    held() {
      const state = readState(sqlite)
      return state && { position: state.position, contentHash: state.contentHash }
    },
    apply: (commit, receivedAt) => applyCommit(sqlite, commit, receivedAt),
    staged() {
      const stage = readStage(sqlite)
      return stage && { id: stage.header.id, nextChunk: stage.nextChunk }
    },
    stageBegin: (header) => beginStage(sqlite, header),
    stageChunk: (chunk, table, rows) => stageChunk(sqlite, chunk, table, rows),
    stageFinish: (receivedAt) => finishStage(sqlite, receivedAt),
    stageDrop: () => dropStage(sqlite),
  }
}
