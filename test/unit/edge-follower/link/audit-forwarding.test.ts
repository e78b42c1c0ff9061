// What is at stake: no audit record is forgotten at a Follower before the Leader has it (I10).
import { describe, expect, test } from 'vitest'
import {
  type Forwarding,
  type ForwardingEffect,
  type ForwardingEvent,
  startForwarding,
  stepForwarding,
} from '#edge-follower/link/audit-forwarding.ts'

/** Every event in turn, and what it caused. */
function talk(acknowledged: number, ...events: ForwardingEvent[]): { state: Forwarding; effects: string[] } {
  let state = startForwarding(acknowledged)
  const effects: string[] = []
  for (const event of events) {
    const [next, caused] = stepForwarding(state, event)
    state = next
    effects.push(caused.map(show).join(', ') || '-')
  }
  return { state, effects }
}

function show(effect: ForwardingEffect): string {
  if (effect.kind === 'send') return `send after ${effect.after}`
  return effect.kind === 'acknowledge' ? `acknowledge ${effect.upTo}` : 'pause'
}

const appended: ForwardingEvent = { kind: 'appended' }
const paused: ForwardingEvent = { kind: 'paused' }
const stored = (seq: number): ForwardingEvent => ({ kind: 'stored', seq })
const sent = (upTo: number | undefined, full = false): ForwardingEvent => ({ kind: 'sent', upTo, full })

describe('forwarding audit records', () => {
  test('nothing is sent before the Leader has answered the greeting', () => {
    expect(talk(7, appended, appended, stored(7)).effects).toEqual(['-', '-', 'send after 7'])
  })

  test('the answer to the greeting acknowledges nothing: nothing was compared yet', () => {
    expect(talk(3, stored(10), sent(8), stored(10)).effects).toEqual([
      'send after 3',
      '-',
      'acknowledge 8, pause',
    ])
  })

  test('a Leader that holds less than was acknowledged is sent what follows, and finds the gap', () => {
    expect(talk(10, stored(0)).effects).toEqual(['send after 10'])
  })

  test('records that come together go together', () => {
    const { effects } = talk(0, stored(0), sent(undefined), appended, appended, appended, paused)
    expect(effects).toEqual(['send after 0', '-', 'pause', '-', '-', 'send after 0'])
  })

  test('one batch is under way at a time', () => {
    const { effects } = talk(0, stored(0), sent(5), appended, paused, appended, stored(5), paused, sent(9))
    expect(effects).toEqual(['send after 0', '-', '-', '-', '-', 'acknowledge 5, pause', 'send after 5', '-'])
  })

  test('after a full batch the next goes at once', () => {
    const { effects } = talk(0, stored(0), sent(500, true), stored(500), sent(620), stored(620))
    expect(effects).toEqual([
      'send after 0',
      '-',
      'acknowledge 500, send after 500',
      '-',
      'acknowledge 620, pause',
    ])
  })

  test('what the Leader did not store is sent again', () => {
    expect(talk(0, stored(0), sent(9), stored(4), paused).effects).toEqual([
      'send after 0',
      '-',
      'acknowledge 4, pause',
      'send after 4',
    ])
  })

  test('two pauses never run at once', () => {
    const { effects } = talk(0, stored(0), sent(undefined), appended, paused, sent(3), stored(3), appended)
    expect(effects).toEqual(['send after 0', '-', 'pause', 'send after 0', '-', 'acknowledge 3, pause', '-'])
  })
})
