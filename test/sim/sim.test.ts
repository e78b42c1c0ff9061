// Whole clusters of the machine, with everything around it modelled: random schedules, and the machine broken on purpose.
// HOLDFAST_SCHEDULES: how many; HOLDFAST_SEED: where they begin.
import { describe, expect, test } from 'vitest'
import { runSeed } from '../support/random.ts'
import { Violation } from './checks.ts'
import { mutants } from './mutants.ts'
import { runSchedule } from './run.ts'

const SCHEDULES = Number(process.env.HOLDFAST_SCHEDULES ?? 20_000)

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
  test.each(Object.entries(mutants))('%s: is caught', { timeout: 10 * 60_000 }, (name, broken) => {
    const caught = (): number => {
      const begun = performance.now()
      for (let seed = 0; seed < 20_000; seed++) {
        try {
          runSchedule(seed, broken)
        } catch (error) {
          if (!(error instanceof Violation)) throw error
          const ms = Math.round(performance.now() - begun)
          process.stdout.write(
            `caught in ${seed + 1} schedules, ${ms} ms: ${name}: ${error.message.split('\n')[0]}\n`,
          )
          return seed
        }
      }
      return -1
    }
    expect(caught()).toBeGreaterThanOrEqual(0)
  })
})
