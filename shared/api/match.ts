// Raw path → route. Paths are matched undecoded and each captured segment is decoded once, so `%2F` may stand
// inside an id wherever an id is a segment or a tail (http-api 1). One matcher serves both doors: Node's, which
// builds no Request object, and the portable `fetch`.
import { decodePercent, type Query } from './request.ts'
import type { AnyRoute } from './route.ts'

type Pattern = { readonly route: AnyRoute; readonly regexp: RegExp; readonly names: readonly string[] }

/** Names that only some segments fit (http-api 1, 6). */
const fits: Readonly<Record<string, RegExp>> = { account: /^[^/]*$/, authn: /^authn(-.+)?$/s }

export type Match = { readonly route: AnyRoute; readonly params: Readonly<Record<string, string>> }

export type Matcher = (method: string, path: string, query: Query) => Match | undefined

export function createMatcher(routes: readonly AnyRoute[]): Matcher {
  const patterns = routes.map(compile)
  // By method and first segment; patterns whose first segment is a parameter stand in every list that it fits.
  const lists = new Map<string, Pattern[]>()
  const listOf = (method: string, path: string): Pattern[] => {
    const slash = path.indexOf('/', 1)
    const first = slash < 0 ? path : path.slice(0, slash)
    const key = `${method} ${first}`
    let list = lists.get(key)
    if (list === undefined) {
      list = patterns.filter(({ route }) => route.method === method && mayStartWith(route.path, first))
      // First segments come from outside: only those that lead somewhere are worth remembering.
      if (list.length > 0 && routes.some((route) => route.path.startsWith(first))) lists.set(key, list)
    }
    return list
  }
  return (method, path, query) => {
    const asked = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
    for (const { route, regexp, names } of listOf(method === 'HEAD' ? 'GET' : method, asked)) {
      if (route.selector !== undefined && !query.has(route.selector)) continue
      const found = regexp.exec(asked)
      if (found === null) continue
      const params = decodeParams(names, found)
      if (params !== undefined) return { route, params }
    }
    return undefined
  }
}

function mayStartWith(path: string, first: string): boolean {
  const segment = path.split('/')[1] ?? ''
  if (!segment.startsWith(':')) return `/${segment}` === first
  return fits[segment.slice(1)]?.test(decodePercent(first.slice(1)) ?? '') ?? true
}

/** `:name` is one segment, `:name*` the rest of the path. */
function compile(route: AnyRoute): Pattern {
  const names: string[] = []
  const source = route.path.replace(
    /:(\w+)(\*?)|[.*+?^${}()|[\]\\]/g,
    (special, name?: string, tail?: string) => {
      if (name === undefined) return `\\${special}`
      names.push(name)
      return tail === '*' ? '(.+)' : '([^/]+)'
    },
  )
  return { route, regexp: new RegExp(`^${source}$`), names }
}

/** Undefined when a segment is not decodable, nobody's name, or does not fit the name it has: no such route. */
function decodeParams(names: readonly string[], found: RegExpExecArray): Record<string, string> | undefined {
  const params: Record<string, string> = {}
  for (let i = 0; i < names.length; i++) {
    const decoded = decodePercent(found[i + 1]!)
    if (decoded === undefined || decoded.includes('\0') || fits[names[i]!]?.test(decoded) === false) {
      return undefined
    }
    params[names[i]!] = decoded
  }
  return params
}
