// Writes that are decided ahead of their turn end as if they had been decided in it.
import { beforeEach, expect, test } from 'vitest'
import type { LoggedCommit } from '#control-plane/ledger/change-log.ts'
import type { Database } from '#control-plane/ledger/connection.ts'
import { currentEpoch, raiseEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { createOutbox } from '#control-plane/ledger/log.ts'
import { createPlannedLedger } from '#control-plane/ledger/planned.ts'
import { createWriter, type Writer } from '#control-plane/ledger/writer.ts'
import { type Change, put } from '#shared/ledger/change.ts'
import type { Ledger, Statement } from '#shared/ledger/store.ts'
import { systemClock } from '#shared/node/clock.ts'
import { ledgerDatabase } from '../support/postgres.ts'

const role = (id: string): Change => put('roles', { id, policy: null, created_at: 1 })
const heartbeat = put('heartbeats', { id: 1, at: 1 })
const plain = (writer: Ledger, changes: readonly Change[]) =>
  writer.submit({ statements: [], caller: undefined, decide: () => ({ changes, records: [] }) })

const countOfRoles: Statement = { sql: 'SELECT count(*) AS n FROM roles', params: [] }

let database: Database
let writer: Writer
let epoch: number
beforeEach(async () => {
  database = await ledgerDatabase()
  epoch = await currentEpoch(database, 'leader-1', 1)
  writer = await createWriter({ database, epoch, clock: systemClock })
})

/** `before`: done by others between the decision and the turn. */
function ledgerWith(before: { turn?: () => Promise<unknown>; lane?: () => Promise<unknown> } = {}): Ledger {
  const turns = {
    leave: writer.leave,
    async enter(lane: string) {
      await before.lane?.()
      await writer.enter(lane)
    },
    async turn(store: Parameters<Writer['turn']>[0]) {
      await before.turn?.()
      await writer.turn(store)
    },
  }
  return createPlannedLedger({ database, epoch, turns })
}

/** Names a role by how many there are, so that a decision on old facts shows; counts its decisions. */
function counting(ledger: Ledger) {
  const seen: number[] = []
  const done = ledger.submit({
    statements: [countOfRoles],
    caller: undefined,
    lane: 'a lane',
    decide({ rows }) {
      const n = rows[0]![0]!.n as number
      seen.push(n)
      return { changes: [role(`a:user:after-${n}`)], records: [`after ${n}`] }
    },
  })
  return { done, seen }
}

test('a commit of its own follows the head, is told to listeners, and its lines are in the outbox', async () => {
  const heard: LoggedCommit[] = []
  let lines = 0
  writer.onCommit((commit) => heard.push(commit))
  writer.onRecords(() => lines++)
  await plain(writer, [role('a:user:x')])
  const { done, seen } = counting(ledgerWith())
  expect(await done).toMatchObject({ position: { epoch, seq: 2 }, changed: true })
  expect(seen).toEqual([1])
  expect((await plain(writer, [role('a:user:y')])).position.seq).toBe(3)
  expect(heard.map(({ position }) => position.seq)).toEqual([1, 2, 3])
  expect(lines).toBeGreaterThan(0)
  const { groups } = await createOutbox(database, writer).read(0)
  expect(groups.flatMap((group) => group.lines)).toEqual(['after 1'])
})

test.each(['lane', 'turn'] as const)(
  'what others change before its %s makes it decide again if it had read of it',
  async (when) => {
    let n = 0
    const others = () => plain(writer, [role(`a:user:other-${++n}`)])
    const { done, seen } = counting(ledgerWith({ [when]: others }))
    await done
    expect(seen).toEqual([0, 1])
    const { rows } = await database.query('SELECT id FROM roles ORDER BY id')
    expect(rows.map(({ id }) => id)).toEqual(['a:user:after-1', 'a:user:other-1'])
  },
)

test('what it has not read of may change', async () => {
  await plain(writer, [heartbeat])
  const { done, seen } = counting(ledgerWith({ turn: () => plain(writer, [heartbeat]) }))
  expect((await done).position.seq).toBe(3)
  expect(seen).toEqual([0])
})

test('a commit too large to look through, or gone from the log, counts as a change of everything', async () => {
  const large = () =>
    plain(writer, [
      put('annotations', { resource: 'a', name: 'b', value: 'x'.repeat(500_000), policy: null }),
    ])
  const first = counting(ledgerWith({ turn: large }))
  await first.done
  expect(first.seen).toEqual([0, 0])
  const gone = async () => {
    await plain(writer, [heartbeat])
    await database.query('DELETE FROM change_log')
  }
  const second = counting(ledgerWith({ turn: gone }))
  await second.done
  expect(second.seen).toEqual([1, 1])
})

test('nobody writes during a turn', async () => {
  const order: string[] = []
  const behind: Promise<unknown>[] = []
  const turns = {
    ...writer,
    turn: (store: Parameters<Writer['turn']>[0]) =>
      writer.turn(async (head, at) => {
        behind.push(plain(writer, [heartbeat]).then(() => order.push('behind')))
        const stored = await store(head, at)
        order.push('turn')
        return stored
      }),
  }
  await counting(createPlannedLedger({ database, epoch, turns })).done
  await Promise.all(behind)
  expect(order).toEqual(['turn', 'behind'])
  expect(writer.head().position.seq).toBe(2)
})

test('a refusal stores its lines, changes nothing and waits in no lane', async () => {
  await writer.enter('a lane')
  const refused = await ledgerWith().submit({
    statements: [],
    caller: undefined,
    lane: 'a lane',
    decide: () => ({ changes: [], records: ['refused'] }),
  })
  expect(refused).toMatchObject({ position: { seq: 0 }, changed: false })
  const { groups } = await createOutbox(database, writer).read(0)
  expect(groups.flatMap((group) => group.lines)).toEqual(['refused'])
})

test('a lane that stays busy, a decision that throws and a lost leadership end it alone', async () => {
  const busy = ledgerWith({
    lane: () => Promise.reject(Object.assign(new Error('busy'), { code: 'policy_conflict' })),
  })
  await expect(counting(busy).done).rejects.toMatchObject({ code: 'policy_conflict' })
  const throwing = ledgerWith().submit({
    statements: [],
    caller: undefined,
    decide: () => {
      throw new Error('no')
    },
  })
  await expect(throwing).rejects.toThrow('no')
  expect((await counting(ledgerWith()).done).position.seq).toBe(1)
  const deposed = ledgerWith({
    turn: () => database.transaction((session) => raiseEpoch(session, epoch + 1, 'leader-2', 2)),
  })
  await expect(counting(deposed).done).rejects.toMatchObject({ code: 'stale_epoch' })
  expect(writer.head().position.seq).toBe(1)
})

test.each(['first decision', 'lane', 'turn'] as const)(
  'facts that cannot be read are `unavailable`, and what a decision throws comes through: since before its %s',
  async (when) => {
    const another = (id: string) => () => plain(writer, [role(id)])
    const failing = async (id: string, statement: Statement, decide: Parameters<typeof deciding>[2]) => {
      if (when === 'first decision') await another(id)()
      return deciding(ledgerWith({ [when]: another(id) }), statement, decide)
    }
    // Divides by zero once there is such a role.
    const unreadable = { sql: "SELECT 1 / (1 - count(*)) AS n FROM roles WHERE id = 'a:user:x'", params: [] }
    await expect(failing('a:user:x', unreadable, () => undefined)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('nothing was stored'),
    })
    const own = new Error('no decision')
    const throwing = (n: number) => {
      if (n > 1) throw own
    }
    await expect(failing('a:user:y', countOfRoles, throwing)).rejects.toBe(own)
    expect(writer.head().position.seq).toBe(2)
  },
)

function deciding(ledger: Ledger, statement: Statement, look: (n: number) => void) {
  return ledger.submit({
    statements: [statement],
    caller: undefined,
    lane: 'a lane',
    decide({ rows }) {
      look(rows[0]![0]!.n as number)
      return { changes: [role('a:user:z')], records: [] }
    },
  })
}

test('it has its connection from the beginning: in its turn it waits for none', async () => {
  let sessions = 0
  const counted = {
    ...database,
    async session() {
      sessions++
      return database.session()
    },
  }
  const turns = {
    ...writer,
    turn(store: Parameters<Writer['turn']>[0]) {
      expect(sessions).toBe(1)
      return writer.turn(store)
    },
  }
  await counting(createPlannedLedger({ database: counted, epoch, turns })).done
  expect(sessions).toBe(1)
})
