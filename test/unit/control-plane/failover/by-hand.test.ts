// What may be promoted by hand, and what is printed for it.
import { expect, test } from 'vitest'
import { type View, viewOf } from '#control-plane/coordination/keys.ts'
import { type Position, promoteByHand, recoverByHand } from '#control-plane/failover/by-hand.ts'
import { wall } from '#shared/base/time.ts'

const now = wall(Date.UTC(2026, 0, 5, 10))
const order = { id: '1', by: 'alice', why: 'the site is gone', drill: false }
const asked = (node: string, acceptDataLoss = false) => ({
  node,
  acceptDataLoss,
  order,
  now,
  until: wall(now + 60_000),
})
const pause = { by: 'alice', why: 'the site is gone', until: wall(now + 1_000) }
const sync = { epoch: 4, change: 2, leader: 'a#one', standby: 'b#one' }
const view = (more: Readonly<Record<string, unknown>>): View =>
  viewOf(
    Object.entries({ epoch: 4, sync, pause, ...more }).map(([key, value]) => ({
      key,
      value: JSON.stringify(value),
    })),
    1,
  )
const at = (node: string, received: number | undefined, timeline = 3): Position => ({
  node,
  dr: node === 'z',
  held: received === undefined ? undefined : { disk: 'one', timeline, received },
})

test('a paused cluster without a Leader: who has all that a holder has leads without loss', () => {
  const decided = promoteByHand(asked('c'), view({}), [
    { ...at('a', undefined), why: 'connect ECONNREFUSED' },
    at('b', 700),
    at('c', 700),
    at('z', 650),
  ])
  expect(decided.transaction?.name).toBe('appoint')
  expect(decided.because).toBe('c has all that b has, and that is every acknowledged write')
  expect(decided.comparison).toEqual([
    'positions at 2026-01-05T10:00:00.000+00:00, compared with c:',
    'a: cannot be reached: connect ECONNREFUSED',
    'b: timeline 3, 700 bytes, equal',
    'c: timeline 3, 700 bytes',
    'z (DR): timeline 3, 650 bytes, 50 bytes behind',
  ])
})

test('who leads, a cluster that chooses by itself and a node that is out are in the way', () => {
  const positions = [at('b', 700)]
  const leader = { node: 'a', disk: 'one', epoch: 4, timeline: 3 }
  const refused = (more: Readonly<Record<string, unknown>>): string => {
    const { transaction, because } = promoteByHand(asked('b', true), view(more), positions)
    expect(transaction).toBeUndefined()
    return because
  }
  expect(refused({ leader })).toContain('cluster switchover')
  expect(refused({ pause: { ...pause, until: now } })).toContain('cluster pause')
  expect(refused({ 'evicted/b': { epoch: 4 } })).toContain('cluster rejoin')
  expect(promoteByHand(asked('c', true), view({}), positions).because).toBe(
    'c cannot be reached: start it first',
  )
})

test('what may be lost is lost only when that is accepted, and then the record says so', () => {
  const positions = [at('a', undefined), at('b', undefined), at('c', 700), at('z', 900, 2)]
  const refused = promoteByHand(asked('z'), view({}), positions)
  expect(refused).toMatchObject({
    transaction: undefined,
    because:
      'c has more than z; a cannot be reached; b cannot be reached; the last acknowledged write may be only on a#one or b#one: promote the one that has most, or give --accept-data-loss',
  })
  const { transaction } = promoteByHand(asked('z', true), view({}), positions)
  const [write] = transaction!.writes
  expect(JSON.parse(write?.op === 'put' ? write.value : '')).toMatchObject({
    node: 'z',
    disk: 'one',
    nextEpoch: 5,
    how: 'hand',
    possibleLoss: true,
  })
})

test('a holder whose disk is another one proves nothing, and that nobody has more neither', () => {
  const emptied = { ...at('b', 0), held: { disk: 'two', timeline: 3, received: 0 } }
  const all = [{ ...at('a', 0), held: { disk: 'two', timeline: 3, received: 0 } }, emptied, at('c', 1)]
  expect(promoteByHand(asked('c'), view({}), all)).toMatchObject({
    transaction: undefined,
    because:
      'the last acknowledged write may be only on a#one or b#one: promote the one that has most, or give --accept-data-loss',
  })
  expect(promoteByHand(asked('c'), view({}), [at('b', 600), at('c', 700)]).transaction?.name).toBe('appoint')
})

test('a lost store: one goes on in a new one, ten epochs later, and all others are out', () => {
  const known = { epoch: 4, sync, above: 5 }
  const positions = [at('a', undefined), at('b', 700), at('c', 690)]
  const { transaction } = recoverByHand(asked('b'), known, positions)
  const written = Object.fromEntries(
    transaction!.writes.map((write) => [write.key, write.op === 'put' ? JSON.parse(write.value) : undefined]),
  )
  expect(written).toMatchObject({
    epoch: 14,
    sync: { epoch: 14, leader: 'b#one', standby: null },
    'history/14': { above: 5, possibleLoss: false },
    appointment: { node: 'b', nextEpoch: 15 },
    'evicted/a': { epoch: 14 },
    'evicted/c': { epoch: 14 },
  })
  expect(recoverByHand(asked('c'), known, positions).because).toContain('b has more than c')
})

test('a lost store of which nobody knows who had the duty: every member is to be looked at, and none has more', () => {
  const known = { epoch: 4, sync: undefined, above: 5 }
  const recovered = (c: number | undefined) =>
    recoverByHand(asked('b'), known, [at('a', 690), at('b', 700), at('c', c)])
  expect(recovered(700).transaction?.name).toBe('recover')
  expect(recovered(701).because).toContain('c has more than b')
  expect(recovered(undefined).because).toContain('c cannot be reached')
})
