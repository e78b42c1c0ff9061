// The pure parts of an operator's orders: what is refused, what became of an order, what the audit is told, who is believed.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { RECORD_TYPE } from '#control-plane/accounts.ts'
import { type Entry, viewOf } from '#control-plane/coordination/keys.ts'
import type { FailoverRecord, Note, Switchover } from '#control-plane/coordination/orders.ts'
import { remembering } from '#control-plane/coordination/remembered.ts'
import { textOf } from '#control-plane/failover/record.ts'
import type { Config } from '#control-plane/failover/types.ts'
import { accountOf, deedsOf } from '#control-plane/operator/deeds.ts'
import { mustBePossible, outcomeOf } from '#control-plane/operator/handover.ts'
import { isSigned } from '#control-plane/operator/signatures.ts'
import { clusterStatus, statusWords } from '#control-plane/operator/status.ts'
import { wall } from '#shared/base/time.ts'
import { newSigningKey, signCompact } from '#shared/token/access-token.ts'
import { ModelCluster } from '../../../sim/store-port.ts'

const config = {
  node: 'a',
  members: [
    { name: 'a', dr: false, priority: 0 },
    { name: 'b', dr: false, priority: 0 },
    { name: 'd', dr: true, priority: 0 },
  ],
} as unknown as Config

const order: Switchover = {
  id: 'o1',
  by: 'ann',
  why: 'work on a',
  drill: false,
  epoch: 4,
  target: 'b',
  until: wall(9_000),
}

const record: FailoverRecord = {
  epoch: 5,
  how: 'switchover',
  trigger: 'ann ordered it',
  order,
  because: 'a handed over',
  possibleLoss: false,
  leader: { node: 'b', disk: 'x', timeline: 3 },
  old: 'a',
  fork: { timeline: 2, at: 100 },
  candidates: [],
  times: {
    triggered: '2026-01-05T10:20:29.000+00:00',
    frozen: null,
    chosen: null,
    taken: null,
    promoted: null,
    opened: '2026-01-05T10:20:30.000+00:00',
  },
}

const view = (held: Readonly<Record<string, unknown>>) =>
  viewOf(
    Object.entries(held).map(([key, value]): Entry => ({ key, value: JSON.stringify(value) })),
    1,
  )

const leader = { node: 'a', disk: 'x', epoch: 4, timeline: 2 }
const reign = {
  node: 'b',
  how: 'switchover',
  timeline: 3,
  above: 2,
  because: 'x',
  possibleLoss: false,
  record,
}

describe('an order to hand over', () => {
  test.each([
    ['no_leader', {}, undefined],
    ['busy', { leader, switchover: order }, undefined],
    ['unknown_node', { leader }, 'x'],
    ['leads', { leader }, 'a'],
    ['unsupported', { leader }, 'd'],
    ['evicted', { leader, 'evicted/b': { epoch: 4 } }, 'b'],
    ['unreachable', { leader }, 'b'],
  ] as const)('is refused with %s', (code, held, to) => {
    const asked = { by: 'ann', why: 'x', to }
    expect(() => mustBePossible(config, view(held), asked)).toThrow(expect.objectContaining({ code }))
  })

  test('is possible to a Standby that is there', () => {
    expect(() =>
      mustBePossible(config, view({ leader, 'members/b': {} }), { by: 'ann', why: 'x', to: 'b' }),
    ).not.toThrow()
  })

  test('is over when the record names it, or the Leader has given it up', () => {
    expect(outcomeOf(order, view({ leader, switchover: order }))).toBeUndefined()
    expect(outcomeOf(order, view({ 'history/5': reign }))).toEqual({ leader: 'b', record })
    const switched = { order, done: false, because: 'b was not level' }
    expect(outcomeOf(order, view({ switched }))).toEqual({ because: 'b was not level' })
    // Taken, and not open yet.
    expect(outcomeOf(order, view({ switched: { ...switched, done: true } }))).toBeUndefined()
    expect(outcomeOf({ ...order, id: 'o2' }, view({ switched }))).toBeUndefined()
  })
})

describe('what the audit is told', () => {
  const note: Note = { id: 'n1', operation: 'pause', by: 'ann', node: null, why: 'work', at: wall(5) }

  test('is what no Leader has accounted for', () => {
    const held = { 'history/5': reign, 'notes/n1': note, 'history/6': { ...reign, record: undefined } }
    expect(deedsOf(view(held)).map(({ id }) => id)).toEqual(['epoch-5', 'n1'])
    const signed = { ...held, 'signatures/5': { node: 'b', kid: 'k', jws: 'j' } }
    expect(deedsOf(view(signed)).map(({ id }) => id)).toEqual(['n1'])
  })

  test('names who did it, to whom, and why', () => {
    const messages = (deed: Parameters<typeof accountOf>[0]): string[] =>
      accountOf(deed, 'prod').events.map(({ message }) => message)
    expect(messages({ kind: 'note', id: 'n1', note })).toEqual(['ann paused failover of prod: work'])
    const failed = { ...note, operation: 'switchover', node: 'b', error: 'b was not level' } as const
    expect(messages({ kind: 'note', id: 'n1', note: failed })).toEqual([
      'ann failed to switch over to b: b was not level',
    ])
    expect(messages({ kind: 'record', id: 'epoch-5', record })).toEqual([
      'ann promoted b: a handed over',
      'ann demoted a: a handed over',
    ])
    const lost: FailoverRecord = { ...record, how: 'election', order: null }
    expect(messages({ kind: 'record', id: 'epoch-5', record: lost })).toEqual([
      'b promoted b: a handed over',
      'b removed a: a handed over',
    ])
  })

  test('is the same line whenever it is made', () => {
    const deed = { kind: 'record', id: 'epoch-5', record } as const
    expect(accountOf(deed, 'prod').at).toBe(Date.parse('2026-01-05T10:20:30Z'))
    expect(accountOf(deed, 'prod')).toEqual(accountOf(deed, 'prod'))
  })
})

describe('the signature of a record', () => {
  test('is of this very record, by a key of the ledger, and of no other kind', async () => {
    const key = await newSigningKey()
    const rows = [{ kid: key.kid, jwk: JSON.stringify(key.publicJwk) }]
    const claims = JSON.parse(textOf(record)) as object
    const signature = { node: 'b', kid: key.kid, jws: await (await signCompact(key, RECORD_TYPE))(claims) }
    expect(await isSigned(record, signature, rows)).toBe(true)
    expect(await isSigned({ ...record, possibleLoss: true }, signature, rows)).toBe(false)
    expect(await isSigned(record, signature, [])).toBe(false)
    const receipt = { ...signature, jws: await (await signCompact(key))(claims) }
    expect(await isSigned(record, receipt, rows)).toBe(false)
  })
})

test('the status says who is what, and why', () => {
  const held = {
    epoch: 4,
    leader,
    sync: { epoch: 4, change: 1, leader: 'a#x', standby: 'b#y' },
    'members/b': {},
    'members/d': { state: 'evicted', reason: 'waiting for the operator' },
    'evicted/d': { epoch: 4 },
    pause: { by: 'ann', why: 'work', until: 10 },
  }
  const seen = { cluster: 'prod', config, view: view(held), quorum: true, node: undefined, now: wall(20) }
  const status = clusterStatus(seen)
  expect(status).toMatchObject({ epoch: 4, leader: { node: 'a' }, sync: 'b', pause: { over: true } })
  expect(status.members.map(({ node, role, state, sync }) => [node, role, state, sync])).toEqual([
    ['a', 'leader', 'running', false],
    ['b', 'standby', 'running', true],
    ['d', 'standby', 'evicted', false],
  ])
  const words = statusWords(status)
  expect(words).toContain('d  DR Standby  evicted  waiting for the operator')
  expect(statusWords(clusterStatus({ ...seen, quorum: false }))).toContain('OLD')
})

describe('a store', () => {
  let folder: string
  const file = (): string => join(folder, 'cluster-seen.json')
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  test('of an earlier epoch than was seen is not believed, also after a restart', async () => {
    const model = new ModelCluster()
    const said: string[] = []
    writeFileSync(file(), JSON.stringify({ epoch: 7, leader: 'a', sync: 'b', above: 9, at: 'then' }))
    const store = await remembering(model.node('a').store, file(), model.clock, (text) => said.push(text))
    expect(await store.read()).toBeUndefined()
    expect(await store.read()).toBeUndefined()
    expect(said).toEqual([expect.stringContaining('"cluster recover"')])
    expect((await store.unbelieved())?.epoch).toBe(0)
    expect(store.remembered()?.above).toBe(9)
    await store.close()
  })

  test('is remembered as far as it was seen', async () => {
    const model = new ModelCluster()
    const put = (key: string, value: unknown) => ({ op: 'put' as const, key, value: JSON.stringify(value) })
    model.model.transact(
      {
        name: 'take',
        when: [],
        writes: [
          put('epoch', 4),
          put('leader', leader),
          put('history/4', { ...reign, timeline: 2, above: 1 }),
        ],
      },
      {},
    )
    const store = await remembering(model.node('a').store, file(), model.clock, () => undefined)
    expect((await store.read())?.epoch).toBe(4)
    await store.close()
    expect(JSON.parse(readFileSync(file(), 'utf8'))).toMatchObject({ epoch: 4, leader: 'a', above: 2 })
  })

  test('is not forgotten because the file cannot be read', async () => {
    writeFileSync(file(), 'no json')
    const model = new ModelCluster()
    await expect(remembering(model.node('a').store, file(), model.clock, () => undefined)).rejects.toThrow(
      'damaged',
    )
  })
})
