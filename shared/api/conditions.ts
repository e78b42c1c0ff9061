// What a reader may ask of the data's position and age (cluster 6.4).
import { DomainError } from '../base/errors.ts'
import { compare, format, type Position, parsePosition } from '../ledger/position.ts'
import type { Snapshot } from '../ledger/store.ts'
import type { RawRequest } from './request.ts'

export type Conditions = {
  readonly minPosition: Position | undefined
  readonly maxAgeMs: number | undefined
  readonly wait: boolean
}

const none: Conditions = { minPosition: undefined, maxAgeMs: undefined, wait: false }

/** Throws `bad_request` for a malformed header: ignoring it would answer with data the caller did not want. */
export function conditionsOf(request: RawRequest): Conditions {
  const position = request.header('holdfast-min-position')
  const age = request.header('holdfast-max-age-ms')
  if (position === undefined && age === undefined) return none
  const minPosition = position === undefined ? undefined : parsePosition(position)
  if (position !== undefined && minPosition === undefined) {
    throw new DomainError('bad_request', 'Holdfast-Min-Position is not a position such as 1.42')
  }
  if (age !== undefined && !/^\d{1,15}$/.test(age)) {
    throw new DomainError('bad_request', 'Holdfast-Max-Age-Ms is not a number of milliseconds')
  }
  const inconsistent = request.header('holdfast-inconsistent') ?? 'fail'
  if (inconsistent !== 'fail' && inconsistent !== 'wait') {
    throw new DomainError('bad_request', 'Holdfast-Inconsistent must be fail or wait')
  }
  return { minPosition, maxAgeMs: age === undefined ? undefined : Number(age), wait: inconsistent === 'wait' }
}

/** Undefined when the data will do, otherwise what is wrong with it. */
export function unmet(
  conditions: Conditions,
  data: Pick<Snapshot, 'position' | 'ageMs'>,
): string | undefined {
  const { minPosition, maxAgeMs } = conditions
  if (minPosition !== undefined && compare(data.position, minPosition) < 0) {
    return `this node has position ${format(data.position)}, not yet ${format(minPosition)}`
  }
  if (maxAgeMs !== undefined && data.ageMs > maxAgeMs) {
    return `the data of this node is ${data.ageMs} ms old, more than ${maxAgeMs} ms`
  }
  return undefined
}
