// An object that the Leader dials sleeps while nothing is said, and a commit wakes it on the same connection.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '#shared/node/clock.ts'
import { Client, type OneMachine, oneMachine } from '../support/nodes.ts'

let machine: OneMachine
beforeAll(async () => {
  // Heartbeats come so rarely that there is time to fall asleep.
  machine = await oneMachine({ edgeLink: 'leader', leaderEnv: { HOLDFAST_EDGE_HEARTBEAT: '60' } })
  machine.leader.start()
  await machine.leader.ready()
  machine.follower.start()
  await machine.follower.ready()
})
afterAll(() => machine?.stop())

/** Longer than workerd keeps an object in memory to which nothing happens: ten seconds. */
const ASLEEP_MS = 13_000

/** What the Leader says whenever a link has ended. */
const dialledAgain = (): number => machine.leader.log.match(/link to edge-1/g)?.length ?? 0

const startsWithLinks = (): string[] => machine.follower.log.match(/the object was started/g) ?? []

test('what is written while it sleeps is served, and its audit arrives once', async () => {
  const admin = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
  await admin.loadPolicy('root', '- !variable v')
  await admin.setSecret('v', '0')
  const starts = startsWithLinks().length
  const dialled = dialledAgain()
  let n = 0
  while (startsWithLinks().length === starts) {
    // Nothing else tells that it sleeps: to ask it would wake it.
    await systemClock.sleep(ASLEEP_MS)
    const written = await admin.setSecret('v', String(++n))
    const got = await admin.at(machine.follower.url).getSecret('v', {
      'Holdfast-Min-Position': written.headers.get('holdfast-position')!,
      'Holdfast-Inconsistent': 'wait',
      'X-Request-ID': `woken-${n}`,
    })
    expect([got.status, await got.text()]).toEqual([200, String(n)])
  }
  expect(machine.follower.log).toMatch(/"links":2,"msg":"the object was started"/)
  expect(dialledAgain()).toBe(dialled)
  for (;;) {
    const answer = await admin.request('GET', `/audit?procid=woken-${n}`)
    const rows = answer.status === 200 ? ((await answer.json()) as unknown[]) : []
    if (rows.length > 0) {
      expect(rows).toHaveLength(1)
      return
    }
    await systemClock.sleep(20)
  }
}, 120_000)
