// What is at stake: whatever a Leader says, in whatever order, the copy only ever goes from one of its states to
// the next (I7), and a Leader of the past changes nothing (I8).
import { describe, expect, test } from 'vitest'
import { encodeChanges, put } from '#shared/ledger/change.ts'
import { type Position, parsePosition } from '#shared/ledger/position.ts'
import {
  type Downstream,
  type DownstreamEffect,
  type DownstreamEvent,
  step,
} from '#shared/replication/downstream.ts'

const at = (text: string): Position => parsePosition(text)!
const show = ({ epoch, seq }: Position): string => `${epoch}.${seq}`
const hash = '0'.repeat(64)

const greeting = (held: string | undefined, staged?: { id: string; nextChunk: number }): Downstream => ({
  phase: 'greeting',
  held: held === undefined ? undefined : at(held),
  resumable: held !== undefined,
  staged,
})
const welcome = (
  mode: 'live' | 'snapshot',
  position: string,
  reason: 'POSITION_AHEAD' | null = null,
): DownstreamEvent => ({
  type: 'welcome',
  mode,
  position: at(position),
  reason,
  leaderUrl: null,
  leaderTime: 0,
})
const announced = (id: string, position: string, chunks: number): DownstreamEvent => ({
  type: 'snapshot',
  header: { id, position: at(position), contentHash: hash, at: 0, chunks },
})
const chunk = (n: number): DownstreamEvent => ({ type: 'chunk', chunk: n, rows: '' })
const changes = JSON.parse(encodeChanges([put('heartbeats', { id: 1, at: 1 })])) as unknown[]
const commit = (position: string, part = 0, parts = 1): DownstreamEvent => ({
  type: 'commit',
  position: at(position),
  at: 0,
  contentHash: hash,
  part,
  parts,
  changes,
})
const stored = (position: string): DownstreamEvent => ({ type: 'stored', position: at(position) })
const mismatched: DownstreamEvent = { type: 'mismatched', message: 'differs' }

function line(effect: DownstreamEffect): string {
  switch (effect.kind) {
    case 'begin':
      return `begin ${effect.header.id}`
    case 'stage':
      return `stage ${effect.chunk}`
    case 'apply':
      return `apply ${show(effect.commit.position)} changes=${effect.commit.changes.length}`
    case 'ack':
      return `ack ${show(effect.position)}`
    case 'tell':
      return `tell ${effect.code}`
    case 'distrust':
      return `distrust ${effect.code}: ${effect.message}`
    case 'state':
      return `state ${effect.state}`
    case 'report':
      return `report ${effect.message}`
    case 'end':
      return `end ${effect.message}`
    default:
      return effect.kind
  }
}

function transcript(from: Downstream, ...events: DownstreamEvent[]): string {
  let state = from
  const lines: string[] = []
  for (const event of events) {
    const [next, effects] = step(state, event)
    state = next
    lines.push(`${event.type} -> ${next.phase}`, ...effects.map((effect) => `  ${line(effect)}`))
  }
  return lines.join('\n')
}

const text = (strings: TemplateStringsArray): string => {
  const lines = strings.join('').split('\n').slice(1, -1)
  const indent = /^ */.exec(lines[0]!)![0].length
  return lines.map((one) => one.slice(indent)).join('\n')
}

const live = (held: string): [Downstream, DownstreamEvent] => [greeting(held), welcome('live', '1.99')]

describe('live', () => {
  test('a commit is applied when its last part is there, and acknowledged when it is durable', () => {
    expect(
      transcript(
        ...live('1.5'),
        commit('1.6'),
        stored('1.6'),
        commit('1.7', 0, 3),
        commit('1.7', 1, 3),
        commit('1.7', 2, 3),
        stored('1.7'),
      ),
    ).toBe(text`
      welcome -> live
        state live
      commit -> live
        apply 1.6 changes=1
      stored -> live
        ack 1.6
      commit -> live
      commit -> live
      commit -> live
        apply 1.7 changes=3
      stored -> live
        ack 1.7
    `)
  })

  test('a new epoch goes on from the same number', () => {
    expect(transcript(...live('1.5'), commit('2.6'))).toContain('apply 2.6')
  })

  test.each([
    ['a commit twice', [commit('1.5')]],
    ['a commit left out', [commit('1.7')]],
    ['a part left out', [commit('1.6', 0, 3), commit('1.6', 2, 3)]],
    ['a part twice', [commit('1.6', 0, 3), commit('1.6', 0, 3)]],
    ['a commit that begins in the middle', [commit('1.6', 1, 3)]],
    ['a commit while another one is incomplete', [commit('1.6', 0, 3), commit('1.7')]],
    ['a snapshot', [announced('abc', '1.9', 1)]],
    ['a second welcome', [welcome('live', '1.9')]],
  ])('I7: %s ends the session and applies nothing', (_name, events) => {
    const told = transcript(...live('1.5'), ...events)
    expect(told).toContain('-> ended\n  end ')
    expect(told).not.toContain('apply')
  })

  test('EPOCH_STALE, I8: a commit of a lower epoch changes nothing', () => {
    const held: Downstream = { phase: 'live', applied: at('2.5'), parts: [] }
    expect(transcript(held, commit('1.6'))).toMatch(/^commit -> ended\n {2}tell EPOCH_STALE\n {2}end/)
  })

  test('HASH_MISMATCH: the Leader is told, nothing is acknowledged', () => {
    expect(transcript(...live('1.5'), commit('1.6'), mismatched)).toBe(text`
      welcome -> live
        state live
      commit -> live
        apply 1.6 changes=1
      mismatched -> ended
        distrust HASH_MISMATCH: differs
        tell HASH_MISMATCH
        end differs
    `)
  })
})

describe('a snapshot', () => {
  test('is staged chunk by chunk, finished, and followed live', () => {
    expect(
      transcript(
        greeting(undefined),
        welcome('snapshot', '1.9'),
        { type: 'ping' },
        announced('abc', '1.9', 2),
        chunk(0),
        chunk(1),
        stored('1.9'),
        commit('1.10'),
      ),
    ).toBe(text`
      welcome -> snapshot
        state snapshot
      ping -> snapshot
      snapshot -> snapshot
        begin abc
      chunk -> snapshot
        stage 0
        ping
      chunk -> snapshot
        stage 1
        finish
      stored -> live
        state live
        report snapshot complete at 1.9
        ack 1.9
      commit -> live
        apply 1.10 changes=1
    `)
  })

  test('goes on where it was left, when it is the same one', () => {
    const staged = { id: 'abc', nextChunk: 1 }
    const resumed = transcript(
      greeting(undefined, staged),
      welcome('snapshot', '1.9'),
      announced('abc', '1.9', 2),
    )
    expect(resumed).not.toContain('begin')
    const all = [welcome('snapshot', '1.9'), announced('abc', '1.9', 2), chunk(1)]
    expect(transcript(greeting(undefined, staged), ...all)).toContain('stage 1\n  finish')
    const other = [welcome('snapshot', '1.9'), announced('other', '1.9', 2), chunk(1)]
    expect(transcript(greeting(undefined, staged), ...other)).toContain('begin other')
    expect(transcript(greeting(undefined, staged), ...other)).toContain('end chunk 1 came out of turn')
  })

  test('that had come whole before the connection broke is only finished; an empty one too', () => {
    const staged = { id: 'abc', nextChunk: 2 }
    const events = [welcome('snapshot', '1.9'), announced('abc', '1.9', 2)]
    expect(transcript(greeting(undefined, staged), ...events)).toContain('-> snapshot\n  finish')
    const empty = [welcome('snapshot', '1.9'), announced('abc', '1.9', 0)]
    expect(transcript(greeting(undefined), ...empty)).toContain('begin abc\n  finish')
  })

  test('that was begun is dropped when the Leader goes on live', () => {
    const staged = { id: 'abc', nextChunk: 1 }
    expect(transcript(greeting('1.5', staged), welcome('live', '1.9'))).toContain('dropStage')
  })

  test('replaces what is held, with the reason in the alarm', () => {
    expect(transcript(greeting('1.50'), welcome('snapshot', '1.9', 'POSITION_AHEAD'))).toContain(
      'distrust POSITION_AHEAD: a snapshot is taken: POSITION_AHEAD, the Leader is at 1.9',
    )
  })

  test.each([
    ['a chunk before its header', [chunk(0)]],
    ['a chunk left out', [announced('abc', '1.9', 3), chunk(1)]],
    ['a chunk twice', [announced('abc', '1.9', 3), chunk(0), chunk(0)]],
    ['a second header', [announced('abc', '1.9', 3), announced('def', '1.9', 3)]],
    ['a commit in between', [announced('abc', '1.9', 3), commit('1.10')]],
  ])('%s ends the session', (_name, events) => {
    const told = transcript(greeting(undefined), welcome('snapshot', '1.9'), ...events)
    expect(told).toContain('-> ended\n  end ')
    expect(told).not.toContain('finish')
  })

  test('EPOCH_STALE, I8: one of a lower epoch changes nothing', () => {
    const told = transcript(greeting('2.5'), welcome('snapshot', '2.9'), announced('abc', '1.9', 3))
    expect(told).toContain('tell EPOCH_STALE')
    expect(told).not.toContain('begin')
  })

  test('HASH_MISMATCH: its rows are not what the header promised', () => {
    const events = [welcome('snapshot', '1.9'), announced('abc', '1.9', 1), chunk(0), mismatched]
    expect(transcript(greeting(undefined), ...events)).toMatch(/tell HASH_MISMATCH\n {2}end differs$/)
  })
})

describe('a greeting', () => {
  test('EPOCH_STALE, I8: a Leader of a lower epoch is told so', () => {
    expect(transcript(greeting('2.5'), welcome('live', '1.9'))).toMatch(/tell EPOCH_STALE\n {2}end/)
  })

  test('live is no answer to a Follower that has nothing to go on from', () => {
    expect(transcript(greeting(undefined), welcome('live', '1.9'))).toContain('end the Leader goes on')
    const distrusted = { ...greeting('1.5'), resumable: false } as Downstream
    expect(transcript(distrusted, welcome('live', '1.9'))).toContain('end the Leader goes on')
  })

  test.each([
    'POSITION_TOO_OLD',
    'SET_CHANGED',
    'CERT_REVOKED',
    'SUPERSEDED',
    'VERSION_UNSUPPORTED',
    'EPOCH_STALE',
  ] as const)('%s from the Leader ends the session with that code', (code) => {
    const [state, effects] = step(greeting('1.5'), { type: 'error', code, message: 'because' })
    expect(state).toEqual({ phase: 'ended' })
    expect(effects).toEqual([{ kind: 'end', code, message: `${code}: because` }])
  })

  test('nothing that still arrives changes anything after the end', () => {
    const after = [commit('1.6'), chunk(0), welcome('live', '1.9'), stored('1.6')]
    expect(transcript({ phase: 'ended' }, ...after)).not.toContain('  ')
  })
})
