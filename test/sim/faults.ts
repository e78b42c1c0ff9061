// Random faults by seed: each is there for a while and then mended, but for what an eviction leaves.
import type { Random } from '../support/random.ts'
import { orderSwitchover, pause, promote, readmit } from './operator.ts'
import type { World } from './world.ts'

type Fault = (world: World, random: Random, names: readonly string[]) => string

const faults: readonly Fault[] = [
  (world, random, names) => {
    const name = random.pick(names)
    world.crash(name)
    world.schedule.plan(random.int(500, 20_000), () => world.restart(name))
    return `crash ${name}`
  },
  (world, random, names) => {
    const name = random.pick(names)
    world.pause(name)
    world.schedule.plan(random.int(500, 16_000), () => world.wake(name))
    return `pause ${name}`
  },
  (world, random, names) => {
    const name = random.pick(names)
    world.network.cut(name, 'store')
    world.schedule.plan(random.int(500, 16_000), () => world.network.mend(name, 'store'))
    return `cut ${name} from the store`
  },
  (world, random, names) => {
    const [a, b] = [random.pick(names), random.pick(names)]
    world.network.cut(a, b)
    world.schedule.plan(random.int(500, 16_000), () => world.network.mend(a, b))
    return `cut ${a} from ${b}`
  },
  (world, random, names) => {
    const name = random.pick(names)
    const others = [...names.filter((other) => other !== name), 'store']
    for (const other of others) world.network.cut(name, other)
    world.schedule.plan(random.int(500, 16_000), () => {
      for (const other of others) world.network.mend(name, other)
    })
    return `cut ${name} off`
  },
  (world, random, names) => {
    for (const name of names) world.network.cut(name, 'store')
    world.schedule.plan(random.int(500, 12_000), () => {
      for (const name of names) world.network.mend(name, 'store')
    })
    return 'the store is away'
  },
  (world, random, names) => {
    const name = random.pick(names)
    world.stop(name)
    world.schedule.plan(random.int(500, 16_000), () => world.go(name))
    return `stop ${name}`
  },
  (world, random, names) => {
    const [a, b] = [random.pick(names), random.pick([...names, 'store'])]
    const [from, to] = random.next() < 0.5 ? [a, b] : [b, a]
    world.network.cutOneWay(from, to)
    world.schedule.plan(random.int(500, 16_000), () => world.network.mend(from, to))
    return `${from} is not heard by ${to}`
  },
  (world, random) => {
    world.network.loss = 0.7
    world.schedule.plan(random.int(500, 8_000), () => {
      world.network.loss = 0
    })
    return 'the store loses most of what is said'
  },
  (world, random, names) => {
    const name = random.pick(names)
    world.endPostgres(name)
    return `Postgres of ${name} ends`
  },
  (world, random) => {
    const members = random.pick([[1], [1, 2], [2, 3], [1, 2, 3]])
    for (const member of members) world.store.away.add(member)
    world.schedule.plan(random.int(500, 12_000), () => {
      for (const member of members) world.store.away.delete(member)
    })
    return `of the store ${members.join(', ')} are away`
  },
  (world, random, names) => {
    const name = random.pick(names)
    world.hang(name, true)
    world.schedule.plan(random.int(500, 16_000), () => world.hang(name, false))
    return `${name} flushes nothing`
  },
  (world, random, names) => {
    const name = random.pick(names)
    world.loseDisk(name)
    world.schedule.plan(random.int(500, 8_000), () => world.restart(name))
    return `${name} loses its disk`
  },
]

/** What people do meanwhile. */
const doings: readonly Fault[] = [
  (world, random, names) => {
    const target = random.pick([...names, null])
    orderSwitchover(world, target)
    return `a switchover to ${target ?? 'the sync Standby'}`
  },
  (world, random) => {
    const ms = random.int(2_000, 12_000)
    pause(world, ms)
    return `a pause of ${ms} ms`
  },
  (world) => {
    readmit(world)
    return 'whoever is out is let in'
  },
  (world, random, names) => {
    const node = random.pick(names)
    const acceptDataLoss = random.next() < 0.3
    pause(world, 10_000)
    world.schedule.plan(random.int(100, 9_000), () => promote(world, node, acceptDataLoss))
    return `a pause, and ${node} is promoted by hand if nobody leads`
  },
]

/** Until `end`, of virtual time; the story of what was done. */
export function misfortunes(world: World, random: Random, end: number, orders: number): string[] {
  const names = [...world.machines.keys()]
  const story: string[] = []
  const next = (): void => {
    world.schedule.plan(random.int(200, 9_000), () => {
      if (world.schedule.now >= end) return
      story.push(
        `${Math.round(world.schedule.now)} ${random.pick(random.next() < orders ? doings : faults)(world, random, names)}`,
      )
      next()
    })
  }
  next()
  return story
}
