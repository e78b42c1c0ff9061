// Keys of identity providers on a Follower with server threads: the main thread alone asks providers, so that what a limiter
// allows is allowed once for the node; a thread asks the main thread, and answers from what it was told for as long as that
// is fresh, or was told a moment ago.
import { LRUCache } from 'lru-cache'
import { type RefusalKind, Refused } from '#shared/authn/contract.ts'
import {
  type HeldKeys,
  holds,
  isFresh,
  isTooOld,
  type Moment,
  momentOf,
  renewed,
} from '#shared/authn/key-memory.ts'
import { type KeyOwner, type KeySets, type KeySource, keyOf } from '#shared/authn/key-sets.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock, Monotonic } from '#shared/base/time.ts'

/** `had`: the fetch of those that the thread has; they are not sent again. */
export type KeysWanted =
  | {
      readonly what: 'keys'
      readonly source: KeySource
      readonly kid: string | undefined
      readonly had: number | undefined
    }
  | { readonly what: 'check'; readonly source: KeySource }

export type KeysTold =
  | { readonly kind: 'held'; readonly held: HeldKeys }
  | { readonly kind: 'same' }
  | { readonly kind: 'well' }
  | { readonly kind: 'refused'; readonly message: string; readonly refusal: RefusalKind }
  /** A fault of ours. */
  | { readonly kind: 'failed'; readonly message: string }

/** At the main thread. Never rejects. */
export async function tellKeys(owner: KeyOwner, wanted: KeysWanted): Promise<KeysTold> {
  try {
    if (wanted.what === 'check') {
      await owner.check(wanted.source)
      return { kind: 'well' }
    }
    const held = await owner.held(wanted.source, wanted.kid)
    return held.fetch === wanted.had ? { kind: 'same' } : { kind: 'held', held }
  } catch (error) {
    if (error instanceof Refused) return { kind: 'refused', message: error.message, refusal: error.kind }
    return { kind: 'failed', message: error instanceof Error ? error.message : String(error) }
  }
}

export type ThreadKeys = KeySets & {
  /** The main thread has answered. */
  readonly told: (id: number, told: KeysTold) => void
}

/** At a server thread. `ask`: sends it to the main thread. */
export function keySetsOfMain(
  ask: (id: number, wanted: KeysWanted) => void,
  clock: Clock,
  maxAgeMs: number,
): ThreadKeys {
  const known = new LRUCache<string, Told>({ max: limits.keySources })
  const waiting = new Map<number, (told: KeysTold) => void>()
  let lastId = 0
  const answerTo = (wanted: KeysWanted): Promise<KeysTold> =>
    new Promise((resolve) => {
      const id = ++lastId
      waiting.set(id, resolve)
      ask(id, wanted)
    })

  return {
    async find(source, kid) {
      const key = keyOf(source)
      const now = momentOf(clock)
      const last = known.get(key)
      if (last !== undefined && holds(last.held, kid) && isGood(last, now, maxAgeMs)) return last.held.keys
      const told = await answerTo({ what: 'keys', source, kid, had: last?.held.fetch })
      if (told.kind !== 'held' && told.kind !== 'same') throw errorOf(told)
      const held = told.kind === 'same' ? last!.held : renewed(last?.held, told.held)
      known.set(key, { held, at: now.monotonic })
      return held.keys
    },
    async check(source) {
      const told = await answerTo({ what: 'check', source })
      if (told.kind !== 'well') throw errorOf(told)
    },
    told(id, told) {
      waiting.get(id)?.(told)
      waiting.delete(id)
    },
  }
}

/** `at`: when it was asked for. */
type Told = { readonly held: HeldKeys; readonly at: Monotonic }

const isGood = ({ held, at }: Told, now: Moment, maxAgeMs: number): boolean =>
  !isTooOld(held, now, maxAgeMs) && (isFresh(held, now) || now.monotonic - at < limits.keysAskedMs)

function errorOf(told: KeysTold): Error {
  if (told.kind === 'refused') return new Refused(told.message, told.refusal)
  return new Error(told.kind === 'failed' ? told.message : `the main thread answered ${told.kind}`)
}
