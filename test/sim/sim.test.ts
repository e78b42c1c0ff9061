// Whole clusters of the machine, with everything around it modelled: told stories, random schedules, and the machine
// broken on purpose. HOLDFAST_SCHEDULES: how many; HOLDFAST_SEED: where they begin.

import { describe, expect, test } from 'vitest'
import { transactions } from '#control-plane/coordination/keys.ts'
import { runSeed, seeded } from '../support/random.ts'
import { Violation } from './checks.ts'
import { mutants } from './mutants.ts'
import { runSchedule } from './run.ts'
import { Store } from './store.ts'
import { World } from './world.ts'

const SCHEDULES = Number(process.env.HOLDFAST_SCHEDULES ?? 20_000)

const three = (seed: number): World => new World(seeded(seed), { names: ['a', 'b', 'c'] })

/** Writes that are acknowledged from now on. */
function acknowledges(world: World, ms = 2_000): number {
  const before = world.checks.acknowledgedIds.length
  world.run(ms)
  return world.checks.acknowledgedIds.length - before
}

describe('stories', () => {
  test('a new cluster finds its first Leader, names a Standby and acknowledges writes', () => {
    const world = three(1)
    world.run(15_000)
    expect(world.leader?.name).toBe('a')
    expect(world.store.view().sync).toMatchObject({
      epoch: 1,
      leader: 'a',
      standby: expect.stringMatching(/b|c/),
    })
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the Leader dies: one that has every write leads, and the dead one is out', () => {
    const world = three(2)
    world.run(15_000)
    world.crash('a')
    world.run(15_000)
    expect(['b', 'c']).toContain(world.leader?.name)
    expect(world.store.view()).toMatchObject({ epoch: 2, evicted: new Set(['a']) })
    expect(acknowledges(world)).toBeGreaterThan(10)
    world.restart('a')
    world.run(10_000)
    expect(world.machines.get('a')!.node.role.phase).toBe('evicted')
  })

  test('the Leader is cut off: it stops by itself before another one begins', () => {
    const world = three(3)
    world.run(15_000)
    for (const other of ['b', 'c', 'store']) world.cut('a', other)
    world.run(5_100)
    expect(world.machines.get('a')!.openEpoch).toBeUndefined()
    world.run(10_000)
    expect(world.store.view().epoch).toBe(2)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the store is away for a moment: nobody fails over', () => {
    const world = three(4)
    world.run(15_000)
    for (const name of ['a', 'b', 'c']) world.cut(name, 'store')
    world.run(1_000)
    for (const name of ['a', 'b', 'c']) world.mend(name, 'store')
    world.run(10_000)
    expect(world.store.view().epoch).toBe(1)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('the sync Standby dies: the duty moves, and writes go on', () => {
    const world = three(5)
    world.run(15_000)
    const { standby } = world.store.view().sync!
    world.crash(standby!)
    world.run(10_000)
    expect(world.store.view().sync!.standby).not.toBe(standby)
    expect(acknowledges(world)).toBeGreaterThan(10)
  })

  test('Leader and sync Standby die: the third does not lead, and says why', () => {
    const world = three(6)
    world.run(15_000)
    const { standby } = world.store.view().sync!
    const third = ['b', 'c'].find((name) => name !== standby)!
    world.crash('a')
    world.crash(standby!)
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
    const { standby } = world.store.view().sync!
    world.crash('a')
    world.crash(standby!)
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
    const reason = { because: 'a test', possibleLoss: false }
    const take = (epoch: number) => store.transact(transactions.take('a', epoch, undefined, reason), leases)
    expect(store.transact(transactions.lock('a', 0), leases)).toBe(true)
    expect(take(1)).toBe(false)
    expect(take(0)).toBe(true)
    expect(store.transact(transactions.lock('b', 1), leases)).toBe(false)
    store.expire(2_000)
    expect(store.view()).toMatchObject({ epoch: 1, leader: undefined })
    store.grant('b/node/1', 9_000)
    const others = { node: 'b/node/1', leader: undefined }
    expect(store.transact(transactions.lock('b', 0), others)).toBe(false)
    expect(store.transact(transactions.lock('b', 1), others)).toBe(true)
  })
})

test(`${SCHEDULES} random schedules break no invariant, and end with a Leader`, {
  timeout: 60 * 60_000,
}, () => {
  const first = runSeed('schedules')
  let [acknowledged, epochs] = [0, 0]
  for (let seed = first; seed < first + SCHEDULES; seed++) {
    const { world, story } = runSchedule(seed)
    const { evicted, epoch } = world.store.view()
    const left = [...world.machines.values()].filter(
      ({ name, config }) => !evicted.has(name) && !config.members.find((member) => member.name === name)!.dr,
    )
    if (left.length > 1 && world.leader === undefined)
      expect.fail(`nobody leads after schedule ${seed}\n${story.join('\n')}`)
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
