// A watch over streams that break in every way.
import { expect, test } from 'vitest'
import type { View } from '#control-plane/coordination/keys.ts'
import {
  type Change,
  createWatch,
  type Heard,
  type Held,
  type Source,
} from '#control-plane/coordination/watch.ts'
import { manualClock } from '../../../support/manual-clock.ts'

const SILENCE = 1_000

type Opened = { readonly from: number; readonly heard: Heard; pings: number; cancelled: boolean }

const epochAt = (revision: number): Change => ({ revision, key: 'epoch', value: String(revision) })
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function watching(reads: (Held | undefined)[], failures = 0) {
  const clock = manualClock()
  const opened: Opened[] = []
  const seen: View[] = []
  const source: Source = {
    read: async () => reads.shift(),
    async open(from, heard) {
      if (failures-- > 0) return undefined
      const stream: Opened = { from, heard, pings: 0, cancelled: false }
      opened.push(stream)
      return {
        ping: () => void stream.pings++,
        cancel() {
          stream.cancelled = true
        },
      }
    },
  }
  const watch = createWatch({ source, seen: (view) => void seen.push(view), clock, silenceMs: SILENCE })
  const pass = async (ms: number): Promise<void> => {
    await settled()
    clock.advance(ms)
    await settled()
  }
  return { opened, seen, watch, pass, epochs: () => seen.map(({ epoch }) => epoch) }
}

const empty: Held = { revision: 4, entries: [] }

test('a stream that answers is kept, one that is silent is given up and followed on from what was told', async () => {
  const { opened, watch, pass, epochs } = watching([empty])
  await pass(0)
  opened[0]!.heard.changes([epochAt(5)])
  await pass(SILENCE)
  opened[0]!.heard.changes([])
  await pass(SILENCE)
  expect(opened).toMatchObject([{ from: 5, pings: 3, cancelled: false }])
  await pass(SILENCE)
  expect(opened[0]!.cancelled).toBe(true)
  // What it says after it was given up comes again from the next.
  opened[0]!.heard.changes([epochAt(6)])
  await pass(100)
  expect(opened[1]!.from).toBe(6)
  opened[1]!.heard.changes([epochAt(6), epochAt(7)])
  expect(epochs()).toEqual([0, 5, 6, 7])
  await watch.close()
})

test('changes of one revision are one view', async () => {
  const { opened, seen, watch, pass } = watching([empty])
  await pass(0)
  opened[0]!.heard.changes([epochAt(5), { revision: 5, key: 'promotion', value: '{}' }])
  opened[0]!.heard.changes([{ revision: 6, key: 'promotion', value: undefined }])
  expect(seen.map(({ revision, epoch, promotion }) => [revision, epoch, promotion !== undefined])).toEqual([
    [4, 0, false],
    [5, 5, true],
    [6, 5, false],
  ])
  await watch.close()
})

test('a store that cannot be read or opened is tried again', async () => {
  const { opened, watch, pass, epochs } = watching([undefined, empty], 1)
  await pass(100)
  expect(epochs()).toEqual([0])
  await pass(100)
  expect(opened).toMatchObject([{ from: 5 }])
  await watch.close()
})

test('where revisions are gone it reads anew', async () => {
  const { opened, watch, pass, epochs } = watching([
    empty,
    { revision: 9, entries: [{ key: 'epoch', value: '3' }] },
  ])
  await pass(0)
  opened[0]!.heard.ended('compacted')
  await pass(100)
  expect(epochs()).toEqual([0, 3])
  expect(opened[1]!.from).toBe(10)
  await watch.close()
  opened[1]!.heard.changes([epochAt(10)])
  expect(epochs()).toEqual([0, 3])
})
