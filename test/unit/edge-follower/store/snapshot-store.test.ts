// One turn of the event loop reads one position, and says how old it is.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import type { ReplicaStore } from '#edge-follower/store/replica.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { createSnapshotStore } from '#edge-follower/store/snapshot-store.ts'
import type { Sqlite } from '#edge-follower/store/sqlite.ts'
import { wall } from '#shared/base/time.ts'
import { type Change, put, remove } from '#shared/ledger/change.ts'
import type { ReadStore, Snapshot, Statement } from '#shared/ledger/store.ts'
import { inMemory, takeSnapshot, temporaryFolder } from '../../../support/copy.ts'
import { type ManualClock, manualClock } from '../../../support/manual-clock.ts'
import { Source } from '../../../support/source.ts'

const role = (id: string): Change => put('roles', { id, policy: null, created_at: 1 })
const member = (id: string, of: string) =>
  put('memberships', { role: id, member: of, ownership: 0, admin_option: 0, policy: null })
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

let folder: ReturnType<typeof temporaryFolder>
let writer: Sqlite
let reader: Sqlite
let asked: string[]
let replica: ReplicaStore
let source: Source
let clock: ManualClock
let store: ReadStore
beforeEach(() => {
  folder = temporaryFolder()
  writer = openSqlite(`${folder.path}/data.db`, 'writer')
  replica = createReplicaStore(writer)
  asked = []
  const opened = openSqlite(`${folder.path}/data.db`, 'reader')
  reader = {
    ...opened,
    all(sql, params) {
      asked.push(sql)
      return opened.all(sql, params)
    },
  }
  source = new Source()
  clock = manualClock(1_000_000)
  store = createSnapshotStore(reader, clock)
})
afterEach(() => {
  reader.close()
  writer.close()
  folder.remove()
})

function apply(...changes: Change[]): void {
  replica.apply(source.commit(changes), clock.wall())
}

const roles = { sql: 'SELECT id FROM roles ORDER BY id', params: [] }
const closure = { sql: 'SELECT id FROM closure ORDER BY id', params: [] }

function read(caller?: string, statement: Statement = roles): Snapshot & { readonly ids: unknown[] } {
  const snapshot = store.read({ statements: [statement], caller }) as Snapshot
  return { ...snapshot, ids: snapshot.rows[0]!.map((row) => row.id) }
}

describe('reading', () => {
  test('is unavailable before the first snapshot, and works from its turn on', async () => {
    expect(() => read()).toThrow(expect.objectContaining({ code: 'unavailable' }))
    takeSnapshot(replica, source, clock.wall())
    await nextTurn()
    expect(read().position).toEqual({ epoch: 1, seq: 0 })
  })

  test('all of one turn is one position; the next turn sees what came meanwhile', async () => {
    takeSnapshot(replica, source, clock.wall())
    apply(role('a'))
    const first = read()
    apply(role('b'))
    await Promise.resolve()
    const second = read()
    expect([first.ids, second.ids]).toEqual([['a'], ['a']])
    expect(second.position).toEqual(first.position)
    await nextTurn()
    expect(read().ids).toEqual(['a', 'b'])
    expect(read().position).toEqual(source.position)
  })

  test('many turns with commits between them: rows and position belong together, and never go back', async () => {
    takeSnapshot(replica, source, clock.wall())
    let last = 0
    for (let i = 1; i <= 200; i++) {
      apply(role(`r-${i}`))
      const { ids, position } = read()
      expect(ids).toHaveLength(position.seq)
      expect(position.seq).toBeGreaterThanOrEqual(last)
      last = position.seq
      if (i % 3 === 0) await nextTurn()
    }
    await nextTurn()
    expect(read().position.seq).toBe(200)
  })
})

describe('the age of the data', () => {
  test('counts from the newest commit, a heartbeat too, and is never negative', async () => {
    takeSnapshot(replica, source, clock.wall())
    clock.advance(700)
    expect(read().ageMs).toBe(700)
    replica.apply(source.heartbeat(), clock.wall())
    await nextTurn()
    expect(read().ageMs).toBe(0)
    replica.apply(source.heartbeat(), wall(clock.wall() + 5_000))
    await nextTurn()
    expect(read().ageMs).toBe(0)
  })
})

describe('remembered closures', () => {
  const closuresAsked = (): number => asked.filter((sql) => sql.includes('UNION SELECT m.role')).length

  test('are computed once for one version of the data; heartbeats do not make them forgotten', async () => {
    source.commit([role('a'), role('g'), member('g', 'a')])
    takeSnapshot(replica, source, clock.wall())
    for (let i = 0; i < 5; i++) {
      expect(read('a', closure).ids).toEqual(['a', 'g'])
      replica.apply(source.heartbeat(), clock.wall())
      await nextTurn()
    }
    expect(closuresAsked()).toBe(1)
  })

  test('are never of another version: grants, revocations, a deleted role and a snapshot count at once', async () => {
    source.commit([role('a'), role('g'), role('h'), member('g', 'a')])
    takeSnapshot(replica, source, clock.wall())
    expect(read('a', closure).ids).toEqual(['a', 'g'])
    apply(member('h', 'a'))
    await nextTurn()
    expect(read('a', closure).ids).toEqual(['a', 'g', 'h'])
    apply(remove('memberships', { role: 'g', member: 'a', ownership: 0 }))
    await nextTurn()
    expect(read('a', closure).ids).toEqual(['a', 'h'])
    apply(remove('roles', { id: 'a' }))
    await nextTurn()
    expect(read('a', closure)).toMatchObject({ ids: [], callerKnown: false })
    source.commit([role('a')])
    takeSnapshot(replica, source, clock.wall())
    await nextTurn()
    expect(read('a', closure)).toMatchObject({ ids: ['a', 'h'], callerKnown: true })
  })

  test('of a turn are of that turn’s data, although newer data is there', async () => {
    source.commit([role('a'), role('g')])
    takeSnapshot(replica, source, clock.wall())
    expect(read().ids).toEqual(['a', 'g'])
    apply(member('g', 'a'))
    expect(read('a', closure).ids).toEqual(['a'])
    await nextTurn()
    expect(read('a', closure).ids).toEqual(['a', 'g'])
  })
})

describe('rows that are kept', () => {
  const ownRole = (id: string) =>
    ({ sql: 'SELECT id FROM roles WHERE id = ?1', params: [id], kept: true }) as const
  const keptClosure = { ...closure, kept: true } as const
  const asksOf = (sql: string): number => asked.filter((one) => one.includes(sql)).length

  test('are read once for one version of the data: the same rows, over heartbeats too', async () => {
    source.commit([role('a'), role('b')])
    takeSnapshot(replica, source, clock.wall())
    const first = read(undefined, ownRole('a'))
    replica.apply(source.heartbeat(), clock.wall())
    await nextTurn()
    const second = read(undefined, ownRole('a'))
    expect(second.ids).toEqual(['a'])
    expect(second.rows[0]).toBe(first.rows[0])
    expect(second.position.seq).toBe(first.position.seq + 1)
    expect(asksOf('WHERE id =')).toBe(1)
    expect(read(undefined, ownRole('b')).ids).toEqual(['b'])
    expect(read(undefined, ownRole('c')).ids).toEqual([])
    const others = { ...ownRole('a'), sql: 'SELECT id FROM roles WHERE id <> ?1' }
    expect(read(undefined, others).ids).toEqual(['b'])
  })

  test('are never of another version, nor of another role', async () => {
    source.commit([role('a'), role('g'), member('g', 'a')])
    takeSnapshot(replica, source, clock.wall())
    for (let i = 0; i < 2; i++) {
      expect(read('a', keptClosure).ids).toEqual(['a', 'g'])
      expect(read('g', keptClosure).ids).toEqual(['g'])
      expect(read(undefined, keptClosure).ids).toEqual([])
      expect(read(undefined, ownRole('g')).ids).toEqual(['g'])
    }
    apply(remove('roles', { id: 'g' }))
    expect(read(undefined, ownRole('g')).ids).toEqual(['g'])
    await nextTurn()
    expect(read(undefined, ownRole('g')).ids).toEqual([])
    expect(read('g', keptClosure).ids).toEqual([])
  })

  test('are not kept of a statement that does not say so', () => {
    takeSnapshot(replica, source, clock.wall())
    read()
    read()
    expect(asksOf('FROM roles ORDER BY id')).toBe(2)
  })
})

test('an engine without turns reads the newest data at every call', () => {
  const sqlite = inMemory()
  const own = createReplicaStore(sqlite)
  takeSnapshot(own, source)
  const direct = createSnapshotStore(sqlite, clock)
  const readIds = () => (direct.read({ statements: [roles], caller: undefined }) as Snapshot).rows[0]!
  expect(readIds()).toEqual([])
  own.apply(source.commit([role('a')]), clock.wall())
  expect(readIds()).toEqual([{ id: 'a' }])
  sqlite.close()
})
