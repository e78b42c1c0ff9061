// What the supervisor tells of the machine.
import { expect, test } from 'vitest'
import { type View, viewOf } from '#control-plane/coordination/keys.ts'
import { begin } from '#control-plane/failover/step.ts'
import type { Config, Node, Role } from '#control-plane/failover/types.ts'
import { statusOf } from '#control-plane/node-status.ts'
import { monotonic } from '#shared/base/time.ts'

const config: Config = {
  node: 'a',
  members: [
    { name: 'a', dr: false, priority: 0 },
    { name: 'b', dr: false, priority: 0 },
    { name: 'c', dr: false, priority: 0 },
    { name: 'far', dr: true, priority: 0 },
  ],
  first: 'a',
  ttlMs: 15_000,
  fenceMarginMs: 3_000,
  renewEveryMs: 5_000,
  raceBackoffMs: 5_000,
  electionWindowMs: 1_000,
  syncGraceMs: 1_500,
  syncRequired: true,
  mode: 'safe',
}

const view: View = {
  ...viewOf([], 1),
  epoch: 4,
  leader: { node: 'a', disk: 'd1', epoch: 4, timeline: 4 },
  sync: { epoch: 4, change: 1, leader: 'a#d1', standby: 'b#d2' },
}
const leading = {
  phase: 'leading',
  stage: 'open',
  duty: { kind: 'held', by: 'b#d2', mark: undefined },
} as Partial<Role> as Role
const own = {
  well: true,
  receiving: false,
  end: 10,
  busy: false,
  replicas: new Map([
    ['b#d2', 10],
    ['c#d3', 8],
    ['far#d4', 10],
  ]),
}
const node: Node = { ...begin(config), role: leading, view, own }

test('a Leader tells whom it waits for, and who is next', () => {
  expect(statusOf(node, monotonic(7))).toEqual({
    phase: 'open',
    epoch: 4,
    leader: 'a',
    sync: 'b',
    next: 'c',
    members: 4,
    standbys: ['b', 'c'],
    dr: false,
    paused: false,
    blocked: null,
    why: null,
    storeHeardAt: 7,
  })
})

test('who was removed takes over nothing', () => {
  const without = { ...view, evicted: new Map([['c', { epoch: 4 }]]) }
  expect(statusOf({ ...node, view: without }, undefined)).toMatchObject({ next: null, standbys: ['b'] })
})

test('one that leads no more says why, and names nobody', () => {
  const role: Role = {
    phase: 'fenced',
    epoch: 4,
    why: 'its lease is gone',
    closing: undefined,
    demoted: true,
    given: [],
  }
  expect(statusOf({ ...node, role }, undefined)).toMatchObject({
    phase: 'fenced',
    why: 'its lease is gone',
    next: null,
    storeHeardAt: null,
  })
})

test('one that has heard nothing yet is a Standby', () => {
  const far = begin({ ...config, node: 'far' })
  expect(statusOf(far, undefined)).toMatchObject({
    phase: 'standby',
    epoch: 0,
    leader: null,
    sync: null,
    dr: true,
  })
})
