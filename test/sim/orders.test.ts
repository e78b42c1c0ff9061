// Told stories of what an operator orders, each with its transcript in `scenarios/`.
import { expect } from 'vitest'
import { orderSwitchover, pause, promote, resume } from './operator.ts'
import { acknowledges, begin, node, story, syncOf, thirdOf, until } from './story.ts'

story(
  'a switchover to a Standby without the duty: it gets it, leads, and the old Leader follows and is not out',
  'switchover',
  16,
  (told) => {
    begin(told)
    const { world, say } = told
    const target = thirdOf(world)
    say(`the operator wants ${target} to lead`)
    orderSwitchover(world, target)
    world.run(8_000)
    const { evicted, switched, switchover, reigns } = world.store.view()
    expect(world.leader?.name).toBe(target)
    expect(node(world, 'a').node.role).toEqual({ phase: 'standby', leader: target })
    expect(node(world, 'a').postgres.disk).toBe('disk 1')
    expect([evicted.size, switchover, switched?.done]).toEqual([0, undefined, true])
    expect(reigns.get(2)).toMatchObject({
      how: 'switchover',
      possibleLoss: false,
      record: { old: 'a', order: { by: 'alice', why: 'a test', drill: false } },
    })
    acknowledges(world)
  },
)

story('a drill is a switchover to whoever has the duty, and recorded as a drill', 'drill', 17, (told) => {
  begin(told)
  const { world, say } = told
  const standby = syncOf(world)
  say('the operator wants a drill')
  orderSwitchover(world, null, true)
  world.run(8_000)
  expect(world.leader?.name).toBe(standby)
  expect(world.store.view().reigns.get(2)?.record?.order).toMatchObject({ drill: true })
  acknowledges(world)
})

story(
  'a switchover to one that dies when it is to take: the Leader takes back what it gave, in its epoch',
  'switchover-not-taken',
  18,
  (told) => {
    begin(told)
    const { world, say } = told
    const standby = syncOf(world)
    say(`the operator wants ${standby} to lead, which dies as soon as it is appointed`)
    orderSwitchover(world, standby)
    until(world, () => world.store.view().appointment !== undefined)
    expect(node(world, 'a').openEpoch).toBeUndefined()
    world.crash(standby)
    world.run(6_000)
    expect(world.leader?.name).toBe('a')
    expect(world.store.view()).toMatchObject({
      epoch: 1,
      switched: { done: false, because: expect.stringContaining('did not take the leadership') },
    })
    acknowledges(world)
  },
)

story(
  'a switchover, and Leader and target die in the middle: an election follows when the lease of the old one is over',
  'switchover-both-die',
  19,
  (told) => {
    begin(told)
    const { world, say } = told
    const standby = syncOf(world)
    say(`the operator wants ${standby} to lead; it dies when it is appointed, and so does a`)
    orderSwitchover(world, standby)
    until(world, () => world.store.view().appointment !== undefined)
    world.crash(standby)
    world.crash('a')
    world.run(10_000)
    expect(world.leader).toBeUndefined()
    say(`${standby} is back`)
    world.restart(standby)
    world.run(15_000)
    expect(world.store.view().reigns.get(2)?.how).toBe('election')
    acknowledges(world)
  },
)

story(
  'a switchover to one that is not level: writes go on, and the order ends with the reason',
  'switchover-not-level',
  20,
  (told) => {
    begin(told)
    const { world, say } = told
    const target = thirdOf(world)
    say(`${target} flushes nothing, and the operator wants it to lead`)
    world.hang(target, true)
    orderSwitchover(world, target)
    world.run(8_000)
    expect(world.leader?.name).toBe('a')
    expect(world.store.view()).toMatchObject({
      epoch: 1,
      switchover: undefined,
      switched: { done: false, because: expect.stringContaining('not level') },
    })
    acknowledges(world)
  },
)

story('the cluster is paused and its Leader dies: nobody leads until that is over', 'paused', 21, (told) => {
  begin(told)
  const { world, say } = told
  say('the operator pauses it for 30 s, and a dies')
  pause(world, 30_000)
  world.run(1_000)
  world.crash('a')
  world.run(25_000)
  expect(world.leader).toBeUndefined()
  expect(node(world, 'b').node.blocked).toContain(
    'alice has paused automatic failover until 2026-01-01T00:00:45',
  )
  say('it is over')
  world.run(15_000)
  expect(world.leader?.name).toMatch(/b|c/)
  acknowledges(world)
})

story('a paused Leader goes on, and a paused cluster is resumed', 'resumed', 22, (told) => {
  begin(told)
  const { world, say } = told
  say('the operator pauses it for an hour')
  pause(world, 3_600_000)
  acknowledges(world)
  world.crash('a')
  world.run(15_000)
  expect(world.leader).toBeUndefined()
  say('and resumes')
  resume(world)
  world.run(10_000)
  acknowledges(world)
})

story(
  'all but a DR Standby are gone: it is promoted by hand, only when the loss is accepted, and that is recorded',
  'by-hand',
  23,
  (told) => {
    begin(told)
    const { world, say } = told
    say('the site is lost')
    for (const name of ['a', 'b', 'c']) world.crash(name)
    world.run(10_000)
    expect(promote(world, 'z', false)).toContain('use "cluster pause" first')
    pause(world, 60_000)
    expect(promote(world, 'z', false)).toContain('the last acknowledged write may be only on a#disk 1 or')
    say('the operator promotes z')
    expect(promote(world, 'z', true)).toBeUndefined()
    world.run(5_000)
    expect(world.store.view().leader?.node).toBe('z')
    say('b is back')
    world.restart('b')
    world.run(15_000)
    expect(world.leader?.name).toBe('z')
    expect(world.store.view().reigns.get(2)).toMatchObject({ how: 'hand', possibleLoss: true })
    acknowledges(world)
  },
  { names: ['a', 'b', 'c', 'z'], dr: ['z'] },
)
