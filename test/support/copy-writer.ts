// A program that is killed: it applies commits, takes snapshots and appends audit groups without end, and says on
// standard output what is durable. `node copy-writer.ts FOLDER SEED`.
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { openChecked } from '#edge-follower/node/integrity.ts'
import { createAuditQueue } from '#edge-follower/store/audit-queue.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { wall } from '#shared/base/time.ts'
import { createLog } from '#shared/node/log.ts'
import { takeSnapshot } from './copy.ts'
import { sourceAt } from './source.ts'

const [folder, seed] = [process.argv[2]!, Number(process.argv[3])]
const log = createLog('copy-writer', 'error')
const say = (line: string): void => void writeSync(1, `${line}\n`)

const replica = createReplicaStore(openChecked(join(folder, 'data.db'), log, 'test').sqlite)
const queue = createAuditQueue({
  sqlite: openChecked(join(folder, 'audit.db'), log, 'test').sqlite,
  budget: { records: limits.auditQueueRecords, bytes: limits.auditQueueBytes },
  now: Date.now,
  random: randomBytes,
  endOfTurn: setImmediate,
})

async function auditing(): Promise<void> {
  for (let round = 0; ; round++) {
    const name = `${process.pid}.${round}`
    const requests = Array.from({ length: 1 + (round % 5) }, (_, i) => [
      `${name}.${i} first`,
      `${name}.${i} second`,
    ])
    await Promise.all(
      requests.map((lines) => queue.append(lines).then(() => say(`audited ${lines.join(',')}`))),
    )
  }
}

async function applying(): Promise<void> {
  const source = sourceAt(seed, replica.held()?.position.seq ?? 0)
  if (replica.held() === undefined) takeSnapshot(replica, source)
  for (;;) {
    const commit = source.next()
    if (commit.position.seq % 20 === 0) takeSnapshot(replica, source)
    else replica.apply(commit, wall(0))
    say(`applied ${commit.position.seq}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

await Promise.all([auditing(), applying()])
