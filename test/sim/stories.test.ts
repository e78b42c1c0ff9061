// Told stories: what a cluster does when one thing happens to it. Each leaves a transcript in `scenarios/`.
import { expect } from 'vitest'
import { readmit } from './operator.ts'
import { acknowledges, begin, node, story, syncOf, thirdOf, until } from './story.ts'
import { ROUGH } from './world.ts'

story('a new cluster finds its first Leader, names a Standby and acknowledges writes', 'first', 1, (told) => {
  begin(told)
  const { world } = told
  expect(world.leader?.name).toBe('a')
  expect(world.store.view().sync).toMatchObject({
    epoch: 1,
    leader: expect.stringMatching(/^a#/),
    standby: expect.stringMatching(/^[bc]#/),
  })
  acknowledges(world)
})

story(
  'the Leader dies with what nobody else got: another one leads, and the dead one waits for an operator',
  'leader-dies',
  2,
  (told) => {
    begin(told)
    const { world, say } = told
    say('a is heard by nobody, writes on, and dies')
    for (const other of ['b', 'c']) world.network.cut('a', other)
    world.run(200)
    world.crash('a')
    for (const other of ['b', 'c']) world.network.mend('a', other)
    world.run(15_000)
    expect(['b', 'c']).toContain(world.leader?.name)
    expect(world.store.view()).toMatchObject({ epoch: 2, evicted: new Map([['a', { epoch: 2 }]]) })
    acknowledges(world)
    say('a is back')
    world.restart('a')
    world.run(10_000)
    const reason = expect.stringContaining('waiting for the operator')
    expect(node(world, 'a').node.role).toMatchObject({ phase: 'evicted', waits: reason })
    expect(world.store.view().present.get('a')).toEqual({ state: 'evicted', reason })
    const { disk } = node(world, 'a').postgres
    say('the operator lets it in: it is copied anew')
    readmit(world)
    world.run(10_000)
    expect(node(world, 'a').node.role).toMatchObject({ phase: 'standby', leader: world.leader!.name })
    expect(node(world, 'a').postgres.disk).not.toBe(disk)
    expect(world.store.view().present.get('a')).toEqual({})
  },
)

story(
  'the Leader dies and had nothing that the next one has not: it is a Standby again by itself',
  'leader-comes-back',
  2,
  (told) => {
    begin(told)
    const { world, say } = told
    say('a dies')
    world.crash('a')
    world.run(15_000)
    expect(world.store.view().evicted.has('a')).toBe(true)
    say('a is back')
    world.restart('a')
    world.run(10_000)
    expect(node(world, 'a').node.role).toMatchObject({ phase: 'standby', leader: world.leader!.name })
    expect(node(world, 'a').postgres.disk).toBe('disk 1')
    expect(world.store.view().evicted.size).toBe(0)
  },
)

story('the Leader is cut off: it stops by itself before another one begins', 'cut-off', 3, (told) => {
  begin(told)
  const { world, say } = told
  say('a reaches nobody')
  for (const other of ['b', 'c', 'store']) world.network.cut('a', other)
  world.run(5_100)
  expect(node(world, 'a').openEpoch).toBeUndefined()
  world.run(10_000)
  expect(world.store.view().epoch).toBe(2)
  acknowledges(world)
})

story('the store is away for a moment: nobody fails over', 'store-away', 4, (told) => {
  begin(told)
  const { world, say } = told
  say('the store has lost its majority')
  world.store.away.add(1).add(2)
  world.run(1_000)
  say('and has it again')
  world.store.heal()
  world.run(10_000)
  expect(world.store.view().epoch).toBe(1)
  acknowledges(world)
})

story('the store is away for long: nobody leads, and then the same node again', 'store-gone', 4, (told) => {
  begin(told)
  const { world, say } = told
  say('the store has lost its majority')
  world.store.away.add(1).add(2)
  world.run(20_000)
  expect(world.leader).toBeUndefined()
  say('and has it again')
  world.store.heal()
  world.run(15_000)
  acknowledges(world)
})

story('the sync Standby dies: the duty moves, and writes go on', 'standby-dies', 5, (told) => {
  begin(told)
  const { world, say } = told
  const standby = syncOf(world)
  say(`${standby} dies`)
  world.crash(standby)
  world.run(10_000)
  expect(syncOf(world)).not.toBe(standby)
  acknowledges(world)
})

story('Leader and sync Standby die: the third does not lead, and says why', 'both-die', 6, (told) => {
  begin(told)
  const { world, say } = told
  const [standby, third] = [syncOf(world), thirdOf(world)]
  say(`a and ${standby} die`)
  world.crash('a')
  world.crash(standby)
  world.run(30_000)
  expect(world.leader).toBeUndefined()
  expect(node(world, third).node.blocked).toContain('the last acknowledged write may be only on')
  say('a is back; either of the two is enough')
  world.restart('a')
  world.run(20_000)
  expect(world.leader).toBeDefined()
})

story(
  'with the mode `available` the third does lead, and the record says what may be lost',
  'available',
  6,
  (told) => {
    begin(told)
    const { world, say } = told
    const standby = syncOf(world)
    say(`a and ${standby} die`)
    world.crash('a')
    world.crash(standby)
    world.run(15_000)
    const { epoch, reigns } = world.store.view()
    expect(reigns.get(epoch)).toMatchObject({
      possibleLoss: true,
      because: expect.stringContaining('is furthest'),
    })
  },
  { config: { mode: 'available' } },
)

// Its name is in the store, and what was acknowledged is only with the dead Leader: the third does not lead on its word.
story(
  'the sync Standby comes back with an empty disk when the Leader has died: nobody leads, and says why',
  'standby-emptied',
  7,
  (told) => {
    begin(told)
    const { world, say } = told
    const [standby, third] = [syncOf(world), thirdOf(world)]
    say(`${third} flushes nothing; ${standby} loses its disk, and a dies`)
    world.hang(third, true)
    world.run(1_000)
    world.loseDisk(standby)
    world.crash('a')
    world.restart(standby)
    world.run(30_000)
    expect(world.leader).toBeUndefined()
    expect(node(world, standby).node.blocked).toContain('none of them stands')
    say('a is back')
    world.restart('a')
    world.hang(third, false)
    world.run(20_000)
    expect(world.leader?.name).toBe('a')
    acknowledges(world)
  },
)

story(
  'the sync Standby is copied anew from its Leader: it has the duty again when it is level',
  'standby-copied',
  8,
  (told) => {
    begin(told)
    const { world, say } = told
    const standby = syncOf(world)
    const before = world.store.view().sync!.standby
    say(`the other Standby dies, and ${standby} loses its disk`)
    world.crash(thirdOf(world))
    world.loseDisk(standby)
    world.restart(standby)
    world.run(15_000)
    expect(syncOf(world)).toBe(standby)
    expect(world.store.view().sync!.standby).not.toBe(before)
    acknowledges(world)
  },
)

story(
  'the sync Standby streams and flushes nothing: the duty moves, and writes go on',
  'standby-hangs',
  9,
  (told) => {
    begin(told)
    const { world, say } = told
    const standby = syncOf(world)
    say(`${standby} flushes nothing`)
    world.hang(standby, true)
    world.run(5_000)
    expect(syncOf(world)).not.toBe(standby)
    acknowledges(world)
  },
)

story(
  'the Postgres of the Leader ends: it gives its leadership back, and another one leads before its lease would have ended',
  'postgres-ends',
  10,
  (told) => {
    begin(told)
    const { world, say } = told
    say('Postgres of a ends')
    world.endPostgres('a')
    world.run(100)
    expect(node(world, 'a').openEpoch).toBeUndefined()
    until(world, () => world.store.view().leader?.epoch === 2)
    expect(world.schedule.now).toBeLessThan(20_000)
    world.run(15_000)
    acknowledges(world)
  },
)

story(
  'no Postgres can be promoted: it is tried again in a new epoch, until one can',
  'no-promotion',
  11,
  ({ world, say }) => {
    world.run(30_000)
    expect(world.leader).toBeUndefined()
    expect(world.store.view().epoch).toBeGreaterThan(1)
    say('promotions work')
    world.heal()
    world.run(20_000)
    acknowledges(world)
  },
  { rough: { ...ROUGH, failedPromotion: 1 } },
)

story(
  'who is chosen cannot be promoted: it stands back, and another one that has every write leads',
  'stands-back',
  14,
  (told) => {
    begin(told)
    const { world, say } = told
    const [standby, third] = [syncOf(world), thirdOf(world)]
    say(`${standby} cannot be promoted, and a dies`)
    node(world, standby).postgres.promotes = false
    world.crash('a')
    world.run(15_000)
    expect(world.leader?.name).toBe(third)
    expect(world.store.view()).toMatchObject({ epoch: 3, leader: { node: third } })
    acknowledges(world)
  },
)

story(
  'who alone has every write cannot be promoted: it is tried again, until another one has them too',
  'only-holder',
  15,
  (told) => {
    begin(told)
    const { world, say } = told
    const [standby, third] = [syncOf(world), thirdOf(world)]
    say(`${third} is behind, and ${standby}, which cannot be promoted, is furthest when a dies`)
    world.network.cut(third, 'a')
    world.run(500)
    node(world, standby).postgres.promotes = false
    world.crash('a')
    world.run(20_000)
    // Only it has every acknowledged write: it is tried again and again.
    expect(world.leader).toBeUndefined()
    expect(world.store.view().epoch).toBeGreaterThan(2)
    say('a is back, and has every acknowledged write too')
    world.network.mend(third, 'a')
    world.restart('a')
    readmit(world)
    world.run(30_000)
    expect(world.leader?.name).not.toBe(standby)
    acknowledges(world)
  },
)

story(
  'the whole Leader stands still and goes on: it acknowledges nothing any more',
  'stood-still',
  12,
  (told) => {
    begin(told)
    const { world, say } = told
    say('a stands still')
    world.stop('a')
    world.run(15_000)
    say('and goes on')
    world.go('a')
    world.run(1_000)
    expect(node(world, 'a').openEpoch).toBeUndefined()
    expect(world.leader?.name).toMatch(/b|c/)
    acknowledges(world)
  },
)

story(
  'two Leaders die one after the other: the third has the writes of both',
  'two-die',
  13,
  (told) => {
    begin(told)
    const { world, say } = told
    for (const epoch of [2, 3]) {
      say(`${world.leader!.name} dies`)
      world.crash(world.leader!.name)
      world.run(15_000)
      expect(world.store.view().epoch).toBe(epoch)
      acknowledges(world)
    }
  },
  { names: ['a', 'b', 'c', 'd', 'e'] },
)
