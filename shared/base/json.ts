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

/** The parser takes any depth; whatever reads or prints a value recurses once per level. */
function isShallow(value: Json, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  return levels > 0 && Object.values(value).every((item: Json) => isShallow(item, levels - 1))
}

export function isObject(value: unknown): value is { [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
