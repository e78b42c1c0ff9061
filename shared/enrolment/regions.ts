// Many Followers of one Worker at the edge: its regions, how many stand in each, and what each is called. One place: the
// Worker finds its objects by these names, and the cluster knows them by the same.
import { limits } from '../base/limits.ts'

/** Where the platform can be asked to put an object: its location hints. */
export const regions = ['wnam', 'enam', 'sam', 'weur', 'eeur', 'apac', 'oc', 'afr', 'me'] as const
export type Region = (typeof regions)[number]

export type Crowd = { readonly region: Region; readonly count: number }

/** One Follower. `region`: undefined where it stands alone, wherever it was first asked. */
export type Place = { readonly name: string; readonly region: Region | undefined }

const isRegion = (text: string): text is Region => (regions as readonly string[]).includes(text)

/** Of entries such as `weur=2`: a text says what is wrong with them. */
export function crowdsIn(entries: readonly string[]): readonly Crowd[] | string {
  const crowds: Crowd[] = []
  let all = 0
  for (const entry of entries) {
    const [, region = '', digits = ''] = /^([a-z]{1,8})=(\d{1,4})$/.exec(entry) ?? []
    const count = Number(digits)
    if (region === '') return 'regions must be of the form region=count, separated by commas: weur=2,enam=1'
    if (!isRegion(region)) return `there is no region ${region}: give of ${regions.join(', ')}`
    if (crowds.some((crowd) => crowd.region === region)) return `region ${region} is given twice`
    all += count
    if (count < 1 || all > limits.edgeObjects)
      return `${entry}: a region has one object or more, and all have ${limits.edgeObjects} at most`
    crowds.push({ region, count })
  }
  return crowds
}

/** Those of one Worker; without regions there is one, of the Worker's own name. */
export const placesOf = (base: string, crowds: readonly Crowd[]): readonly Place[] =>
  crowds.length === 0
    ? [{ name: base, region: undefined }]
    : crowds.flatMap(({ region, count }) =>
        Array.from({ length: count }, (_, i) => ({ name: `${base}-${region}-${i + 1}`, region })),
      )

/** Whom this name would stand for, were it one of the Worker's now or before. */
export function placeCalled(base: string, name: string): Place | undefined {
  if (name === base) return { name, region: undefined }
  if (!name.startsWith(`${base}-`)) return undefined
  const [, region = '', number] = /^([a-z]+)-([1-9]\d?)$/.exec(name.slice(base.length + 1)) ?? []
  return isRegion(region) && Number(number) <= limits.edgeObjects ? { name, region } : undefined
}

/** What is wrong with the name of a Worker that has regions: names of its Followers have 63 characters at most, and no dot. */
export const baseFault = (base: string): string | undefined =>
  /^[A-Za-z0-9][A-Za-z0-9_-]{0,54}$/.test(base)
    ? undefined
    : 'a name with regions has letters, digits, "_" and "-", at most 55: region and number are put behind it'
