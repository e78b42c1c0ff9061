// A Follower that is started with fewer threads still forwards what the others had recorded (I10).
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { createAuditQueue } from '#edge-follower/store/audit-queue.ts'
import { fetchEvent } from '#shared/audit/event.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { systemClock } from '#shared/node/clock.ts'
import { Client, type OneMachine, oneMachine } from '../support/nodes.ts'

let machine: OneMachine
beforeAll(async () => {
  machine = await oneMachine()
})
afterAll(() => machine.stop())

test('queues of threads that are no more', async () => {
  for (const slot of [1, 4]) {
    const sqlite = openSqlite(`${machine.directory}/edge-1/audit-${slot}.db`, 'writer')
    const queue = createAuditQueue({
      sqlite,
      budget: { records: 100, bytes: 100_000 },
      now: Date.now,
      random: randomBytes,
      endOfTurn: setImmediate,
    })
    const event = fetchEvent(
      { user: 'acme:host:web', clientIp: '10.0.0.1' },
      { resource: `acme:variable:v${slot}` },
    )
    await queue.append([formatEvent(event, { timestamp: 1_000, procid: `left-${slot}` })])
    sqlite.close()
  }
  machine.leader.start()
  machine.follower.start()
  await machine.leader.ready()
  await machine.follower.ready()
  const admin = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
  for (const slot of [1, 4]) {
    let found: unknown[] = []
    while (found.length === 0) {
      const answer = await admin.request('GET', `/audit?procid=left-${slot}`)
      found = (await answer.json()) as unknown[]
      if (found.length === 0) await systemClock.sleep(20)
    }
    expect(found).toHaveLength(1)
  }
})
