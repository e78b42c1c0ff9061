// Who leads on a managed Postgres: the rules, with plain values.
import { describe, expect, test } from 'vitest'
import {
  afterFence,
  type Config,
  type Heard,
  next,
  type Role,
  standingBy,
} from '#control-plane/managed/lease.ts'
import { monotonic } from '#shared/base/time.ts'

const config: Config = { lifeMs: 15_000, marginMs: 3_000, renewEveryMs: 5_000, unwellMs: 30_000 }
const at = monotonic
const ours = (epoch: number, sentAt: number): Heard => ({ kind: 'ours', epoch, sentAt: at(sentAt) })
const held: Heard = { kind: 'held', by: { node: 'node-2', epoch: 8 } }
const silent: Heard = { kind: 'silent' }
const leading: Role = { phase: 'leading', epoch: 7, deadline: at(12_000), wellAt: at(0) }
const step = (role: Role, heard: Heard, now: number, well = true): Role =>
  next(role, heard, at(now), well, config)

describe('who waits', () => {
  test('leads with the lease, until a margin before its end, counted from when it was asked for', () => {
    expect(step(standingBy, ours(7, 1_000), 4_000)).toEqual({
      phase: 'leading',
      epoch: 7,
      deadline: 13_000,
      wellAt: 4_000,
    })
  })
  test('does not lead with an answer that was too long under way', () => {
    expect(step(standingBy, ours(7, 1_000), 13_000)).toEqual(standingBy)
  })
  test('knows who leads, and remembers it while it hears nothing', () => {
    const waiting = step(standingBy, held, 1_000)
    expect(waiting).toMatchObject({ phase: 'standby', holder: { node: 'node-2', epoch: 8 } })
    expect(step(waiting, silent, 90_000)).toEqual(waiting)
  })
})

describe('who leads', () => {
  test('goes on with a renewal from when that was sent, never to an earlier deadline', () => {
    expect(step(leading, ours(7, 5_000), 9_000)).toMatchObject({ deadline: 17_000 })
    expect(step(leading, ours(7, -9_000), 9_000)).toMatchObject({ deadline: 12_000 })
  })
  test('goes on without an answer until its deadline, and not at it', () => {
    expect(step(leading, silent, 11_999)).toMatchObject({ phase: 'leading', deadline: 12_000 })
    expect(step(leading, silent, 12_000)).toMatchObject({ phase: 'fenced', gives: false })
  })
  test('opens nothing again with a renewal that comes after its deadline (I3)', () => {
    expect(step(leading, ours(7, 11_000), 12_000)).toMatchObject({ phase: 'fenced', gives: false })
  })
  test('stops at once when somebody else has the lease', () => {
    expect(step(leading, held, 1_000)).toMatchObject({ phase: 'fenced', why: 'node-2 leads in epoch 8' })
  })
  test('leaves the lease to others when it answers no clients for long', () => {
    const long: Role = { ...leading, deadline: at(90_000) }
    expect(step(long, ours(7, 29_000), 29_999, false)).toMatchObject({ phase: 'leading', wellAt: 0 })
    expect(step(long, ours(7, 29_000), 29_999, true)).toMatchObject({ wellAt: 29_999 })
    const fenced = step(long, ours(7, 29_000), 30_000, false)
    expect(fenced).toMatchObject({ phase: 'fenced', gives: true })
    expect(afterFence(fenced as Extract<Role, { phase: 'fenced' }>, at(30_500), config)).toEqual({
      ...standingBy,
      notBefore: 45_500,
    })
  })
})

test.each([ours(7, 11_000), held, silent])(
  'who is fenced is nothing else before all is ended: $kind',
  (heard) => {
    const fenced: Role = { phase: 'fenced', epoch: 7, why: 'late', gives: false }
    expect(step(fenced, heard, 12_000)).toBe(fenced)
  },
)
