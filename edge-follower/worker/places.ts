// Which object is asked: of the nearest region the one that answers whoever asks, and whom to ask when it does not.
import { limits } from '#shared/base/limits.ts'
import type { Place, Region } from '#shared/enrolment/regions.ts'

/** Degrees north and east. */
type Point = readonly [latitude: number, longitude: number]

/** Where the platform says that a request comes from; parts that it does not know are absent. */
export type Whereabouts = {
  readonly latitude?: unknown
  readonly longitude?: unknown
  readonly continent?: unknown
}

/** In the middle of the data centres that a hint stands for. */
const centres: Readonly<Record<Region, Point>> = {
  wnam: [38, -121],
  enam: [40, -78],
  sam: [-23, -47],
  weur: [50, 5],
  eeur: [51, 25],
  apac: [22, 114],
  oc: [-34, 151],
  afr: [-26, 28],
  me: [25, 55],
}

/** Where most requests of a continent come from, for those of which no more is known. */
const continents: ReadonlyMap<unknown, Point> = new Map([
  ['AF', [5, 20]],
  ['AN', [-75, 0]],
  ['AS', [22, 100]],
  ['EU', [50, 9]],
  ['NA', [40, -90]],
  ['OC', [-30, 150]],
  ['SA', [-20, -55]],
])

/** In the order of the setting; one without a region stands alone. */
export type Group = { readonly region: Region | undefined; readonly places: readonly Place[] }

export function groupsOf(places: readonly Place[]): readonly Group[] {
  const found = new Set(places.map(({ region }) => region))
  return [...found].map((region) => ({ region, places: places.filter((one) => one.region === region) }))
}

/**
 * Whom to ask, the first first; never nobody. From a place that is not known the regions are as near as they stand in the
 * setting. `who`: a text that stays the same for whoever asks, so that he keeps his object.
 */
export function routeOf(
  groups: readonly Group[],
  from: Whereabouts | undefined,
  who: () => string,
): readonly Place[] {
  const near = byDistance(groups, pointOf(from))
  if (near.every(({ places }) => places.length === 1))
    return near.slice(0, limits.edgeObjectsAsked).map(({ places }) => places[0]!)
  const key = hashOf(who())
  const [first = [], second = [], third = []] = near
    .slice(0, limits.edgeObjectsAsked)
    .map(({ places }) => ranked(places, key))
  // A neighbour is as near and may be as overloaded, or gone with the region: after it the next region has its turn.
  return [first[0], first[1], second[0], third[0], second[1], first[2]]
    .filter((place) => place !== undefined)
    .slice(0, limits.edgeObjectsAsked)
}

function pointOf({ latitude, longitude, continent }: Whereabouts = {}): Point | undefined {
  const point = [degrees(latitude, 90), degrees(longitude, 180)] as const
  return Number.isNaN(point[0]) || Number.isNaN(point[1]) ? continents.get(continent) : point
}

/** The platform gives texts. */
function degrees(given: unknown, most: number): number {
  const value = typeof given === 'string' && given !== '' ? Number(given) : Number.NaN
  return Math.abs(value) <= most ? value : Number.NaN
}

function byDistance(groups: readonly Group[], from: Point | undefined): readonly Group[] {
  if (from === undefined || groups.length === 1) return groups
  return groups
    .map((group) => ({ group, far: group.region === undefined ? 0 : distance(from, centres[group.region]) }))
    .sort((a, b) => a.far - b.far)
    .map(({ group }) => group)
}

const radians = (angle: number): number => (angle * Math.PI) / 180

/** Along a great circle, in radians (haversine). */
function distance([north, east]: Point, [otherNorth, otherEast]: Point): number {
  const half = (angle: number): number => Math.sin(radians(angle) / 2) ** 2
  const across = Math.cos(radians(north)) * Math.cos(radians(otherNorth)) * half(otherEast - east)
  return 2 * Math.asin(Math.sqrt(Math.min(1, half(otherNorth - north) + across)))
}

/** Each object draws a number for each who asks, and the highest wins: one object more takes its share, and moves nobody else. */
function ranked(places: readonly Place[], key: number): readonly Place[] {
  if (places.length === 1) return places
  return places
    .map((place, i) => ({ place, drawn: mixed(key ^ mixed(i + 1)) }))
    .sort((a, b) => b.drawn - a.drawn)
    .map(({ place }) => place)
}

/** FNV-1a of the text's first part; it spreads, and protects nothing. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < Math.min(text.length, limits.headerBytes); i++)
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash
}

/** The last steps of MurmurHash3: each bit of the number changes half of the others. */
function mixed(number: number): number {
  let bits = number
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}
