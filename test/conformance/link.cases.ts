// What is at stake: a Follower's copy is always one of the Leader's states (I7), whatever breaks between them, and
// each error of the stream (cluster 6.3) ends in a Follower that is right again or stays as it was.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { follow, type LinkStatus } from '#edge-follower/link/link.ts'
import type { ReplicaStore } from '#edge-follower/store/replica.ts'
import type { Sqlite } from '#edge-follower/store/sqlite.ts'
import type { Clock } from '#shared/base/time.ts'
import { type Change, put, remove } from '#shared/ledger/change.ts'
import { ContentHash, rowDigest } from '#shared/ledger/digest.ts'
import { compare, format, type Position } from '#shared/ledger/position.ts'
import { columnsOf, tableNames } from '#shared/ledger/tables.ts'
import { systemClock } from '#shared/node/clock.ts'
import { decodeToFollower, encodeMessage, type Hello, PROTOCOL } from '#shared/replication/messages.ts'
import type { Wire } from '#shared/replication/wire.ts'
import type { CutProxy } from '../support/cut-proxy.ts'
import { bearers, type LinkWay, type Way } from '../support/link-ways.ts'
import { type PublishingLeader, publishingLeader } from '../support/publishing-leader.ts'
import { runSeed, seeded } from '../support/random.ts'

/** One copy as a runtime keeps it. */
export type OpenReplica = {
  readonly store: ReplicaStore
  readonly sqlite: Sqlite
  /** Another connection, as a serving thread has it. */
  readonly reader: Sqlite
  readonly gunzip: (packed: Uint8Array) => Uint8Array
  close(): void
}

const role = (id: string): Change => put('roles', { id, policy: null, created_at: 1 })
const roles = (count: number, prefix: string): Change[] =>
  Array.from({ length: count }, (_, i) => role(`acme:host:${prefix}-${i}`))
const secret = (resource: string, bytes: number, fill = 1): Change =>
  put('secrets', { resource, version: 1, sealed: new Uint8Array(bytes).fill(fill), expires_at: null })

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
/** Pauses take one turn of the event loop. */
const hasty: Clock = { ...systemClock, sleep: tick }

/** Computed anew from the rows, not from what the copy says of itself. */
function hashOfRows(sqlite: Sqlite): string {
  const digests = tableNames.flatMap((table) =>
    sqlite.all(`SELECT ${columnsOf(table).join(', ')} FROM ${table}`, []).map((row) => rowDigest(table, row)),
  )
  return new ContentHash().change(digests, []).toString()
}

type Running = {
  readonly statuses: LinkStatus[]
  readonly reports: string[]
  readonly applied: Position[]
  /** Chunks in the order in which they were staged. */
  readonly staged: number[]
  readonly done: Promise<unknown>
  stop(): Promise<void>
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await tick()
}

/** `open`: the copy called `name`, new or as it was left. Both ends are real, over sockets on this machine. */
export function linkCases(
  runtime: string,
  open: (name: string) => OpenReplica,
  { name: how, begin, onePerName }: Way,
): void {
  let leader: PublishingLeader
  let way: LinkWay
  let proxy: CutProxy
  let stops: (() => Promise<void>)[]
  beforeEach(async () => {
    leader = await publishingLeader(bearers)
    way = await begin(leader)
    proxy = way.proxy
    stops = []
  })
  afterEach(async () => {
    await Promise.all(stops.map((stop) => stop()))
    await way.close()
    await leader.close()
  })

  function run(replica: OpenReplica, incarnation = 1, name: keyof typeof bearers = 'edge-1'): Running {
    const stopping = new AbortController()
    const statuses: LinkStatus[] = []
    const reports: string[] = []
    const applied: Position[] = []
    const staged: number[] = []
    const { store } = replica
    const done = follow(
      {
        store: {
          ...store,
          stageChunk(chunk, table, rows) {
            store.stageChunk(chunk, table, rows)
            staged.push(chunk)
          },
        },
        dial: way.dial(name, bearers[name]),
        clock: hasty,
        random: () => 0,
        set: 'full',
        incarnation,
        keys: [{ kid: 'key-1', jwk: '{}' }],
        gunzip: replica.gunzip,
        onApplied: (position) => void applied.push(position),
        onStatus: (status) => void statuses.push(status),
        report: (message) => void reports.push(message),
        alarm: (message) => void reports.push(message),
      },
      stopping.signal,
    )
    const stop = async (): Promise<void> => {
      stopping.abort()
      await done
    }
    stops.push(stop)
    return { statuses, reports, applied, staged, done, stop }
  }

  /** The copy holds what the Leader holds: its rows too, not only what it says of itself. */
  async function caughtUp(replica: OpenReplica): Promise<void> {
    const { position, contentHash } = leader.log.head()
    await until(() => {
      const held = replica.store.held()
      return held !== undefined && compare(held.position, position) >= 0
    })
    expect(replica.store.held()).toEqual({ position, contentHash })
    expect(hashOfRows(replica.sqlite)).toBe(contentHash)
  }

  const countRoles = (sqlite: Sqlite): number =>
    sqlite.all('SELECT COUNT(*) AS n FROM roles', [])[0]!.n as number

  /** A Follower that follows and is then stopped, with a hundred commits behind it. */
  async function stopped(replica: OpenReplica): Promise<void> {
    await leader.write(...roles(5, 'first'))
    const running = run(replica)
    await caughtUp(replica)
    for (let i = 0; i < 10; i++) await leader.write(role(`acme:user:u${i}`))
    await caughtUp(replica)
    await running.stop()
  }

  describe(`link on ${runtime}, ${how}`, () => {
    test('a copy begins with a snapshot, and every write arrives', async () => {
      await leader.write(...roles(100, 'before'))
      const replica = open('copy')
      const running = run(replica)
      await caughtUp(replica)
      expect(running.staged).not.toEqual([])
      await leader.write(role('acme:user:late'), remove('roles', { id: 'acme:host:before-3' }))
      const last = await leader.write(secret('acme:variable:x', 10))
      await caughtUp(replica)
      expect(running.applied.at(-1)).toEqual(last)
      expect(running.statuses.at(-1)).toEqual({
        state: 'live',
        leaderUrl: 'https://leader.example',
        lastError: undefined,
      })
      await until(() => leader.publisher.followers()[0]?.lag_changes === 0)
      expect(leader.publisher.followers()).toMatchObject([
        { name: 'edge-1', set: 'full', position: format(last), connected: true },
      ])
      expect(leader.keys).toEqual(['edge-1 key-1'])
      await running.stop()
      await until(() => leader.publisher.followers()[0]?.connected === false)
      expect(leader.publisher.followers()[0]?.position).toBe(format(last))
      replica.close()
    })

    test('a Follower that was away goes on from what it holds', async () => {
      const first = open('copy')
      await stopped(first)
      first.close()
      for (let i = 0; i < 50; i++) await leader.write(role(`acme:user:away${i}`))
      const second = open('copy')
      const running = run(second, 2)
      await caughtUp(second)
      expect(running.staged).toEqual([])
      expect(running.applied).toHaveLength(50)
      second.close()
    })

    test('a commit of 20 000 rows is seen whole or not at all, also when it breaks in the middle', async () => {
      const replica = open('copy')
      await stopped(replica)
      const before = countRoles(replica.sqlite)
      await leader.write(...roles(20_000, 'many'))
      const cuts = [200_000, 500_000, 900_000]
      proxy.bytesUntilCut = () => cuts.shift()
      const running = run(replica, 2)
      const seen = new Set<number>()
      await until(() => {
        const count = countRoles(replica.reader)
        seen.add(count)
        return count > before
      })
      expect([...seen]).toEqual([before, before + 20_000])
      expect(cuts).toEqual([])
      expect(running.applied).toHaveLength(1)
      await caughtUp(replica)
      replica.close()
    })

    test('a snapshot goes on with the chunk at which it broke, and the old copy serves meanwhile', async () => {
      const replica = open('copy')
      await stopped(replica)
      await forgetLog()
      // Values that do not compress, so that chunks are as large on the wire.
      const random = seeded(5)
      for (let i = 0; i < 8; i++) {
        const sealed = Uint8Array.from({ length: 700_000 }, () => random.int(0, 256))
        await leader.write(
          put('secrets', { resource: `acme:variable:v${i}`, version: 1, sealed, expires_at: null }),
        )
      }
      await forgetLog()
      const before = countRoles(replica.sqlite)
      const cuts = [2_500_000, 2_500_000]
      const atReconnect: number[] = []
      proxy.bytesUntilCut = () => {
        atReconnect.push(countRoles(replica.reader))
        return cuts.shift()
      }
      const running = run(replica, 2)
      await caughtUp(replica)
      expect(running.staged.length).toBeGreaterThan(4)
      expect(running.staged).toEqual(running.staged.map((_, i) => i))
      expect(atReconnect).toEqual([before, before, before])
      expect(running.reports.filter((line) => line.includes('POSITION_TOO_OLD'))).toHaveLength(3)
      replica.close()
    })

    test('connections that break at random leave the Leader’s content', async () => {
      const random = seeded(runSeed('link'))
      const replica = open('copy')
      proxy.bytesUntilCut = () => (random.next() < 0.9 ? random.int(1, 40_000) : undefined)
      const running = run(replica)
      for (let i = 0; i < 150; i++) {
        const changes = Array.from({ length: random.int(1, 30) }, (): Change => {
          const id = `acme:host:h${random.int(0, 300)}`
          if (random.next() < 0.3) return remove('roles', { id })
          return random.next() < 0.5 ? role(id) : secret(id, random.int(1, 3_000), random.int(0, 256))
        })
        await leader.write(...changes)
        if (random.next() < 0.1) proxy.cut()
      }
      proxy.bytesUntilCut = () => undefined
      proxy.cut()
      await caughtUp(replica)
      const rises = running.applied.every((position, i, all) => i === 0 || compare(position, all[i - 1]!) > 0)
      expect(rises).toBe(true)
      expect(proxy.connections()).toBeGreaterThan(3)
      replica.close()
    })

    test('a Follower that takes nothing slows neither the writer nor another, and gets all when it reads again', async () => {
      const stalled = await dialled('edge-2')
      await stalled.wire.send(encodeMessage(hello()))
      const replica = open('copy')
      run(replica)
      for (let i = 0; i < 24; i++) await leader.write(secret(`acme:variable:v${i}`, 900_000, i))
      await caughtUp(replica)
      const seqs: number[] = []
      const head = leader.log.head().position
      for await (const frame of stalled.wire.messages()) {
        const message = decodeToFollower(frame)
        if (message.type !== 'commit') continue
        if (message.part === message.parts - 1) seqs.push(message.position.seq)
        if (message.position.seq === head.seq) break
      }
      // Its snapshot may hold the first of them; what came after it came without a hole.
      expect(seqs).toEqual(Array.from({ length: seqs.length }, (_, i) => head.seq - seqs.length + 1 + i))
      expect(seqs.length).toBeGreaterThan(10)
      replica.close()
    })

    test('POSITION_TOO_OLD: what the log has lost comes as a snapshot', async () => {
      const replica = open('copy')
      await stopped(replica)
      for (let i = 0; i < 3; i++) await leader.write(role(`acme:user:away${i}`))
      await forgetLog()
      const running = run(replica, 2)
      await caughtUp(replica)
      expect(running.reports).toContainEqual(expect.stringContaining('a snapshot is taken: POSITION_TOO_OLD'))
      replica.close()
    })

    test('POSITION_AHEAD: a copy that is ahead is replaced, and the Leader says so', async () => {
      const replica = open('copy')
      await stopped(replica)
      replica.sqlite.run('UPDATE replica_state SET seq = seq + 1000', [])
      const running = run(replica, 2)
      await until(() => running.reports.some((line) => line.startsWith('snapshot complete')))
      await caughtUp(replica)
      expect(leader.reports).toContain('Follower edge-1: takes a snapshot: POSITION_AHEAD')
      replica.close()
    })

    test('EPOCH_STALE: a Leader of an earlier epoch is not followed, and the copy stays', async () => {
      const replica = open('copy')
      await stopped(replica)
      replica.sqlite.run('UPDATE replica_state SET epoch = epoch + 1', [])
      const held = replica.store.held()
      const running = run(replica, 2)
      await until(() => running.statuses.some(({ lastError }) => lastError?.startsWith('EPOCH_STALE')))
      await leader.write(role('acme:user:other'))
      await running.stop()
      expect(replica.store.held()).toEqual(held)
      expect(running.applied).toEqual([])
      replica.close()
    })

    test('HASH_MISMATCH at a commit: nothing of it is applied, the Leader is told, a snapshot heals', async () => {
      const replica = open('copy')
      await stopped(replica)
      // A row that is not the Leader's, with the digest that belongs to it.
      const row = { id: 'acme:user:u1', policy: null, created_at: 99 }
      const digest = rowDigest('roles', row)
      replica.sqlite.run('UPDATE roles SET created_at = 99, digest = ?1 WHERE id = ?2', [digest, row.id])
      const running = run(replica, 2)
      await until(() => running.statuses.some(({ state }) => state === 'live'))
      await leader.write(remove('roles', { id: row.id }))
      await until(() => running.reports.some((line) => line.startsWith('snapshot complete')))
      await caughtUp(replica)
      await until(() => leader.reports.some((line) => line.includes('says HASH_MISMATCH')))
      replica.close()
    })

    test('HASH_MISMATCH at the greeting: another history under the same number is not gone on from', async () => {
      const replica = open('copy')
      await stopped(replica)
      replica.sqlite.run('UPDATE replica_state SET content_hash = ?1', ['0'.repeat(64)])
      const running = run(replica, 2)
      await until(() => running.reports.some((line) => line.startsWith('a snapshot is taken: HASH_MISMATCH')))
      await until(() => running.reports.some((line) => line.startsWith('snapshot complete')))
      await caughtUp(replica)
      replica.close()
    })

    test.skipIf(onePerName)(
      'SUPERSEDED: of two processes with one name the newer follows and the older gives up',
      async () => {
        const [older, newer] = [open('older'), open('newer')]
        await leader.write(...roles(5, 'r'))
        const old = run(older, 1)
        await caughtUp(older)
        run(newer, 2)
        await old.done
        expect(old.statuses.at(-1)).toMatchObject({ state: 'superseded' })
        await leader.write(role('acme:user:late'))
        await caughtUp(newer)
        const late = run(older, 1)
        await late.done
        expect(late.statuses.at(-1)?.lastError).toMatch('SUPERSEDED: a newer process')
        older.close()
        newer.close()
      },
    )

    test.each([
      ['VERSION_UNSUPPORTED', { protocol: 99 }],
      ['SET_CHANGED', { set: 'eu' }],
    ] as const)('%s: the Follower is told and the connection ends', async (code, change) => {
      const { wire } = await dialled('edge-1')
      await wire.send(encodeMessage({ ...hello(), ...change }))
      const said = await wire.messages()[Symbol.asyncIterator]().next()
      expect(decodeToFollower(said.value as Uint8Array)).toMatchObject({ type: 'error', code })
      expect(leader.publisher.followers()).toEqual([])
    })

    test('the entrance lets in who it knows, and says no more than that', async () => {
      const wrong = [
        { name: 'edge-1', bearer: 'secret.2' },
        { name: 'edge-1', bearer: '' },
        { name: 'unknown', bearer: 'secret-1' },
      ]
      for (const identity of wrong) {
        await expect(way.refused(identity.name, identity.bearer)).resolves.toContain('401')
      }
    })

    test.each([
      ['no message at all', Uint8Array.of(1, 2, 3)],
      ['an acknowledgement before hello', encodeMessage({ type: 'ack', position: { epoch: 1, seq: 1 } })],
    ])('%s ends the connection and nothing else', async (_name, frame) => {
      const { wire } = await dialled('edge-2')
      await wire.send(frame)
      await expect(drained(wire)).resolves.toEqual([])
      const replica = open('copy')
      await leader.write(role('acme:user:x'))
      run(replica)
      await caughtUp(replica)
      replica.close()
    })
  })

  const hello = (): Hello => ({
    type: 'hello',
    protocol: PROTOCOL,
    incarnation: 1,
    set: 'full',
    held: null,
    staged: null,
    keys: [],
  })

  async function dialled(name: keyof typeof bearers): Promise<{ wire: Wire }> {
    const stopping = new AbortController()
    const wire = await way.dial(name, bearers[name])('/replication/stream', stopping.signal)
    stops.push(async () => wire.close())
    return { wire }
  }

  /** What still comes until the connection has ended, in whichever way. */
  async function drained(wire: Wire): Promise<Uint8Array[]> {
    const frames: Uint8Array[] = []
    try {
      for await (const frame of wire.messages()) frames.push(frame)
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/ECONNRESET|PREMATURE_CLOSE/) })
    }
    return frames
  }

  /** As retention does it: the newest commit stays. */
  async function forgetLog(): Promise<void> {
    const { seq } = leader.log.head().position
    await leader.database.query('DELETE FROM change_log WHERE seq < $1', [seq])
    await leader.log.trim()
  }
}
