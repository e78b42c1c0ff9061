// A Follower that is killed with SIGKILL has, when it comes back, a state that the Leader had, and every record
// of every answer that it gave.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { createAuditQueue } from '#edge-follower/store/audit-queue.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { scrubOnce } from '#edge-follower/store/scrub.ts'
import { chainStart, fitBatch } from '#shared/audit/chain.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import type { Clock } from '#shared/base/time.ts'
import { contentIn, contentOf, temporaryFolder } from '../../../support/copy.ts'
import { manualClock } from '../../../support/manual-clock.ts'
import { runSeed, seeded } from '../../../support/random.ts'
import { sourceAt } from '../../../support/source.ts'

const program = new URL('../../../support/copy-writer.ts', import.meta.url).pathname
const rounds = 12

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => folder.remove())

/** Runs the program until it has said so many lines, kills it, and returns all that it said. */
async function runAndKill(seed: number, lines: number): Promise<string[]> {
  const child = spawn(process.execPath, [program, folder.path, String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  }) as ChildProcess & { stdout: NodeJS.ReadableStream }
  const said: string[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(line)
    if (said.length === lines) child.kill('SIGKILL')
  }
  if (child.signalCode === null && child.exitCode === null) await once(child, 'exit')
  expect(child.signalCode, said.join('\n')).toBe('SIGKILL')
  return said
}

const valuesOf = (said: readonly string[], what: string): string[] =>
  said.filter((line) => line.startsWith(`${what} `)).map((line) => line.slice(what.length + 1))

async function checkData(seed: number, applied: number): Promise<void> {
  const sqlite = openSqlite(join(folder.path, 'data.db'), 'writer')
  const { position, contentHash } = createReplicaStore(sqlite).held()!
  const source = sourceAt(seed, position.seq)
  expect(position.seq).toBeGreaterThanOrEqual(applied)
  expect(contentIn(sqlite)).toEqual(contentOf(source))
  expect(contentHash).toBe(source.contentHash)
  const clock: Clock = { ...manualClock(), sleep: () => Promise.resolve() }
  const direct = { ...sqlite, readForThisTurn: () => 0 }
  const pass = await scrubOnce({ sqlite: direct, clock }, new AbortController().signal)
  expect(pass).toMatchObject({ kind: 'sound', totalCompared: true })
  sqlite.close()
}

function checkAudit(acknowledged: readonly string[]): void {
  const sqlite = openSqlite(join(folder.path, 'audit.db'), 'writer')
  const queue = createAuditQueue({
    sqlite,
    budget: { records: 1, bytes: 1 },
    now: () => 0,
    random: randomBytes,
    endOfTurn: setImmediate,
  })
  const records = queue.read(0, 1_000_000)
  const lines = records.map(({ line }) => line)
  expect(fitBatch(chainStart, records)).toMatchObject({ kind: 'fits', end: { seq: queue.pending().records } })
  expect(new Set(lines).size, 'no record twice').toBe(lines.length)
  const stored = new Set(lines)
  expect(acknowledged.filter((line) => !stored.has(line))).toEqual([])
  sqlite.close()
}

test(`killed ${rounds} times in the middle of commits, snapshots and audit groups`, async () => {
  const seed = runSeed('crash')
  const random = seeded(seed)
  const acknowledged: string[] = []
  for (let round = 0; round < rounds; round++) {
    const said = await runAndKill(seed, random.int(1, 60))
    acknowledged.push(...valuesOf(said, 'audited').flatMap((lines) => lines.split(',')))
    const applied = Math.max(0, ...valuesOf(said, 'applied').map(Number))
    await checkData(seed, applied)
    checkAudit(acknowledged)
  }
})
