// Conditions that several reads share. Texts are compared by byte and never with LIKE, whose case rules differ
// between the engines; what a client lists is one parameter, so that statements do not grow with it.
import type { Query } from '../store.ts'

/** The kind of a stored id. An identifier may hold colons too, so only the second part counts. */
export function kindSql(id: string): string {
  const rest = `substr(${id}, instr(${id}, ':') + 1)`
  return `substr(${rest}, 1, instr(${rest}, ':') - 1)`
}

/** `list`: a parameter that is a JSON list of kinds. */
export const kindInSql = (id: string, list: string): string =>
  `${kindSql(id)} IN (SELECT value FROM list(${list}))`

/** All stems of the list (search.ts) stand in the `words` of a resource. */
export const stemsInSql = (words: string, list: string): string =>
  `NOT EXISTS (SELECT 1 FROM list(${list}) WHERE instr(${words}, ' ' || value || ' ') = 0)`

/** A fact that is known already: for parts of a batch that this request does not need. */
export const given = <T>(value: T): Query<T> => ({ sql: 'SELECT 1 AS given', params: [], read: () => value })
