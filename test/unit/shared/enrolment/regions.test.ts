import { describe, expect, test } from 'vitest'
import { baseFault, crowdsIn, placeCalled, placesOf } from '#shared/enrolment/regions.ts'

describe('regions and how many are in each', () => {
  test.each([
    [[], []],
    [['weur=1'], [{ region: 'weur', count: 1 }]],
    [
      ['weur=62', 'enam=2'],
      [
        { region: 'weur', count: 62 },
        { region: 'enam', count: 2 },
      ],
    ],
  ])('%j', (entries, crowds) => expect(crowdsIn(entries)).toEqual(crowds))

  test.each([
    [['weur'], 'must be of the form'],
    [['weur=-1'], 'must be of the form'],
    [['weur=2.5'], 'must be of the form'],
    [['WEUR=2'], 'must be of the form'],
    [['mars=2'], 'there is no region mars: give of wnam, enam, sam, weur, eeur, apac, oc, afr, me'],
    [['weur=0'], 'one object or more'],
    [['weur=60', 'enam=5'], 'enam=5: a region has one object or more, and all have 64 at most'],
    [['weur=1', 'weur=2'], 'given twice'],
  ])('%j is refused', (entries, why) => expect(crowdsIn(entries)).toContain(why))
})

describe('names', () => {
  const places = placesOf('edge', [
    { region: 'weur', count: 2 },
    { region: 'me', count: 1 },
  ])

  test('say the region and a number', () => {
    expect(places.map(({ name }) => name)).toEqual(['edge-weur-1', 'edge-weur-2', 'edge-me-1'])
    expect(placesOf('edge', [])).toEqual([{ name: 'edge', region: undefined }])
  })

  test('stand for one place each, also when there is none there now', () => {
    for (const place of places) expect(placeCalled('edge', place.name)).toEqual(place)
    expect(placeCalled('edge', 'edge')).toEqual({ name: 'edge', region: undefined })
    expect(placeCalled('edge', 'edge-enam-64')).toEqual({ name: 'edge-enam-64', region: 'enam' })
  })

  test.each([
    'edge-',
    'edge-mars-1',
    'edge-enam-0',
    'edge-enam-01',
    'edge-enam-65',
    'edges-enam-1',
    'enam-1',
  ])('%s stands for none', (name) => expect(placeCalled('edge', name)).toBeUndefined())

  test.each([
    ['edge_1', undefined],
    ['e'.repeat(55), undefined],
    ['e'.repeat(56), 'at most 55'],
    ['edge.1', 'letters, digits'],
  ])('%s begins them, or not', (base, fault) => {
    if (fault === undefined) expect(baseFault(base)).toBeUndefined()
    else expect(baseFault(base)).toContain(fault)
  })
})
