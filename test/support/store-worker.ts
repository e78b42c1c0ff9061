// A Worker for tests: the store of a Follower on the SQLite of a Durable Object, filled and asked over HTTP.
import { DurableObject } from 'cloudflare:workers'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { createSnapshotStore } from '#edge-follower/store/snapshot-store.ts'
import type { Env } from '#edge-follower/worker/platform-types.ts'
import { objectSqlite } from '#edge-follower/worker/sqlite.ts'
import { wall } from '#shared/base/time.ts'
import { decodeChanges } from '#shared/ledger/change.ts'
import type { ReadRequest } from '#shared/ledger/store.ts'
import type { SnapshotHeader } from '#shared/replication/messages.ts'
import { clockAtZero, fromText, toText } from './store-words.ts'

export class FollowerObject extends DurableObject<Env> {
  async fetch(request: Request): Promise<Response> {
    const sqlite = objectSqlite(this.ctx.storage)
    if (request.headers.has('X-Fill')) {
      const { header, chunks } = (await request.json()) as { header: SnapshotHeader; chunks: string[] }
      const replica = createReplicaStore(sqlite)
      replica.stageBegin(header)
      for (const [chunk, text] of chunks.entries()) {
        const puts = decodeChanges(text).filter((change) => change.op === 'put')
        replica.stageChunk(
          chunk,
          puts[0]!.table,
          puts.map(({ row }) => row),
        )
      }
      replica.stageFinish(wall(0))
      return new Response(null, { status: 204 })
    }
    const asked = fromText(await request.text()) as ReadRequest
    return new Response(toText(await createSnapshotStore(sqlite, clockAtZero).read(asked)))
  }
}

export default {
  fetch: (request: Request, env: Env): Promise<Response> =>
    env.FOLLOWER.getByName(new URL(request.url).pathname).fetch(request),
}
