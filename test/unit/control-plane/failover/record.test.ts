// The bytes of a record that are signed.
import { expect, test } from 'vitest'
import { textOf } from '#control-plane/failover/record.ts'

test('a record has one form, whatever the order of its members', () => {
  const times = { triggered: '1', frozen: '2', chosen: '3', taken: '4', promoted: '5', opened: null }
  const record = {
    possibleLoss: false,
    because: 'b has every acknowledged write',
    epoch: 2,
    how: 'election',
    trigger: 'a leads no more',
    order: null,
    leader: { node: 'b', disk: 'one', timeline: 3 },
    old: 'a',
    fork: { timeline: 2, at: 170 },
    candidates: [{ node: 'b', epochSeen: 1, disk: 'one', timeline: 2, received: 170 }],
    times,
  } as const
  const text = textOf(record)
  expect(textOf({ ...Object.fromEntries(Object.entries(record).reverse()), times } as typeof record)).toBe(
    text,
  )
  expect(text).toBe(
    '{"because":"b has every acknowledged write","candidates":[{"disk":"one","epochSeen":1,"node":"b","received":170,"timeline":2}],"epoch":2,"fork":{"at":170,"timeline":2},"how":"election","leader":{"disk":"one","node":"b","timeline":3},"old":"a","order":null,"possibleLoss":false,"times":{"chosen":"3","frozen":"2","opened":null,"promoted":"5","taken":"4","triggered":"1"},"trigger":"a leads no more"}',
  )
})
