// Single rules of the store and of a step, which the stories and schedules rest on.
import { expect, test } from 'vitest'
import { transactions } from '#control-plane/coordination/keys.ts'
import { trailFrom } from '#control-plane/failover/record.ts'
import { begin, step } from '#control-plane/failover/step.ts'
import type { Config, Node, Role, Trail } from '#control-plane/failover/types.ts'
import { monotonic, wall } from '#shared/base/time.ts'
import { Store } from './store.ts'

const reign = {
  node: 'a',
  how: 'election',
  timeline: 0,
  above: 1,
  because: 'a test',
  possibleLoss: false,
} as const

test('the store refuses the lock and the leadership of an epoch that has passed', () => {
  const store = new Store()
  store.grant('a/node/1', 1_000)
  store.grant('a/leader/1', 1_000)
  const leases = { node: 'a/node/1', leader: 'a/leader/1' }
  const take = (before: number) => {
    const epoch = before + 1
    const leadership = { node: 'a', disk: '1', epoch, timeline: 0 }
    const sync = { epoch, change: 0, leader: 'a#1', standby: null }
    return store.transact(transactions.take(leadership, sync, undefined, reign), leases)
  }
  const candidate = (epochSeen: number) => ({ epochSeen, disk: '1', timeline: 1, received: 0 })
  expect(store.transact(transactions.stand('a', candidate(0)), leases)).toBe(true)
  expect(store.transact(transactions.lock('a', candidate(0), reign), leases)).toBe(true)
  expect(take(1)).toBe(false)
  expect(take(0)).toBe(true)
  expect(store.transact(transactions.lock('b', candidate(1), reign), leases)).toBe(false)
  store.expire(2_000)
  expect(store.view()).toMatchObject({ epoch: 1, leader: undefined })
  store.grant('b/node/1', 9_000)
  const others = { node: 'b/node/1', leader: undefined }
  expect(store.transact(transactions.stand('b', candidate(0)), others)).toBe(false)
  expect(store.transact(transactions.stand('b', candidate(1)), others)).toBe(true)
  expect(store.transact(transactions.lock('b', candidate(0), reign), others)).toBe(false)
  expect(store.transact(transactions.lock('b', candidate(1), reign), others)).toBe(true)
})

test('the answer to an earlier freeze says nothing of what was received since', () => {
  const [at, later] = [monotonic(1), monotonic(2)]
  const node = begin({ node: 'b', electionWindowMs: 0 } as Config)
  const trail = trailFrom(node, { kind: 'stopped', at })
  const freezing: Node = { ...node, role: { phase: 'freezing', trail, asked: later } }
  const frozen = { kind: 'frozen', disk: '1', timeline: 1 } as const
  const [still] = step(freezing, { ...frozen, asked: at, received: 90, at: later })
  expect(still.role.phase).toBe('freezing')
  const [stands] = step(still, { ...frozen, asked: later, received: 100, at: later })
  expect(stands.role).toMatchObject({ phase: 'standing', candidate: { received: 100 } })
})

test('the store refuses what was said of the duty long ago, and knows what it was told twice', () => {
  const store = new Store()
  store.grant('a/leader/1', 9_000)
  store.grant('a/node/1', 9_000)
  const leases = { node: 'a/node/1', leader: 'a/leader/1' }
  const leader = { node: 'a', disk: '1', epoch: 1, timeline: 0 }
  const sync = (change: number, standby: string | null) => ({ epoch: 1, change, leader: 'a#1', standby })
  const candidate = { epochSeen: 0, disk: '1', timeline: 1, received: 0 }
  for (const transaction of [
    transactions.stand('a', candidate),
    transactions.lock('a', candidate, reign),
    transactions.take(leader, sync(0, null), undefined, reign),
  ])
    expect(store.transact(transaction, leases)).toBe(true)
  const b = transactions.nameSync(leader, sync(0, null), sync(1, 'b#1'))
  const c = transactions.nameSync(leader, sync(1, 'b#1'), sync(2, 'c#1'))
  expect([b, b, c, b].map((transaction) => store.transact(transaction, leases))).toEqual([
    true,
    true,
    true,
    false,
  ])
  expect(store.view().sync?.standby).toBe('c#1')
})

test('nothing is handed over while somebody is at work in Postgres, whose end comes into the log', () => {
  const order = { id: '1', target: null, epoch: 1, until: wall(9_000), by: 'x', why: 'y', drill: false }
  const leadership = { node: 'a', disk: '1', epoch: 1, timeline: 1 }
  const handing = { at: 'levelling', order, to: 'b#1', mark: undefined, until: monotonic(9_000) }
  const published = { epoch: 1, change: 1, leader: 'a#1', standby: 'b#1' }
  const role = { phase: 'leading', stage: 'open', leadership, published, handing, deadline: monotonic(9_000) }
  let node: Node = {
    ...begin({ node: 'a', members: [] } as unknown as Config),
    role: role as unknown as Role,
  }
  const gives = (busy: boolean): boolean => {
    const own = { well: true, receiving: false, end: 10, busy, replicas: new Map([['b#1', 10]]) }
    const [next, effects] = step(node, { kind: 'probed', own, at: monotonic(1) })
    node = next
    return effects.some((effect) => effect.kind === 'transact' && effect.transaction.name === 'handOver')
  }
  expect([gives(true), gives(true), gives(false), gives(false)]).toEqual([false, false, false, true])
})

test('a lock is of the disk for which it was given', () => {
  const store = new Store()
  store.grant('b/node/1', 9_000)
  store.grant('b/leader/1', 9_000)
  const leases = { node: 'b/node/1', leader: 'b/leader/1' }
  const candidate = { epochSeen: 0, disk: '1', timeline: 1, received: 100 }
  const sync = { epoch: 1, change: 0, leader: 'b#2', standby: null }
  store.transact(transactions.stand('b', candidate), leases)
  expect(store.transact(transactions.lock('b', { ...candidate, disk: '2' }, reign), leases)).toBe(false)
  expect(store.transact(transactions.lock('b', candidate, reign), leases)).toBe(true)
  const empty = { node: 'b', disk: '2', epoch: 1, timeline: 0 }
  expect(store.transact(transactions.take(empty, sync, undefined, reign), leases)).toBe(false)
})

test('who holds a lock that it cannot use gives it back, and nobody else does', () => {
  const store = new Store()
  store.grant('b/node/1', 9_000)
  const leases = { node: 'b/node/1' }
  const candidate = { epochSeen: 0, disk: '1', timeline: 1, received: 100 }
  store.transact(transactions.stand('b', candidate), leases)
  store.transact(transactions.lock('b', candidate, reign), leases)
  const view = store.view()
  const asks = (node: string, disk: string): readonly string[] => {
    const config = { node, electionWindowMs: 0 } as Config
    const trail = {} as Trail
    const role = { phase: 'standing', trail, candidate: { ...candidate, disk }, since: 0, until: 0 } as Role
    const [, effects] = step(
      { ...begin(config), role, view, nodeLeaseSentAt: monotonic(0) },
      { kind: 'tick', at: monotonic(0), wall: wall(0) },
    )
    return effects.flatMap((effect) => (effect.kind === 'transact' ? [effect.transaction.name] : []))
  }
  expect([asks('b', '2'), asks('b', '1'), asks('c', '2')]).toEqual([['unlock'], ['take'], []])
  expect(store.transact(transactions.unlock(view.promotion!), leases)).toBe(true)
  expect(store.view().promotion).toBeUndefined()
})
