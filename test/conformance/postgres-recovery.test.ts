// Whatever ends a node's Postgres, and whenever: it comes back in recovery, and only a promotion makes it a Leader again (I4).
import { describe, expect, test, vi } from 'vitest'
import { systemClock } from '#shared/node/clock.ts'
import {
  allBinaries,
  handsClusters,
  isReadOnly,
  killPostgres,
  ledBy,
  processOf,
  until,
  untilWaiting,
  write,
  writeAlone,
  written,
} from '../support/hands.ts'

// Copies and starts take their time where other tests run too.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 })

const text = (value: boolean): string => String(value)

describe.each(await allBinaries())('the recovery of a node on $name', ({ binaries }) => {
  const cluster = handsClusters(binaries)

  test('a killed Leader comes back in recovery, following nobody, and is told (I4)', async () => {
    const { leader, standbys, copies } = await ledBy(await cluster(), 'a', 'b')
    await leader.hands.setSync(copies)
    const receiver = await processOf(standbys[0]!, 'walreceiver')
    process.kill(receiver, 'SIGSTOP')
    const one = write(leader, 1)
    await untilWaiting(leader, 1)
    await killPostgres(leader)
    process.kill(receiver, 'SIGCONT')
    await expect(one.done).rejects.toThrow()
    expect(await isReadOnly(leader)).toBe(true)
    await expect(writeAlone(leader, 2)).rejects.toThrow('read-only')
    expect(await leader.hands.probe()).toMatchObject({ answers: true, writes: false, receiving: false })
    // One of its processes alone is enough: it does not mend itself.
    await leader.hands.promote(2)
    const stops = leader.stops()
    process.kill(await processOf(leader, 'walwriter'), 'SIGKILL')
    await until(async () => leader.stops() > stops)
    expect(await isReadOnly(leader)).toBe(true)
    // Also by another owner, and after a demotion.
    await leader.hands.promote(3)
    const again = await leader.again()
    expect(await isReadOnly(again)).toBe(true)
    await again.hands.promote(4)
    await again.hands.demote()
    expect(await isReadOnly(again)).toBe(true)
    expect(again.stops()).toBe(0)
  })

  test('what is left of a Postgres that was killed is ended before it is started again (I4)', async () => {
    const { leader: a } = await ledBy(await cluster(), 'a')
    await a.hands.demote()
    // It would live on with the cluster in its hands, and end its recovery beside the next one.
    process.kill(await processOf(a, 'startup'), 'SIGSTOP')
    await killPostgres(a)
    expect(await isReadOnly(a)).toBe(true)
  })

  test('killed at any moment of a promotion it comes back in recovery, and can be promoted (I4)', async () => {
    let { leader: a } = await ledBy(await cluster(), 'a')
    await a.hands.demote()
    let above = 2
    for (const afterMs of [0, 5, 10, 20, 40, 80]) {
      const promoting = a.hands.promote(++above).catch(() => undefined)
      await systemClock.sleep(afterMs)
      const pid = a.hands.pid()
      if (pid !== undefined) process.kill(pid, 'SIGKILL')
      // Killed on its way into recovery it was started once more, and promoted.
      if ((await promoting) !== undefined) await a.hands.demote()
      // Nobody is told of one that was killed before it answered: the first that answers is waited for.
      const recovering = await until(() => isReadOnly(a).then(text, () => undefined))
      expect(recovering).toBe('true')
      a = await a.again()
      expect(await isReadOnly(a)).toBe(true)
    }
    expect(await a.hands.promote(++above)).toMatchObject({ timeline: above + 1 })
    expect(await written(a)).toEqual([])
  })
})
