// JSON that came from outside.
import { limits } from './limits.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** The value, or undefined when the text is not JSON or nested too deep. */
export function parseJson(text: string): Json | undefined {
  try {
    const value = JSON.parse(text) as Json
    return isShallow(value, limits.jsonDepth) ? value : undefined
  } catch {
    return undefined
  }
}

/** As `parseJson`; undefined too when an object names a member twice: readers differ in which of the two counts. */
export function parseJsonStrictly(text: string): Json | undefined {
  const value = parseJson(text)
  return value === undefined || namesTwice(text) ? undefined : value
}

/** Of a text that is JSON: a string before a colon is a name. */
function namesTwice(text: string): boolean {
  const objects: Set<string>[] = []
  let last = ''
  for (const [lexeme] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}:]/g)) {
    if (lexeme === '{') objects.push(new Set())
    else if (lexeme === '}') objects.pop()
    else if (lexeme !== ':') last = lexeme
    else {
      // Escapes make one name of many spellings.
      const name = JSON.parse(last) as string
      const names = objects.at(-1)!
      if (names.has(name)) return true
      names.add(name)
    }
  }
  return false
}

/** The parser takes any depth; whatever reads or prints a value recurses once per level. */
function isShallow(value: Json, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  return levels > 0 && Object.values(value).every((item: Json) => isShallow(item, levels - 1))
}

export function isObject(value: unknown): value is { [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
