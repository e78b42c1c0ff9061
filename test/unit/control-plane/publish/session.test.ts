// What is at stake: one Follower's trouble stays its own, and a Follower that waits for a large snapshot knows
// that its Leader is alive.
import { expect, test } from 'vitest'
import type { ChangeLog, LoggedCommit } from '#control-plane/ledger/change-log.ts'
import { createPublisher, type Publisher } from '#control-plane/publish/publisher.ts'
import type { Snapshots } from '#control-plane/publish/snapshots.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import type { Position } from '#shared/ledger/position.ts'
import {
  decodeToFollower,
  encodeMessage,
  type Hello,
  PROTOCOL,
  type SnapshotHeader,
  type ToFollower,
} from '#shared/replication/messages.ts'
import type { Wire } from '#shared/replication/wire.ts'
import { type ManualClock, manualClock } from '../../../support/manual-clock.ts'
import { wirePair } from '../../../support/wire-pair.ts'

const contentHash = 'a'.repeat(64)
const at = (seq: number): Position => ({ epoch: 1, seq })
const commit = (seq: number): LoggedCommit => ({
  position: at(seq),
  at: 0,
  contentHash,
  parts: [utf8('[]')],
  bytes: 2,
})

type World = {
  readonly publisher: Publisher
  readonly clock: ManualClock
  readonly reports: string[]
  /** From which positions the stored log was read. */
  readonly read: number[]
  readonly snapshot: PromiseWithResolvers<SnapshotHeader>
  /** The next commit is durable and announced. */
  commit(): void
  /** As when the announcement comes before the head has moved. */
  announceEarly(): void
}

function world(head: number, change: Partial<ChangeLog> = {}): World {
  const clock = manualClock()
  const reports: string[] = []
  const read: number[] = []
  const listeners: ((commit: LoggedCommit) => void)[] = []
  const snapshot = Promise.withResolvers<SnapshotHeader>()
  const log: ChangeLog = {
    head: () => ({ position: at(head), contentHash }),
    floor: () => at(0),
    async read(after) {
      read.push(after.seq)
      return Array.from({ length: head - after.seq }, (_, i) => commit(after.seq + 1 + i))
    },
    hashAt: async () => contentHash,
    subscribe(listener) {
      listeners.push(listener)
      return () => undefined
    },
    snapshot: () => Promise.reject(new Error('not asked here')),
    ...change,
  }
  const snapshots: Snapshots = { current: () => snapshot.promise, async *chunks() {} }
  const publisher = createPublisher({
    log,
    snapshots,
    clock,
    leaderUrl: undefined,
    registerKeys: async () => undefined,
    report: (message) => void reports.push(message),
    alarm: (message) => void reports.push(message),
  })
  const announce = (seq: number): void => {
    for (const listener of listeners) listener(commit(seq))
  }
  return {
    publisher,
    clock,
    reports,
    read,
    snapshot,
    commit: () => announce(++head),
    announceEarly: () => announce(head + 1),
  }
}

const hello = (held: number | null, incarnation = 1): Hello => ({
  type: 'hello',
  protocol: PROTOCOL,
  incarnation,
  set: 'full',
  held: held === null ? null : { position: at(held), contentHash },
  staged: null,
  keys: [],
})

/** A Follower that says hello and tells what it hears. */
function connect({ publisher }: World, name: string, first: Hello, wrap: (wire: Wire) => Wire = (w) => w) {
  const pair = wirePair()
  const done = publisher.attach({ name, set: 'full' }, wrap(pair.far))
  const incoming = pair.near.messages()[Symbol.asyncIterator]()
  const sent = pair.near.send(encodeMessage(first))
  return {
    done: Promise.all([done, sent]),
    cut: () => pair.cut(),
    ack: (seq: number) => pair.near.send(encodeMessage({ type: 'ack', position: at(seq) })),
    async next(): Promise<ToFollower> {
      const { value, done: ended } = await incoming.next()
      if (ended) throw new Error('the Leader has ended the connection')
      return decodeToFollower(value as Uint8Array)
    },
  }
}

test('commits come from the log, then live, each once', async () => {
  const leader = world(5)
  const follower = connect(leader, 'edge-1', hello(3))
  expect(await follower.next()).toMatchObject({ type: 'welcome', mode: 'live', position: at(5) })
  expect(await follower.next()).toMatchObject({ type: 'commit', position: at(4) })
  expect(await follower.next()).toMatchObject({ type: 'commit', position: at(5) })
  leader.commit()
  expect(await follower.next()).toMatchObject({ type: 'commit', position: at(6) })
  leader.commit()
  expect(await follower.next()).toMatchObject({ type: 'commit', position: at(7) })
  expect(leader.read).toEqual([3])
})

test('I6: what is announced before it is durable is not sent', async () => {
  const leader = world(5)
  const follower = connect(leader, 'edge-1', hello(5))
  await follower.next()
  leader.announceEarly()
  leader.commit()
  expect(await follower.next()).toMatchObject({ position: at(6) })
  leader.commit()
  expect(await follower.next()).toMatchObject({ position: at(7) })
})

test('signs of life come while a snapshot is being made', async () => {
  const leader = world(5)
  const follower = connect(leader, 'edge-1', hello(null))
  expect(await follower.next()).toMatchObject({ type: 'welcome', mode: 'snapshot' })
  for (let i = 0; i < 3; i++) {
    await leader.clock.sleeping(limits.heartbeatMs)
    leader.clock.advance(limits.heartbeatMs)
    expect(await follower.next()).toEqual({ type: 'ping' })
  }
  const header = { id: 'abc', position: at(5), contentHash, at: 0, chunks: 0 }
  leader.snapshot.resolve(header)
  expect(await follower.next()).toEqual({ type: 'snapshot', header })
  leader.commit()
  expect(await follower.next()).toMatchObject({ type: 'commit', position: at(6) })
})

test('a Follower is known while it takes its snapshot, and a newer process of it ends that', async () => {
  const leader = world(5)
  const older = connect(leader, 'edge-1', hello(null, 1))
  await older.next()
  expect(leader.publisher.followers()).toMatchObject([{ name: 'edge-1', position: '0.0', connected: true }])
  const newer = connect(leader, 'edge-1', hello(5, 2))
  expect(await newer.next()).toMatchObject({ type: 'welcome' })
  expect(await older.next()).toMatchObject({ type: 'error', code: 'SUPERSEDED' })
  await older.done
  expect(leader.publisher.followers()).toMatchObject([{ name: 'edge-1', position: '1.5', connected: true }])
})

test('a newer process does not wait for a peer that takes nothing any more', async () => {
  const leader = world(5)
  const stuck = (wire: Wire): Wire => ({
    backlogBytes: 0,
    messages: () => wire.messages(),
    close: () => wire.close(),
    send: () => new Promise(() => undefined),
  })
  connect(leader, 'edge-1', hello(5, 1), stuck)
  while (leader.publisher.followers().length === 0) await new Promise((resolve) => setImmediate(resolve))
  const newer = connect(leader, 'edge-1', hello(5, 2))
  expect(await newer.next()).toMatchObject({ type: 'welcome' })
})

test('POSITION_TOO_OLD: a log that was cut under a reader is not passed on with a hole', async () => {
  const leader = world(9, { read: async () => [commit(8), commit(9)] })
  const follower = connect(leader, 'edge-1', hello(3))
  await follower.next()
  expect(await follower.next()).toMatchObject({ type: 'error', code: 'POSITION_TOO_OLD' })
  await follower.done
})

test('a log that cannot be read ends this session with the reason, and no other', async () => {
  const fails = { value: false }
  const leader = world(5, {
    read: async () => {
      if (fails.value) throw new Error('the database went away')
      return []
    },
  })
  const well = connect(leader, 'edge-2', hello(5))
  await well.next()
  fails.value = true
  const follower = connect(leader, 'edge-1', hello(3))
  await expect(follower.done).rejects.toThrow('the database went away')
  leader.commit()
  expect(await well.next()).toMatchObject({ type: 'commit', position: at(6) })
})

test('health says how far each Follower is, also when it has gone', async () => {
  const leader = world(5)
  const follower = connect(leader, 'edge-1', hello(5))
  await follower.next()
  leader.commit()
  await follower.next()
  await follower.ack(6)
  leader.commit()
  await follower.next()
  leader.clock.advance(640)
  const status = {
    name: 'edge-1',
    set: 'full',
    position: '1.6',
    lag_changes: 1,
    age_ms: 640,
    last_ack: '2026-01-05T00:00:00.000Z',
  }
  expect(leader.publisher.followers()).toEqual([{ ...status, connected: true }])
  follower.cut()
  await expect(follower.done).rejects.toThrow('broke')
  expect(leader.publisher.followers()).toEqual([{ ...status, connected: false }])
})

test('an acknowledgement of what was never sent ends the session', async () => {
  const leader = world(5)
  const follower = connect(leader, 'edge-1', hello(5))
  await follower.next()
  leader.commit()
  await follower.next()
  await follower.ack(99)
  await follower.done
  expect(leader.reports.at(-1)).toBe('Follower edge-1: the Follower acknowledged 1.99, and was sent 1.6')
  expect(leader.publisher.followers()).toMatchObject([{ connected: false }])
})
