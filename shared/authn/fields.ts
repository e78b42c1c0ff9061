// The settings of an authenticator as V2 says them, as an object `data`, and as they are stored, each in a variable of
// its own (http-api 15).
import { isStorable } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import { isObject, type Json } from '../base/json.ts'

/** `list`: stored as `a,b`. `map`: stored as `a:b,c:d`. */
export type FieldForm = 'text' | 'list' | 'map'

/** `identity.identity_path` stands in an object `identity`; other names hold no dot. */
export type Fields = Readonly<Record<string, FieldForm>>

type Members = Readonly<Record<string, unknown>>

/** The variable of a field, below the branch of its authenticator. */
export const variableOf = (field: string): string => field.slice(field.indexOf('.') + 1).replaceAll('_', '-')

export const invalid = (message: string): DomainError => new DomainError('unprocessable_entity', message)

export const missingWords = (...names: readonly string[]): string =>
  `CONJ00190W Missing required parameter: ${names.join(', ')}`

export const wrongType = (name: string, type: string): DomainError =>
  invalid(`CONJ00192W The '${name}' parameter must be of 'type=${type}'`)

/** What is not given, or given as null. */
export const isAbsent = (value: unknown): value is undefined | null => value === undefined || value === null

/** Throws `unprocessable_entity` that names members nobody knows. */
export function mustBeExpected(given: Members, names: readonly string[]): void {
  const odd = Object.keys(given).filter((name) => !names.includes(name))
  if (odd.length > 0) throw invalid(`The following parameters were not expected: ${odd.join(', ')}`)
}

/** Throws `unprocessable_entity` that names those that are absent. */
export function mustBeGiven(given: Members, names: readonly string[]): void {
  const absent = names.filter((name) => isAbsent(given[name]))
  if (absent.length > 0) throw invalid(missingWords(...absent))
}

const isPart = (value: unknown): value is string =>
  typeof value === 'string' && /^[^,:]+$/.test(value) && isStorable(value)

/** How a form is read (undefined: it is not of this form), printed, and called in messages. */
const forms: Record<
  FieldForm,
  { type: string; read: (value: unknown) => string | undefined; print: (stored: string) => Json }
> = {
  text: {
    type: 'string',
    read: (value) => (typeof value === 'string' && isStorable(value) ? value : undefined),
    print: (stored) => stored,
  },
  list: {
    type: 'array of strings without comma or colon',
    read: (value) => (Array.isArray(value) && value.every(isPart) ? value.join(',') : undefined),
    print: partsOf,
  },
  map: {
    type: 'object of strings without comma or colon',
    read(value) {
      if (!isObject(value)) return undefined
      const pairs = Object.entries(value)
      return pairs.every((pair) => pair.every(isPart))
        ? pairs.map((pair) => pair.join(':')).join(',')
        : undefined
    },
    print: (stored) => Object.fromEntries(partsOf(stored).map(pairOf)),
  },
}

function partsOf(stored: string): string[] {
  return stored
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

function pairOf(part: string): [string, string] {
  const colon = part.indexOf(':')
  return colon < 0 ? [part, ''] : [part.slice(0, colon).trim(), part.slice(colon + 1).trim()]
}

/** Texts to store, by field; a blank one makes a variable without a value. Throws `unprocessable_entity`. */
export function readData(fields: Fields, data: Members): ReadonlyMap<string, string> {
  mustFit(fields, data)
  const texts = new Map<string, string>()
  for (const [name, form] of Object.entries(fields)) {
    const [first, second] = partsOfName(name)
    const object = second === undefined ? data : data[first]
    const key = second ?? first
    const value = isObject(object) ? object[key] : undefined
    if (isAbsent(value)) continue
    const text = forms[form].read(value)
    if (text === undefined) throw wrongType(key, forms[form].type)
    texts.set(name, text.trim() === '' ? '' : text)
  }
  return texts
}

const partsOfName = (name: string): [first: string, second?: string] => name.split('.') as [string, string?]

/** Nobody says what there is no field for. */
function mustFit(fields: Fields, data: Members): void {
  const members = Map.groupBy(Object.keys(fields).map(partsOfName), ([first]) => first)
  mustBeExpected(data, [...members.keys()])
  for (const [first, names] of members) {
    const inner = names.flatMap(([, second]) => second ?? [])
    const object = data[first]
    if (inner.length === 0 || isAbsent(object)) continue
    if (!isObject(object)) throw wrongType(first, 'object')
    mustBeExpected(object, inner)
  }
}

/** The object again; `stored` holds the fields that are to be shown. Undefined when there is nothing in it. */
export function printData(fields: Fields, stored: ReadonlyMap<string, string>): Json | undefined {
  const data: Record<string, Json> = {}
  const objects: Record<string, Record<string, Json>> = {}
  for (const [name, form] of Object.entries(fields)) {
    const text = stored.get(name)
    if (text === undefined) continue
    const [first, second] = partsOfName(name)
    const value = forms[form].print(text)
    if (second === undefined) data[first] = value
    else {
      objects[first] ??= {}
      objects[first][second] = value
      data[first] = objects[first]
    }
  }
  return Object.keys(data).length === 0 ? undefined : data
}
