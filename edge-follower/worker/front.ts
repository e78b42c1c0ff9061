// In front of the objects: asks the one that a request is for, and goes round one that cannot serve.

import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import { type Place, placeCalled, placesOf } from '#shared/enrolment/regions.ts'
import { HAS_OTHERS, refused, unavailable } from './answers.ts'
import { isOurLeader, linkPaths, nameIn } from './dial.ts'
import { logOf } from './log.ts'
import { type Group, groupsOf, routeOf, type Whereabouts } from './places.ts'
import type { Env } from './platform-types.ts'
import { crowdSettings } from './settings.ts'

export type Front = (request: Request) => Promise<Response>

/** For one Worker's variables, which are read once. */
export function frontOf(env: Env): Front {
  try {
    const { name, regions } = crowdSettings(env)
    const places = placesOf(name, regions)
    return createFront(env, name, places)
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    return async () => unavailable(error.message)
  }
}

function createFront(env: Env, base: string, places: readonly Place[]): Front {
  const groups = groupsOf(places)
  const byName = new Map(places.map((place) => [place.name, place]))
  const log = logOf(base)

  /** Undefined: it cannot be reached. */
  async function ask({ name, region }: Place, request: Request): Promise<Response | undefined> {
    try {
      // The first event of an object puts it where it stays.
      const object = env.FOLLOWER.getByName(name, region && { locationHint: region })
      return await object.fetch(request)
    } catch (error) {
      log.warn('an object cannot be reached', { name, error: error instanceof Error ? error.message : '' })
      return undefined
    }
  }

  /** The Leader’s links, each to the Follower that it names. One that the regions have no more still gives its audit away. */
  function linkedTo(request: Request): Place {
    const header = request.headers.get('Authorization')
    const name = nameIn(header) ?? ''
    const now = byName.get(name)
    if (now !== undefined) return now
    const bearer = typeof env.HOLDFAST_BEARER === 'string' ? env.HOLDFAST_BEARER.trim() : ''
    const isBearer = bearer !== '' && isOurLeader(header, { name, bearer })
    // Any other is refused by an object that there is: a stranger makes none.
    return (isBearer ? placeCalled(base, name) : undefined) ?? places[0]!
  }

  async function firstThatServes(route: readonly Place[], request: Request): Promise<Response> {
    const copies = route.length === 1 ? undefined : await copiesOf(request)
    let last: Response | undefined
    for (const [i, place] of (copies === undefined ? route.slice(0, 1) : route).entries()) {
      // What is not passed on is let go; one that has failed meanwhile is gone as well.
      void last?.body?.cancel().catch(() => undefined)
      const answer = await ask(place, copies?.(i < route.length - 1) ?? request)
      if (answer !== undefined && answer.status !== UNAVAILABLE) return answer
      last = answer
    }
    return last ?? unavailable('this Follower cannot be reached now: try again')
  }

  return (request) => {
    if (isLink(request)) return firstThatServes([linkedTo(request)], request)
    const named = request.headers.get(NAMES_ONE)
    if (named === null)
      return firstThatServes(places.length === 1 ? places : routeFor(groups, request), request)
    const place = byName.get(named)
    return place === undefined ? Promise.resolve(unknown()) : firstThatServes([place], request)
  }
}

const UNAVAILABLE = 503

/** Asks a certain Follower, such as for its health. */
const NAMES_ONE = 'Holdfast-Follower'

const unknown = (): Response =>
  refused(
    404,
    'not_found',
    `${NAMES_ONE} names no Follower of this Worker: HOLDFAST_NAME and HOLDFAST_REGIONS say which it has`,
  )

const isLink = (request: Request): boolean =>
  request.headers.get('Upgrade') !== null && linkPaths.has(new URL(request.url).pathname)

function routeFor(groups: readonly Group[], request: Request): readonly Place[] {
  const { cf } = request as Request & { readonly cf?: Whereabouts }
  return routeOf(groups, cf, () => {
    const { headers, url } = request
    // Programs that share an identity have tokens of their own: its load is spread, and each of them keeps its object.
    return headers.get('Authorization') ?? `${headers.get('CF-Connecting-IP')} ${new URL(url).pathname}`
  })
}

/** Makes a request once more; `hasOthers`: an object that is not well need not answer it. */
type Copies = (hasOthers: boolean) => Request

/** Of what can be sent more than once: a reading, and a small body, as of an authentication. Undefined: it cannot. */
async function copiesOf(request: Request): Promise<Copies | undefined> {
  const isReading = request.method === 'GET' || request.method === 'HEAD'
  const length = request.headers.get('Content-Length')
  const isSmall = request.method === 'POST' && length !== null && Number(length) <= limits.bodyBytes
  if (!isReading && !isSmall) return undefined
  const body = isReading ? null : await request.arrayBuffer()
  return (hasOthers) => {
    const copy = new Request(request, { body })
    if (hasOthers) copy.headers.set(HAS_OTHERS, 'yes')
    else copy.headers.delete(HAS_OTHERS)
    return copy
  }
}
