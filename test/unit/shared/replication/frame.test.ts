// What is at stake: messages arrive as they were sent, however the network cuts them, and a peer cannot make a
// node hold more than one message of the largest size.
import { describe, expect, test } from 'vitest'
import { concat, fromUtf8, utf8 } from '#shared/base/bytes.ts'
import { encodeChanges, put } from '#shared/ledger/change.ts'
import { encodeFrame, FrameReader } from '#shared/replication/frame.ts'
import {
  decodeToFollower,
  decodeToLeader,
  encodeMessage,
  encodePart,
  errorCodes,
} from '#shared/replication/messages.ts'
import { runSeed, seeded } from '../../../support/random.ts'

describe('frames', () => {
  test('come out whole and in order, cut anywhere', () => {
    const random = seeded(runSeed('frames'))
    const messages = Array.from({ length: 200 }, (_, i) => new Uint8Array(random.int(0, 300)).fill(i % 256))
    const bytes = concat(...messages.map(encodeFrame))
    const reader = new FrameReader(1_000)
    const taken: Uint8Array[] = []
    for (let from = 0; from < bytes.length; ) {
      const upTo = Math.min(bytes.length, from + random.int(1, 40))
      taken.push(...reader.take(bytes.slice(from, upTo)))
      from = upTo
    }
    expect(taken).toEqual(messages)
  })

  test('one over the limit is refused at its head, before a byte of it is held', () => {
    const head = encodeFrame(new Uint8Array(1_001)).slice(0, 4)
    expect(() => new FrameReader(1_000).take(head)).toThrow('1001 bytes')
    expect(new FrameReader(1_001).take(head)).toEqual([])
  })
})

describe('messages', () => {
  const position = { epoch: 1, seq: 2 }

  test('a part of a commit is the log’s own text in an envelope', () => {
    const changes = [put('heartbeats', { id: 1, at: 5 })]
    const stored = utf8(encodeChanges(changes))
    const commit = { position, at: 9, contentHash: 'a'.repeat(64), parts: [stored, stored] }
    const message = decodeToFollower(encodePart(commit, 1))
    expect(message).toMatchObject({ type: 'commit', position, at: 9, part: 1, parts: 2 })
    expect(JSON.stringify((message as { changes: unknown }).changes)).toBe(fromUtf8(stored))
  })

  test.each(errorCodes)('%s goes both ways', (code) => {
    const message = { type: 'error', code, message: 'because' } as const
    expect(decodeToFollower(encodeMessage(message))).toEqual(message)
    expect(decodeToLeader(encodeMessage(message))).toEqual(message)
  })

  test.each([
    ['no JSON', utf8('{')],
    ['no UTF-8', Uint8Array.of(0xff, 0xfe)],
    ['no object', utf8('[]')],
    ['unknown type', utf8('{"type":"surprise"}')],
    ['negative number', utf8('{"type":"ack","position":{"epoch":-1,"seq":0}}')],
    ['a number that is none', utf8('{"type":"ack","position":{"epoch":1e999,"seq":0}}')],
    ['too many keys', utf8(JSON.stringify({ type: 'hello', keys: Array(11).fill({ kid: 'k', jwk: '' }) }))],
  ])('%s is refused and not quoted', (_name, frame) => {
    expect(() => decodeToLeader(frame)).toThrow(/of the peer is (not JSON|malformed)/)
    expect(() => decodeToFollower(frame)).toThrow(/of the peer is (not JSON|malformed)/)
  })
})
