// Whole clusters of the machine, with everything around it modelled: told stories, random schedules, and the machine
// broken on purpose. HOLDFAST_SCHEDULES: how many; HOLDFAST_SEED: where they begin.

import { describe, expect, test } from 'vitest'
import { nodeOf, transactions } from '#control-plane/coordination/keys.ts'
import { trailFrom } from '#control-plane/failover/record.ts'
import { begin, step } from '#control-plane/failover/step.ts'
import type { Config, Node, Role, Trail } from '#control-plane/failover/types.ts'
import { monotonic, wall } from '#shared/base/time.ts'
import { runSeed, seeded } from '../support/random.ts'
import { Violation } from './checks.ts'
import { mutants } from './mutants.ts'
import { runSchedule } from './run.ts'
import { Store } from './store.ts'
import { ROUGH, World } from './world.ts'

const SCHEDULES = Number(process.env.HOLDFAST_SCHEDULES ?? 20_000)

const three = (seed: number): World => new World(seeded(seed), { names: ['a', 'b', 'c'] })

const syncOf = (world: World): string => nodeOf(world.store.view().sync!.standby!)

/** Writes that are acknowledged from now on. */
function acknowledges(world: World, ms = 2_000): number {
  const before = world.checks.acknowledgedIds.length
  world.run(ms)
  return world.checks.acknowledgedIds.length - before
}

const reign = {
  node: 'a',
  how: 'election',
  timeline: 0,
  above: 1,
  because: 'a test',
  possibleLoss: false,
} as const

describe('stories', () => {
  test('a new cluster finds its first Leader, names a Standby and acknowledges writes', () => {
    const world = three(1)
    world.run(15_000)
    expect(world.leader?.name).toBe('a')
    expect(world.store.view().sync).toMatchObject({
      epoch: 1,
      leader: expect.stringMatching(/^a#/),
      standby: expect.stringMatching(/^[bc]#/),
    })
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the Leader dies: one that has every write leads, and the dead one is out', () => {
    const world = three(2)
    world.run(15_000)
    // What it writes now nobody else gets.
    for (const other of ['b', 'c']) world.network.cut('a', other)
    world.run(200)
    world.crash('a')
    for (const other of ['b', 'c']) world.network.mend('a', other)
    world.run(15_000)
    expect(['b', 'c']).toContain(world.leader?.name)
    expect(world.store.view()).toMatchObject({ epoch: 2, evicted: new Map([['a', { epoch: 2 }]]) })
    expect(acknowledges(world)).toBeGreaterThan(10)
    world.restart('a')
    world.run(10_000)
    expect(world.machines.get('a')!.node.role.phase).toBe('evicted')
  })

  test('the Leader is cut off: it stops by itself before another one begins', () => {
    const world = three(3)
    world.run(15_000)
    for (const other of ['b', 'c', 'store']) world.network.cut('a', other)
    world.run(5_100)
    expect(world.machines.get('a')!.openEpoch).toBeUndefined()
    world.run(10_000)
    expect(world.store.view().epoch).toBe(2)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the store is away for a moment: nobody fails over', () => {
    const world = three(4)
    world.run(15_000)
    for (const name of ['a', 'b', 'c']) world.network.cut(name, 'store')
    world.run(1_000)
    for (const name of ['a', 'b', 'c']) world.network.mend(name, 'store')
    world.run(10_000)
    expect(world.store.view().epoch).toBe(1)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the sync Standby dies: the duty moves, and writes go on', () => {
    const world = three(5)
    world.run(15_000)
    const standby = syncOf(world)
    world.crash(standby)
    world.run(10_000)
    expect(syncOf(world)).not.toBe(standby)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('Leader and sync Standby die: the third does not lead, and says why', () => {
    const world = three(6)
    world.run(15_000)
    const standby = syncOf(world)
    const third = ['b', 'c'].find((name) => name !== standby)!
    world.crash('a')
    world.crash(standby)
    world.run(30_000)
    expect(world.leader).toBeUndefined()
    expect(world.machines.get(third)!.node.blocked).toContain('the last acknowledged write may be only on')
    // Either of the two is enough.
    world.restart('a')
    world.run(20_000)
    expect(world.leader).toBeDefined()
  })

  test('with the mode `available` the third does lead, and the record says what may be lost', () => {
    const world = new World(seeded(6), { names: ['a', 'b', 'c'], config: { mode: 'available' } })
    world.run(15_000)
    const standby = syncOf(world)
    world.crash('a')
    world.crash(standby)
    world.run(15_000)
    const { epoch, reigns } = world.store.view()
    expect(reigns.get(epoch)).toMatchObject({
      possibleLoss: true,
      because: expect.stringContaining('is furthest'),
    })
  })

  test('the store refuses the lock and the leadership of an epoch that has passed', () => {
    const store = new Store()
    store.grant('a/node/1', 1_000)
    store.grant('a/leader/1', 1_000)
    const leases = { node: 'a/node/1', leader: 'a/leader/1' }
    const take = (before: number) => {
      const epoch = before + 1
      const leadership = { node: 'a', disk: '1', epoch, timeline: 0 }
      const sync = { epoch, change: 0, leader: 'a#1', standby: null }
      return store.transact(transactions.take(leadership, sync, undefined, reign), leases)
    }
    const candidate = (epochSeen: number) => ({ epochSeen, disk: '1', timeline: 1, received: 0 })
    expect(store.transact(transactions.stand('a', candidate(0)), leases)).toBe(true)
    expect(store.transact(transactions.lock('a', candidate(0), reign), leases)).toBe(true)
    expect(take(1)).toBe(false)
    expect(take(0)).toBe(true)
    expect(store.transact(transactions.lock('b', candidate(1), reign), leases)).toBe(false)
    store.expire(2_000)
    expect(store.view()).toMatchObject({ epoch: 1, leader: undefined })
    store.grant('b/node/1', 9_000)
    const others = { node: 'b/node/1', leader: undefined }
    expect(store.transact(transactions.stand('b', candidate(0)), others)).toBe(false)
    expect(store.transact(transactions.stand('b', candidate(1)), others)).toBe(true)
    expect(store.transact(transactions.lock('b', candidate(0), reign), others)).toBe(false)
    expect(store.transact(transactions.lock('b', candidate(1), reign), others)).toBe(true)
  })

  // Its name is in the store, and what was acknowledged is only with the dead Leader: the third does not lead on its word.
  test('the sync Standby comes back with an empty disk when the Leader has died: nobody leads, and says why', () => {
    const world = three(7)
    world.run(15_000)
    const standby = syncOf(world)
    const third = ['b', 'c'].find((name) => name !== standby)!
    world.hang(third, true)
    world.run(1_000)
    world.loseDisk(standby)
    world.crash('a')
    world.restart(standby)
    world.run(30_000)
    expect(world.leader).toBeUndefined()
    expect(world.machines.get(standby)!.node.blocked).toContain('none of them stands')
    world.restart('a')
    world.hang(third, false)
    world.run(20_000)
    expect(world.leader?.name).toBe('a')
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the sync Standby is copied anew from its Leader: it has the duty again when it is level', () => {
    const world = three(8)
    world.run(15_000)
    const standby = syncOf(world)
    const before = world.store.view().sync!.standby
    world.crash(['b', 'c'].find((name) => name !== standby)!)
    world.loseDisk(standby)
    world.restart(standby)
    world.run(15_000)
    expect(syncOf(world)).toBe(standby)
    expect(world.store.view().sync!.standby).not.toBe(before)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the sync Standby streams and flushes nothing: the duty moves, and writes go on', () => {
    const world = three(9)
    world.run(15_000)
    const standby = syncOf(world)
    world.hang(standby, true)
    world.run(5_000)
    expect(syncOf(world)).not.toBe(standby)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the Postgres of the Leader ends: its commits that waited are not served, and a new epoch begins', () => {
    const world = three(10)
    world.run(15_000)
    world.endPostgres('a')
    world.run(100)
    expect(world.machines.get('a')!.openEpoch).toBeUndefined()
    world.run(15_000)
    expect(world.store.view().epoch).toBe(2)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('no Postgres can be promoted: it is tried again in a new epoch, until one can', () => {
    const world = new World(seeded(11), { names: ['a', 'b', 'c'], rough: { ...ROUGH, failedPromotion: 1 } })
    world.run(30_000)
    expect(world.leader).toBeUndefined()
    expect(world.store.view().epoch).toBeGreaterThan(1)
    world.heal()
    world.run(20_000)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the whole Leader stands still and goes on: it acknowledges nothing any more', () => {
    const world = three(12)
    world.run(15_000)
    world.stop('a')
    world.run(15_000)
    world.go('a')
    world.run(1_000)
    expect(world.machines.get('a')!.node.role.phase).toMatch(/evicted|standby/)
    expect(world.leader?.name).toMatch(/b|c/)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('two Leaders die one after the other: the third has the writes of both', () => {
    const world = new World(seeded(13), { names: ['a', 'b', 'c', 'd', 'e'] })
    world.run(15_000)
    for (const epoch of [2, 3]) {
      world.crash(world.leader!.name)
      world.run(15_000)
      expect(world.store.view().epoch).toBe(epoch)
      expect(acknowledges(world)).toBeGreaterThan(10)
    }
  })

  test('the answer to an earlier freeze says nothing of what was received since', () => {
    const [at, later] = [monotonic(1), monotonic(2)]
    const { node } = three(14).machines.get('b')!
    const trail = trailFrom(node, { kind: 'stopped', at })
    const freezing: Node = { ...node, role: { phase: 'freezing', trail, asked: later } }
    const frozen = { kind: 'frozen', disk: '1', timeline: 1 } as const
    const [still] = step(freezing, { ...frozen, asked: at, received: 90, at: later })
    expect(still.role.phase).toBe('freezing')
    const [stands] = step(still, { ...frozen, asked: later, received: 100, at: later })
    expect(stands.role).toMatchObject({ phase: 'standing', candidate: { received: 100 } })
  })

  test('the store refuses what was said of the duty long ago, and knows what it was told twice', () => {
    const store = new Store()
    store.grant('a/leader/1', 9_000)
    store.grant('a/node/1', 9_000)
    const leases = { node: 'a/node/1', leader: 'a/leader/1' }
    const leader = { node: 'a', disk: '1', epoch: 1, timeline: 0 }
    const sync = (change: number, standby: string | null) => ({ epoch: 1, change, leader: 'a#1', standby })
    const candidate = { epochSeen: 0, disk: '1', timeline: 1, received: 0 }
    for (const transaction of [
      transactions.stand('a', candidate),
      transactions.lock('a', candidate, reign),
      transactions.take(leader, sync(0, null), undefined, reign),
    ])
      expect(store.transact(transaction, leases)).toBe(true)
    const b = transactions.nameSync(leader, sync(0, null), sync(1, 'b#1'))
    const c = transactions.nameSync(leader, sync(1, 'b#1'), sync(2, 'c#1'))
    expect([b, b, c, b].map((transaction) => store.transact(transaction, leases))).toEqual([
      true,
      true,
      true,
      false,
    ])
    expect(store.view().sync?.standby).toBe('c#1')
  })

  test('a lock is of the disk for which it was given', () => {
    const store = new Store()
    store.grant('b/node/1', 9_000)
    store.grant('b/leader/1', 9_000)
    const leases = { node: 'b/node/1', leader: 'b/leader/1' }
    const candidate = { epochSeen: 0, disk: '1', timeline: 1, received: 100 }
    const sync = { epoch: 1, change: 0, leader: 'b#2', standby: null }
    store.transact(transactions.stand('b', candidate), leases)
    expect(store.transact(transactions.lock('b', { ...candidate, disk: '2' }, reign), leases)).toBe(false)
    expect(store.transact(transactions.lock('b', candidate, reign), leases)).toBe(true)
    const empty = { node: 'b', disk: '2', epoch: 1, timeline: 0 }
    expect(store.transact(transactions.take(empty, sync, undefined, reign), leases)).toBe(false)
  })

  test('who holds a lock that it cannot use gives it back, and nobody else does', () => {
    const store = new Store()
    store.grant('b/node/1', 9_000)
    const leases = { node: 'b/node/1' }
    const candidate = { epochSeen: 0, disk: '1', timeline: 1, received: 100 }
    store.transact(transactions.stand('b', candidate), leases)
    store.transact(transactions.lock('b', candidate, reign), leases)
    const view = store.view()
    const asks = (node: string, disk: string): readonly string[] => {
      const config = { node, electionWindowMs: 0 } as Config
      const trail = {} as Trail
      const role = { phase: 'standing', trail, candidate: { ...candidate, disk }, since: 0, until: 0 } as Role
      const [, effects] = step(
        { ...begin(config), role, view, nodeLeaseSentAt: monotonic(0) },
        { kind: 'tick', at: monotonic(0), wall: wall(0) },
      )
      return effects.flatMap((effect) => (effect.kind === 'transact' ? [effect.transaction.name] : []))
    }
    expect([asks('b', '2'), asks('b', '1'), asks('c', '2')]).toEqual([['unlock'], ['take'], []])
    expect(store.transact(transactions.unlock(view.promotion!), leases)).toBe(true)
    expect(store.view().promotion).toBeUndefined()
  })
})

test(`${SCHEDULES} random schedules break no invariant, and end with a Leader`, {
  timeout: 60 * 60_000,
}, () => {
  const first = runSeed('schedules')
  let [acknowledged, epochs] = [0, 0]
  for (let seed = first; seed < first + SCHEDULES; seed++) {
    const world = runSchedule(seed)
    const { epoch } = world.store.view()
    acknowledged += world.checks.acknowledgedIds.length
    epochs += epoch
  }
  process.stdout.write(`schedules: ${SCHEDULES}, ${epochs} epochs, ${acknowledged} writes acknowledged\n`)
  expect(epochs).toBeGreaterThan(SCHEDULES)
})

describe('broken on purpose', () => {
  test.each(Object.entries(mutants))('%s: is caught', { timeout: 10 * 60_000 }, (_, broken) => {
    const caught = (): number => {
      for (let seed = 0; seed < 20_000; seed++) {
        try {
          runSchedule(seed, broken)
        } catch (error) {
          if (error instanceof Violation) return seed
          throw error
        }
      }
      return -1
    }
    expect(caught()).toBeGreaterThanOrEqual(0)
  })
})
