// The watchdog, a process: what it kills, and when.
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, expect, test } from 'vitest'
import { after } from '#control-plane/failover/lease.ts'
import type { ToWatchdog } from '#control-plane/node-link.ts'
import { bootClock } from '#shared/node/clock.ts'

const program = new URL('../../../control-plane/watchdog.ts', import.meta.url)
const started: ChildProcess[] = []
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL')
})

/** It watches two programs that would go on. */
async function watching() {
  const watchdog = fork(program)
  const watched = [1, 2].map(() => spawn('sleep', ['600']))
  started.push(watchdog, ...watched)
  const tell = (message: ToWatchdog): boolean => watchdog.send(message)
  const gone = Promise.all(watched.map((child) => once(child, 'exit')))
  await Promise.all(watched.map((child) => once(child, 'spawn')))
  tell({ kind: 'watch', pids: watched.map(({ pid }) => pid!) })
  return { watchdog, tell, gone }
}

const KILLED = [
  [null, 'SIGKILL'],
  [null, 'SIGKILL'],
]

test('when the deadline has passed it kills, and not before; one that is put off counts', async () => {
  const { tell, gone } = await watching()
  const now = bootClock.monotonic()
  const deadline = after(now, 600)
  tell({ kind: 'deadline', deadline: after(now, 200) })
  tell({ kind: 'deadline', deadline })
  expect(await gone).toEqual(KILLED)
  expect(bootClock.monotonic()).toBeGreaterThanOrEqual(deadline)
})

test('when its supervisor is gone it kills at once', async () => {
  const { watchdog, tell, gone } = await watching()
  tell({ kind: 'deadline', deadline: undefined })
  watchdog.disconnect()
  expect(await gone).toEqual(KILLED)
  await once(watchdog, 'exit')
})
