// One random schedule: a cluster of some shape, misfortunes for a while, and then time to recover.
import { seeded } from '../support/random.ts'
import { Violation } from './checks.ts'
import { misfortunes } from './faults.ts'
import { resume } from './operator.ts'
import { ROUGH, type Shape, World } from './world.ts'

const TROUBLE = 30_000
/** Longer than an election and the copy of a database. */
const QUIET = 20_000

/** Throws `Violation` with the story of what was done before. */
export function runSchedule(seed: number, broken: Partial<Shape> = {}): World {
  const random = seeded(seed)
  const names = random.pick([
    ['a', 'b', 'c'],
    ['a', 'b', 'c'],
    ['a', 'b', 'c', 'd', 'e'],
  ])
  const dr = random.next() < 0.3 ? ['z'] : []
  const syncRequired = random.next() < 0.8
  const loss = random.pick([0, 0.01, 0.1])
  const mode = random.next() < 0.15 ? 'available' : 'safe'
  const config = { syncRequired, mode } as const
  const shape: Shape = { names: [...names, ...dr], dr, loss, rough: ROUGH, config }
  const world = new World(random, { ...shape, ...broken })
  const story = misfortunes(world, random, TROUBLE, broken.orders ?? 0.25)
  try {
    world.run(TROUBLE)
    world.heal()
    resume(world)
    world.run(QUIET)
    const leads = (): boolean => !mayLead(world) || world.leader?.postgres.primary === true
    // Slow answers in a row may have ended a leadership just now.
    if (!leads()) world.run(QUIET)
    if (!leads()) throw new Violation('nobody leads')
  } catch (error) {
    if (error instanceof Error) error.message += `\nschedule ${seed}\n${story.join('\n')}`
    throw error
  }
  return world
}

/** Two are left that may lead, and of what was acknowledged a copy is with one of them. */
function mayLead({ machines, store }: World): boolean {
  const { evicted, sync } = store.view()
  const left = [...machines.values()].filter(
    ({ name, config }) => !evicted.has(name) && !config.members.find((member) => member.name === name)!.dr,
  )
  const holders = sync === undefined ? [] : [sync.leader, sync.standby]
  return (
    left.length > 1 && (sync === undefined || left.some(({ postgres }) => holders.includes(postgres.copy)))
  )
}
