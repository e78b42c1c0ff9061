import { runSeed } from '/work/main/test/support/random.ts'
import { runSchedule } from '/work/main/test/sim/run.ts'
const first = runSeed('schedules')
console.log('first', first)
for (let seed = first; seed < first + 40000; seed++) {
  try { runSchedule(seed) } catch (e) { console.log('seed', seed, (e as Error).message.slice(0, 6000)); break }
}
