// What a node on a managed Postgres says of itself: that nobody has a copy, and who leads.
import { expect, test } from 'vitest'
import { type ManagedFacts, managedHealth, managedStandbyHealth } from '#control-plane/managed/health.ts'
import type { NodeStatus } from '#control-plane/node-link.ts'
import { monotonic } from '#shared/base/time.ts'

const status: NodeStatus = {
  phase: 'open',
  epoch: 7,
  leader: 'node-1',
  sync: null,
  next: null,
  members: 1,
  standbys: [],
  dr: false,
  paused: false,
  blocked: null,
  why: null,
  storeHeardAt: monotonic(9_000),
}
const facts: ManagedFacts = {
  managed: true,
  cluster: 'managed',
  status,
  now: monotonic(10_000),
  space: { kbytes: 31_024_512, inodes: 2_437_636 },
}
const waiting: ManagedFacts = { ...facts, status: { ...status, phase: 'standby' } }

test('a Leader says whose the durability is', () => {
  expect(managedHealth(facts)).toEqual({
    ok: true,
    status: 'managed',
    message: 'leader; no physical Standbys: what is committed is kept by the managed database',
    name: 'managed',
    epoch: 7,
    leader: 'node-1',
    physical_standbys: 0,
    durability: 'managed database',
  })
})

test('who waits is well as a Standby, and names the Leader', () => {
  const { ok, body } = managedStandbyHealth(waiting)
  expect(ok).toBe(true)
  expect(body).toMatchObject({
    role: 'standby',
    database: { ok: true, connect: { main: 'ok' } },
    cluster: { message: expect.stringContaining('node-1 leads; this node waits for its lease') },
  })
})

test.each<[string, Partial<ManagedFacts>, string]>([
  ['that was told nothing yet', { status: undefined }, 'the supervisor has told nothing yet'],
  [
    'whose database has not answered for ten seconds',
    { now: monotonic(19_000) },
    'the managed database does not answer for the lease',
  ],
  [
    'that led until just now',
    { status: { ...status, phase: 'fenced', leader: null, why: 'late' } },
    'leads no more: late',
  ],
])('one %s is not well, and says why', (_name, change, why) => {
  const { ok, body } = managedStandbyHealth({ ...waiting, ...change })
  expect(ok).toBe(false)
  expect(body).toMatchObject({
    ok: false,
    degraded: true,
    cluster: { ok: false, message: expect.stringContaining(why) },
  })
})

test('one without room is not well', () => {
  expect(managedStandbyHealth({ ...waiting, space: { kbytes: 0, inodes: 5 } })).toMatchObject({
    ok: false,
    body: { database: { ok: false } },
  })
})
