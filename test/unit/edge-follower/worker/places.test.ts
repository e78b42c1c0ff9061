import { describe, expect, test } from 'vitest'
import { groupsOf, routeOf, type Whereabouts } from '#edge-follower/worker/places.ts'
import { crowdsIn, placesOf } from '#shared/enrolment/regions.ts'

const everywhere = 'wnam=1,enam=1,sam=1,weur=1,eeur=1,apac=1,oc=1,afr=1,me=1'

function route(regions: string, from: Whereabouts | undefined, who = 'somebody'): string[] {
  const crowds = crowdsIn(regions.split(',').filter(Boolean))
  if (typeof crowds === 'string') throw new Error(crowds)
  return routeOf(groupsOf(placesOf('e', crowds)), from, () => who).map(({ name }) => name)
}

const at = (latitude: number, longitude: number): Whereabouts => ({
  latitude: String(latitude),
  longitude: String(longitude),
})

describe('the nearest region is asked first', () => {
  test.each([
    ['Lisbon', at(38.7, -9.1), 'weur'],
    ['Berlin', at(52.5, 13.4), 'weur'],
    ['Warsaw', at(52.2, 21), 'eeur'],
    ['Seattle', at(47.6, -122.3), 'wnam'],
    ['Denver', at(39.7, -105), 'wnam'],
    ['Chicago', at(41.9, -87.6), 'enam'],
    ['Bogotá', at(4.7, -74.1), 'enam'],
    ['Buenos Aires', at(-34.6, -58.4), 'sam'],
    ['Istanbul', at(41, 29), 'eeur'],
    ['Riyadh', at(24.7, 46.7), 'me'],
    ['Nairobi', at(-1.3, 36.8), 'afr'],
    ['Tokyo', at(35.7, 139.7), 'apac'],
    ['Singapore', at(1.35, 103.8), 'apac'],
    ['Auckland', at(-36.8, 174.8), 'oc'],
    // Over the date line.
    ['Honolulu', at(21.3, -157.9), 'wnam'],
    ['Fiji', at(-18, 178.4), 'oc'],
  ])('%s', (_town, from, region) => {
    expect(route(everywhere, from)[0]).toBe(`e-${region}-1`)
  })

  test.each([
    ['EU', 'weur'],
    ['NA', 'enam'],
    ['SA', 'sam'],
    ['AS', 'apac'],
    ['AF', 'afr'],
    ['OC', 'oc'],
    ['AN', 'afr'],
  ])('of the continent %s, when no more is known', (continent, region) => {
    expect(route(everywhere, { continent })[0]).toBe(`e-${region}-1`)
  })

  test.each([
    ['nothing', undefined],
    ['a network without a place', { continent: 'T1' }],
    ['what is no place', { latitude: '91', longitude: 'x', continent: 7 }],
    ['half of a place', { latitude: '50', longitude: '' }],
  ])('as they stand in the setting, when %s is known', (_what, from) => {
    expect(route('me=1,weur=1', from)).toEqual(['e-me-1', 'e-weur-1'])
  })
})

describe('who is asked when the first cannot serve', () => {
  const paris = at(48.9, 2.4)
  test.each([
    ['', ['e']],
    ['weur=1', ['weur']],
    ['enam=1,apac=1,weur=1,eeur=1', ['weur', 'eeur', 'enam']],
    ['weur=3', ['weur', 'weur', 'weur']],
    ['apac=2,weur=2,enam=1', ['weur', 'weur', 'enam']],
    ['enam=3,weur=1', ['weur', 'enam', 'enam']],
    ['enam=1,weur=5', ['weur', 'weur', 'enam']],
  ])('%s', (regions, expected) => {
    const names = route(regions, paris)
    expect(names.map((name) => name.split('-')[1] ?? name)).toEqual(expected)
    expect(new Set(names).size).toBe(names.length)
  })
})

describe('within a region', () => {
  const people = Array.from({ length: 4_000 }, (_, i) => `Token token="${i}"`)
  const homes = (regions: string): string[] => people.map((who) => route(regions, undefined, who)[0]!)

  test('whoever asks keeps his object', () => {
    expect(homes('weur=4')).toEqual(homes('weur=4'))
  })

  test('each has its share', () => {
    const counts = new Map<string, number>()
    for (const name of homes('weur=4')) counts.set(name, (counts.get(name) ?? 0) + 1)
    expect(counts.size).toBe(4)
    for (const count of counts.values()) expect(Math.abs(count - 1_000)).toBeLessThan(150)
  })

  test('one more takes its share, and moves nobody else', () => {
    const [before, after] = [homes('weur=4'), homes('weur=5')]
    const moved = people.flatMap((_, i) => (before[i] === after[i] ? [] : [after[i]]))
    expect(new Set(moved)).toEqual(new Set(['e-weur-5']))
    expect(Math.abs(moved.length - 800)).toBeLessThan(150)
  })

  test('those of one object do not all go to the same other', () => {
    const seconds = people
      .map((who) => route('weur=4', undefined, who))
      .filter(([first]) => first === 'e-weur-1')
      .map(([, second]) => second)
    expect(new Set(seconds).size).toBe(3)
  })
})
