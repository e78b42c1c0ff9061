// Random faults by seed: each is there for a while and then mended, but for what an eviction leaves.
import type { Random } from '../support/random.ts'
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
    world.cut(name, 'store')
    world.schedule.plan(random.int(500, 16_000), () => world.mend(name, 'store'))
    return `cut ${name} from the store`
  },
  (world, random, names) => {
    const [a, b] = [random.pick(names), random.pick(names)]
    world.cut(a, b)
    world.schedule.plan(random.int(500, 16_000), () => world.mend(a, b))
    return `cut ${a} from ${b}`
  },
  (world, random, names) => {
    const name = random.pick(names)
    const others = [...names.filter((other) => other !== name), 'store']
    for (const other of others) world.cut(name, other)
    world.schedule.plan(random.int(500, 16_000), () => {
      for (const other of others) world.mend(name, other)
    })
    return `cut ${name} off`
  },
  (world, random, names) => {
    for (const name of names) world.cut(name, 'store')
    world.schedule.plan(random.int(500, 12_000), () => {
      for (const name of names) world.mend(name, 'store')
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
    world.cutOneWay(from, to)
    world.schedule.plan(random.int(500, 16_000), () => world.mend(from, to))
    return `${from} is not heard by ${to}`
  },
  (world, random) => {
    world.lose(0.7)
    world.schedule.plan(random.int(500, 8_000), () => world.lose(0))
    return 'the store loses most of what is said'
  },
  (world, random, names) => {
    const name = random.pick(names)
    world.endPostgres(name)
    return `Postgres of ${name} ends`
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

/** Until `end`, of virtual time; the story of what was done. */
export function misfortunes(world: World, random: Random, end: number): string[] {
  const names = [...world.machines.keys()]
  const story: string[] = []
  const next = (): void => {
    world.schedule.plan(random.int(200, 9_000), () => {
      if (world.schedule.now >= end) return
      story.push(`${Math.round(world.schedule.now)} ${random.pick(faults)(world, random, names)}`)
      next()
    })
  }
  next()
  return story
}
