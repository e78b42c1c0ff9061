// One random schedule: a cluster of some shape, misfortunes for a while, and then time to recover.
import { seeded } from '../support/random.ts'
import { misfortunes } from './faults.ts'
import { type Shape, World } from './world.ts'

const TROUBLE = 30_000
/** Longer than an election and the copy of a database. */
const QUIET = 20_000

export type Run = { readonly world: World; readonly story: readonly string[] }

/** Throws `Violation` with the story of what was done before. */
export function runSchedule(seed: number, broken: Partial<Shape> = {}): Run {
  const random = seeded(seed)
  const names = random.pick([
    ['a', 'b', 'c'],
    ['a', 'b', 'c'],
    ['a', 'b', 'c', 'd', 'e'],
  ])
  const dr = random.next() < 0.3 ? ['z'] : []
  const syncRequired = random.next() < 0.8
  const loss = random.pick([0, 0.01, 0.1])
  const world = new World(random, { names: [...names, ...dr], dr, loss, config: { syncRequired }, ...broken })
  const story = misfortunes(world, random, TROUBLE)
  try {
    world.run(TROUBLE)
    world.heal()
    world.run(QUIET)
  } catch (error) {
    if (error instanceof Error) error.message += `\nschedule ${seed}\n${story.join('\n')}`
    throw error
  }
  return { world, story }
}
