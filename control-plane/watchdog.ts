// Process 3 of a control node: kills what could still answer when the Leader's deadline has passed, or when its supervisor
// is gone (cluster 7.3, 3). It does nothing else, so that nothing else can hold it up.
import type { Monotonic } from '#shared/base/time.ts'
import { bootClock } from '#shared/node/clock.ts'
import { linkToParent, type ToWatchdog } from './node-link.ts'

const LOOK_MS = 50

let pids: readonly number[] = []
let deadline: Monotonic | undefined

function killAll(): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It is gone, which is what was wanted.
    }
  }
  pids = []
}

linkToParent<ToWatchdog, never>((message) => {
  if (message.kind === 'watch') pids = message.pids
  else deadline = message.deadline
})
process.prependListener('disconnect', killAll)

setInterval(() => {
  if (deadline === undefined || bootClock.monotonic() < deadline) return
  deadline = undefined
  killAll()
}, LOOK_MS)
