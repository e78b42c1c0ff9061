// What the told stories have in common.
import { expect, test } from 'vitest'
import { nodeOf } from '#control-plane/coordination/keys.ts'
import type { Machine } from './machine.ts'
import { type Told, tell } from './transcript.ts'
import type { Shape, World } from './world.ts'

/** `shape`: of a cluster that is not three quiet nodes. */
export function story(
  title: string,
  file: string,
  seed: number,
  play: (told: Told) => void,
  shape: Partial<Shape> = {},
): void {
  test(title, () => tell(file, seed, shape, play))
}

/** Until the first Leader serves. */
export const begin = ({ world, say }: Told): void => {
  world.run(15_000)
  say('a leads since the beginning')
}

export const syncOf = (world: World): string => nodeOf(world.store.view().sync!.standby!)

export const thirdOf = (world: World): string => ['b', 'c'].find((name) => name !== syncOf(world))!

export const node = (world: World, name: string): Machine => world.machines.get(name)!

/** Writes that are acknowledged from now on. */
export function acknowledges(world: World): void {
  const before = world.checks.acknowledgedIds.length
  world.run(2_000)
  expect(world.checks.acknowledgedIds.length - before).toBeGreaterThan(10)
}

/** In small steps, for what lasts a moment. */
export function until(world: World, holds: () => boolean): void {
  for (let i = 0; i < 10_000 && !holds(); i++) world.run(5)
  expect(holds()).toBe(true)
}
