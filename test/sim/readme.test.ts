// The README of the machine, held against the machine: its table of phases and events, and where each invariant lives.
import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { runSchedule } from './run.ts'
import { linesBelow, rowsOf, type Transition, tells, transitionOf, unseenIn } from './table.ts'

const folder = new URL('../../control-plane/failover/', import.meta.url)
const readme = readFileSync(new URL('README.md', folder), 'utf8')

/** The same ones each time, and enough for all that is not rare. */
const SCHEDULES = 1_500

function allSeen(): readonly Transition[] {
  const seen = new Map<string, Transition>()
  for (let seed = 0; seed < SCHEDULES; seed++)
    runSchedule(seed, {
      seen: (_, before, event, after, effects) => {
        const transition = transitionOf(before, event, after, effects)
        if (transition !== undefined) seen.set(JSON.stringify(transition), transition)
      },
    })
  return [...seen.values()]
}

test('the table of phases and events tells all that happens, and nothing else', {
  timeout: 10 * 60_000,
}, () => {
  const rows = rowsOf(readme)
  const seen = allSeen()
  const untold = seen.filter((transition) => !rows.some((row) => tells(row, transition)))
  expect(untold.map((one) => `${one.phase} | ${one.event} | ${one.next} | ${one.asks.join(', ')}`)).toEqual(
    [],
  )
  const unseen = rows.flatMap((row) => {
    const words = unseenIn(row, seen)
    return words.length === 0 ? [] : [`never seen: ${words.join(', ')} in ${row.text}`]
  })
  expect(unseen).toEqual([])
})

test('every invariant has a row, and is checked in the simulation where that says so', () => {
  const checks = readFileSync(new URL('checks.ts', import.meta.url), 'utf8')
  const checked = new Set([...checks.matchAll(/fail\('(I\d+)'/g)].map(([, name]) => name))
  const rows = linesBelow(readme, 'Where the invariants live').map((line) =>
    line.split('|').map((cell) => cell.trim()),
  )
  expect(rows.map(([, name]) => name)).toEqual(Array.from({ length: 15 }, (_, i) => `I${i + 1}`))
  const claimed = rows.filter(([, , , check]) => !check!.startsWith('–')).map(([, name]) => name)
  expect([...checked].sort()).toEqual([...claimed].sort())
})

test('every file that the README names is there', () => {
  const named = [...readme.matchAll(/`([\w./-]+\.ts)`/g)].map(([, file]) => file!)
  expect(named.filter((file) => !existsSync(new URL(file, folder)))).toEqual([])
})
