// Whose senders must be ended before new names are in force.
import { expect, test } from 'vitest'
import { syncNamesOf } from '#control-plane/postgres/settings.ts'
import { outdated } from '#control-plane/postgres/sync-duty.ts'

test('a commit waits for all that are named', () => {
  expect(syncNamesOf([])).toBe('')
  expect(syncNamesOf(['a#1'])).toBe('FIRST 1 ("a#1")')
  expect(syncNamesOf(['a#1', 'b#2'])).toBe('FIRST 2 ("a#1", "b#2")')
})

test.each([
  ['one more', [['a']], ['a', 'b'], ['a']],
  ['one less', [['a', 'b']], ['b'], []],
  ['the same', [['a']], ['a'], []],
  ['another one', [['a']], ['b'], ['a']],
  ['another pair', [['a', 'b']], ['a', 'c'], ['a', 'b']],
  ['nobody any more', [['a', 'b']], [], []],
  // Who was slow to hear of the change before goes by the pair still, and would leave c out.
  ['what was said before the last change', [['a', 'b'], ['b']], ['b', 'c'], ['a', 'b']],
  ['what was said before, and asks for more', [['a', 'b'], ['b']], ['b'], []],
])('%s', (_what, inForce, names, ended) => {
  expect(outdated(inForce, names)).toEqual(ended)
})
