// That there is a majority is known from answered reads, and from nothing else.
import { expect, test } from 'vitest'
import { type View, viewOf } from '#control-plane/coordination/keys.ts'
import { type CoordinationStore, heeding } from '#control-plane/coordination/store.ts'
import { manualClock } from '../../../support/manual-clock.ts'

test('a read that was answered is remembered by when it was asked, one that was not changes nothing', async () => {
  const clock = manualClock()
  const answers: (View | undefined)[] = [undefined, viewOf([], 1), undefined]
  const inner = {
    read: async () => {
      clock.advance(300)
      return answers.shift()
    },
  } as Partial<CoordinationStore> as CoordinationStore
  const store = heeding(inner, clock)
  expect(store.heardAt()).toBeUndefined()
  expect(await store.read()).toBeUndefined()
  expect(store.heardAt()).toBeUndefined()
  const asked = clock.monotonic()
  expect(await store.read()).toMatchObject({ revision: 1 })
  expect(store.heardAt()).toBe(asked)
  await store.read()
  expect(store.heardAt()).toBe(asked)
})
