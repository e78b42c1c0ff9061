// A copy is always a prefix of the Leader's commits, whole commits only (I7, I8).
import { describe, expect, test } from 'vitest'
import { HashMismatch } from '#edge-follower/store/replica.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { readState } from '#edge-follower/store/state.ts'
import { wall } from '#shared/base/time.ts'
import { put } from '#shared/ledger/change.ts'
import { contentIn, contentOf, inMemory, takeSnapshot } from '../../../support/copy.ts'
import { runSeed, seeded } from '../../../support/random.ts'
import { randomChanges, Source } from '../../../support/source.ts'

const role = (id: string, created_at = 1) => put('roles', { id, policy: null, created_at })

function following() {
  const sqlite = inMemory()
  const replica = createReplicaStore(sqlite)
  const source = new Source()
  source.commit([role('acme:user:a')])
  takeSnapshot(replica, source)
  return { sqlite, replica, source }
}

describe('applying commits', () => {
  test('leaves the rows and the hash of the Leader, whatever the commits hold', () => {
    const seed = runSeed('apply')
    const random = seeded(seed)
    const { sqlite, replica, source } = following()
    for (let i = 0; i < 150; i++) {
      replica.apply(source.commit(randomChanges(random, random.int(0, 20))), wall(i))
      if (i % 30 === 0) expect(contentIn(sqlite), `seed ${seed}`).toEqual(contentOf(source))
    }
    expect(contentIn(sqlite), `seed ${seed}`).toEqual(contentOf(source))
    expect(replica.held()).toEqual({ position: source.position, contentHash: source.contentHash })
  })

  test('a key may come twice in one commit, and go and come again', () => {
    const { sqlite, replica, source } = following()
    const key = { id: 'acme:user:a' }
    const twice = [role(key.id, 2), { op: 'delete', table: 'roles', key } as const, role(key.id, 3)]
    replica.apply(source.commit(twice), wall(1))
    expect(contentIn(sqlite)).toEqual(contentOf(source))
  })

  test('changes nothing when the content would not be the Leader’s', () => {
    const { sqlite, replica, source } = following()
    const before = contentIn(sqlite)
    const held = replica.held()
    const commit = source.commit([role('acme:user:b'), role('acme:user:c')])
    const altered = { ...commit, changes: [role('acme:user:b'), role('acme:user:x')] }
    expect(() => replica.apply(altered, wall(1))).toThrow(HashMismatch)
    expect(contentIn(sqlite)).toEqual(before)
    expect(replica.held()).toEqual(held)
    replica.apply(commit, wall(2))
    expect(contentIn(sqlite)).toEqual(contentOf(source))
  })

  test('digests are made of what is stored: a row that was changed here is found at the next commit to it', () => {
    const { sqlite, replica, source } = following()
    sqlite.run("UPDATE roles SET digest = ?1 WHERE id = 'acme:user:a'", [new Uint8Array(32)])
    expect(() => replica.apply(source.commit([role('acme:user:a', 2)]), wall(1))).toThrow(HashMismatch)
  })

  test('commits that are missing, repeated or of a lower epoch change nothing', () => {
    const { sqlite, replica, source } = following()
    const next = source.commit([role('acme:user:b')])
    const afterNext = source.commit([role('acme:user:c')])
    expect(() => replica.apply(afterNext, wall(1))).toThrow(/I7/)
    replica.apply(next, wall(1))
    expect(() => replica.apply(next, wall(1))).toThrow(/I7/)
    expect(() => replica.apply({ ...afterNext, position: { epoch: 0, seq: 3 } }, wall(1))).toThrow(/I8/)
    replica.apply(afterNext, wall(1))
    expect(contentIn(sqlite)).toEqual(contentOf(source))
  })

  test('a new leadership continues the numbers under a higher epoch', () => {
    const { replica, source } = following()
    replica.apply(source.commit([role('acme:user:b')], 4), wall(1))
    expect(replica.held()?.position).toEqual({ epoch: 4, seq: 2 })
  })

  test('only data makes a new version of the data; a heartbeat makes it younger', () => {
    const { sqlite, replica, source } = following()
    const before = readState(sqlite)!
    replica.apply(source.heartbeat(), wall(1000))
    const beat = readState(sqlite)!
    expect(beat.dataVersion).toBe(before.dataVersion)
    expect(beat.newestAt).toBe(1000)
    replica.apply(source.commit([role('acme:user:b')]), wall(2000))
    expect(readState(sqlite)!.dataVersion).toBe(before.dataVersion + 1)
  })
})
