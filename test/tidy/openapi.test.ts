// The OpenAPI document says what the cases have seen: every status of every route, and no other. Runs after them all.
import { globSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createMatcher } from '#shared/api/match.ts'
import { answersOf } from '#shared/api/openapi.ts'
import { parseQuery } from '#shared/api/request.ts'
import { allRoutes } from '#shared/api/routes/index.ts'
import { seenName } from '../support/seen-folder.ts'

const folder = process.env.HOLDFAST_SEEN!
/** Those of single parts ask servers that they make up themselves. */
const ran = new Set(readdirSync(folder).filter((file) => !file.startsWith(seenName('test/unit/'))))
const cases = globSync('test/conformance/**/*.test.ts').map(seenName)
const partOnly = cases.some((file) => !ran.has(file))

/** What any request may be answered, whatever its route. */
const general = new Set([400, 408, 412, 413, 414, 431, 500, 503, 504])

/** What no route can read is refused before there is a route. */
function queryOf(text: string): ReturnType<typeof parseQuery> {
  try {
    return parseQuery(text)
  } catch {
    return parseQuery('')
  }
}

function seen(): Map<string, Set<number>> {
  const match = createMatcher(allRoutes)
  const statuses = new Map<string, Set<number>>()
  for (const file of ran) {
    for (const line of readFileSync(join(folder, file), 'utf8').split('\n')) {
      const [status, method, target] = line.split(' ')
      if (target === undefined) continue
      const question = target.indexOf('?')
      const path = question < 0 ? target : target.slice(0, question)
      const query = queryOf(question < 0 ? '' : target.slice(question + 1))
      const id = match(method!, path, query)?.route.id
      if (id !== undefined) statuses.set(id, (statuses.get(id) ?? new Set()).add(Number(status)))
    }
  }
  return statuses
}

test.skipIf(partOnly)(
  'every route has answered each status it names, and no other (skipped when only a part of the cases has run)',
  () => {
    const statuses = seen()
    const wrong = allRoutes.flatMap((route) => {
      const { id } = route
      const answers = answersOf(route)
      const answered = statuses.get(id) ?? new Set<number>()
      const unseen = answers.filter((status) => !answered.has(status))
      const unnamed = [...answered].filter((status) => !answers.includes(status) && !general.has(status))
      return [
        ...unseen.map((status) => `${id} names ${status}, which no case has seen`),
        ...unnamed.map((status) => `${id} was answered ${status}, which it does not name`),
      ]
    })
    expect(wrong.sort()).toEqual([])
  },
)
