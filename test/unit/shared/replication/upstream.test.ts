// What is at stake: every Follower gets each commit once and in order, whatever it held before (I7), nothing
// before it is durable (I6), and one that is slow costs the Leader a bounded amount of memory and nobody's time.
import { describe, expect, test } from 'vitest'
import { type Position, parsePosition } from '#shared/ledger/position.ts'
import { type Hello, PROTOCOL } from '#shared/replication/messages.ts'
import {
  type LogFacts,
  type Queued,
  step,
  type Upstream,
  type UpstreamEffect,
  type UpstreamEvent,
} from '#shared/replication/upstream.ts'

const at = (text: string): Position => parsePosition(text)!
const bounds = { bytes: 100, commits: 10 }

const hello = (held: string | null, change: Partial<Hello> = {}): Hello => ({
  type: 'hello',
  protocol: PROTOCOL,
  incarnation: 7,
  set: 'full',
  held: held === null ? null : { position: at(held), contentHash: 'same' },
  staged: null,
  keys: [],
  ...change,
})

/** The log holds 1.11 … 1.20; its hash is `same` wherever the Follower stands. */
const log = (change: Partial<LogFacts> = {}): LogFacts => ({
  head: at('1.20'),
  floor: at('1.10'),
  hashAtHeld: 'same',
  otherIncarnation: undefined,
  ...change,
})

const greeted = (held: string | null, change: Partial<Hello> = {}, facts: Partial<LogFacts> = {}) =>
  ({ kind: 'hello', hello: hello(held, change), log: log(facts) }) as const
const sent = (position: string, head: string) =>
  ({ kind: 'sent', position: at(position), head: at(head) }) as const
const committed = (position: string, bytes = 10, head = position) =>
  ({ kind: 'committed', commit: { position: at(position), bytes }, head: at(head) }) as const
const ack = (position: string) => ({ kind: 'ack', position: at(position) }) as const

const show = ({ epoch, seq }: Position): string => `${epoch}.${seq}`

function line(effect: UpstreamEffect<Queued>): string {
  switch (effect.kind) {
    case 'admit':
      return `admit incarnation=${effect.incarnation}`
    case 'register':
      return `register keys=${effect.keys.length}`
    case 'welcome':
      return `welcome ${effect.mode} reason=${effect.reason} head=${show(effect.head)}`
    case 'sendSnapshot':
      return `send snapshot from chunk ${effect.staged?.nextChunk ?? 0}`
    case 'sendLive':
      return `send live ${effect.commits.map(({ position }) => show(position)).join(' ')}`
    case 'sendStored':
      return `send stored after ${show(effect.after)}`
    case 'tell':
      return `tell ${effect.code}`
    case 'report':
      return `report ${effect.message}`
    case 'close':
      return `close ${effect.reason}`
  }
}

/** Each event's effects, and the phase that it led to. */
function transcript(...events: UpstreamEvent<Queued>[]): string {
  let state: Upstream<Queued> = { phase: 'greeting' }
  const lines: string[] = []
  for (const event of events) {
    const [next, effects]: ReturnType<typeof step<Queued>> = step(state, event, bounds)
    state = next
    lines.push(`${event.kind} -> ${next.phase}`, ...effects.map((effect) => `  ${line(effect)}`))
  }
  return lines.join('\n')
}

const text = (strings: TemplateStringsArray): string => {
  const lines = strings.join('').split('\n').slice(1, -1)
  const indent = /^ */.exec(lines[0]!)![0].length
  return lines.map((one) => one.slice(indent)).join('\n')
}

describe('a Follower that held something', () => {
  test('gets the stored log, then what was made meanwhile, then every commit as it comes', () => {
    expect(
      transcript(
        greeted('1.18'),
        committed('1.21'),
        sent('1.20', '1.21'),
        ack('1.20'),
        sent('1.21', '1.21'),
        committed('1.22'),
      ),
    ).toBe(text`
      hello -> feeding
        admit incarnation=7
        register keys=0
        welcome live reason=null head=1.20
        report follows from 1.18
        send stored after 1.18
      committed -> feeding
      sent -> feeding
        send live 1.21
      ack -> feeding
      sent -> feeding
      committed -> feeding
        send live 1.22
    `)
  })

  test('at the floor of the log still resumes, one before it takes a snapshot', () => {
    expect(transcript(greeted('1.10', {}, { hashAtHeld: undefined }))).toContain('welcome live')
    expect(transcript(greeted('1.9'))).toContain('welcome snapshot reason=POSITION_TOO_OLD')
  })

  test('that knows a later position than the Leader takes a snapshot, and the Leader says so', () => {
    expect(transcript(greeted('1.21'))).toBe(text`
      hello -> snapshot
        admit incarnation=7
        register keys=0
        welcome snapshot reason=POSITION_AHEAD head=1.20
        report takes a snapshot: POSITION_AHEAD
        send snapshot from chunk 0
    `)
  })

  test('from an earlier epoch resumes when its commit is in the log, and not when it was lost', () => {
    const head = at('2.30')
    expect(transcript(greeted('1.18', {}, { head }))).toContain('welcome live')
    expect(transcript(greeted('1.18', {}, { head, hashAtHeld: undefined }))).toContain('HASH_MISMATCH')
    expect(transcript(greeted('1.31', {}, { head }))).toContain('POSITION_AHEAD')
  })

  test('whose content hash differs takes a snapshot', () => {
    const facts = { hashAtHeld: 'another' }
    expect(transcript(greeted('1.18', {}, facts))).toContain('welcome snapshot reason=HASH_MISMATCH')
  })
})

describe('a Follower is refused', () => {
  const refusal = (code: string): string => `  tell ${code}\n`

  test('EPOCH_STALE: it has seen a later epoch than this Leader', () => {
    const told = transcript(greeted('2.18'))
    expect(told).toContain(refusal('EPOCH_STALE'))
    expect(told).toContain('close EPOCH_STALE')
    expect(told).not.toContain('admit')
  })

  test('SET_CHANGED: there is no such replication set', () => {
    expect(transcript(greeted('1.18', { set: 'eu' }))).toContain(refusal('SET_CHANGED'))
  })

  test('VERSION_UNSUPPORTED: it speaks another version', () => {
    expect(transcript(greeted('1.18', { protocol: PROTOCOL + 1 }))).toContain(refusal('VERSION_UNSUPPORTED'))
  })

  test('SUPERSEDED: a newer process of it is connected; the same process may dial again', () => {
    expect(transcript(greeted('1.18', {}, { otherIncarnation: 8 }))).toContain(refusal('SUPERSEDED'))
    expect(transcript(greeted('1.18', {}, { otherIncarnation: 7 }))).toContain('admit')
    expect(transcript(greeted('1.18', {}, { otherIncarnation: 6 }))).toContain('admit')
  })
})

describe('a snapshot', () => {
  test('is followed by what the log has after it', () => {
    expect(
      transcript(
        greeted(null),
        committed('1.21'),
        { kind: 'snapshotSent', position: at('1.20'), head: at('1.21') },
        sent('1.21', '1.21'),
      ),
    ).toBe(text`
      hello -> snapshot
        admit incarnation=7
        register keys=0
        welcome snapshot reason=null head=1.20
        report takes a snapshot
        send snapshot from chunk 0
      committed -> snapshot
      snapshotSent -> feeding
        send stored after 1.20
      sent -> feeding
    `)
  })

  test('goes on where the Follower has it', () => {
    const staged = { id: 'abc', nextChunk: 4 }
    expect(transcript(greeted(null, { staged }))).toContain('send snapshot from chunk 4')
  })
})

describe('a slow Follower', () => {
  test('over the bound of bytes goes back to the stored log, and from there to live', () => {
    expect(
      transcript(
        greeted('1.20'),
        committed('1.21', 60),
        committed('1.22', 60),
        committed('1.23', 60),
        sent('1.20', '1.23'),
        committed('1.24', 30),
        sent('1.23', '1.24'),
      ),
    ).toBe(text`
      hello -> feeding
        admit incarnation=7
        register keys=0
        welcome live reason=null head=1.20
        report follows from 1.20
        send stored after 1.20
      committed -> feeding
      committed -> feeding
      committed -> feeding
      sent -> feeding
        send stored after 1.20
      committed -> feeding
      sent -> feeding
        send live 1.24
    `)
  })

  test('never holds more than its bounds, in bytes or in commits', () => {
    let state: Upstream<Queued> = step({ phase: 'greeting' }, greeted('1.20'), bounds)[0]
    for (let seq = 21; seq < 500; seq++) {
      state = step(state, committed(`1.${seq}`, seq % 40), bounds)[0]
      if (state.phase !== 'feeding') throw new Error(state.phase)
      const { commits, bytes } = state.queue
      expect(bytes).toBe(commits.reduce((sum, commit) => sum + commit.bytes, 0))
      expect(bytes).toBeLessThanOrEqual(bounds.bytes)
      expect(commits.length).toBeLessThanOrEqual(bounds.commits)
    }
  })

  test('POSITION_TOO_OLD: the log was cut while it was reading', () => {
    expect(transcript(greeted('1.18'), { kind: 'purged' })).toMatch(
      /purged -> ended\n {2}tell POSITION_TOO_OLD\n {2}close/,
    )
  })
})

describe('a session', () => {
  test('ends when another process of the Follower comes, with a word to the older one', () => {
    const by = (newer: number) => ({ kind: 'superseded', incarnation: 7, by: newer }) as const
    expect(transcript(greeted('1.20'), by(8), committed('1.21'))).toMatch(
      /superseded -> ended\n {2}tell SUPERSEDED\n {2}close superseded\ncommitted -> ended$/,
    )
    expect(transcript(greeted('1.20'), by(7))).toMatch(/superseded -> ended\n {2}close superseded$/)
  })

  test('ends when the Follower acknowledges what it was not sent', () => {
    expect(transcript(greeted('1.20'), sent('1.20', '1.20'), ack('1.21'))).toContain(
      'report the Follower acknowledged 1.21, and was sent 1.20',
    )
  })

  test('remembers the highest acknowledgement', () => {
    const events = [greeted('1.18'), sent('1.20', '1.20'), ack('1.20'), ack('1.19')]
    let state: Upstream<Queued> = { phase: 'greeting' }
    for (const event of events) state = step(state, event, bounds)[0]
    expect(state).toMatchObject({ phase: 'feeding', acknowledged: at('1.20') })
  })

  test('begins with hello, and only once', () => {
    expect(transcript(ack('1.1'))).toContain('close ack came out of turn')
    expect(transcript(greeted('1.18'), greeted('1.18'))).toContain('close hello came out of turn')
  })

  test('goes on when the Follower complains, with a report', () => {
    const complaint = { kind: 'error', code: 'HASH_MISMATCH', message: 'at 1.19' } as const
    expect(transcript(greeted('1.18'), complaint)).toContain(
      'error -> feeding\n  report the Follower says HASH_MISMATCH: at 1.19',
    )
  })

  test('I6: a commit that is not durable yet is never sent', () => {
    const events = [greeted('1.20'), sent('1.20', '1.20'), committed('1.21', 10, '1.20')]
    expect(() => transcript(...events)).toThrow('I6')
  })
})
