// Public keys of identity providers, by where they are fetched (http-api 8.8). What is remembered of each source, and when it
// may be asked, says key-memory.ts; here it is done. Keys outlive the provider's absence, and this node's restart.
import { LRUCache } from 'lru-cache'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { sha256Hex } from '../base/native-crypto.ts'
import { type Clock, wall } from '../base/time.ts'
import { Refused } from './contract.ts'
import { withoutSlash } from './discovery.ts'
import {
  fetchEnded,
  type HeldKeys,
  isTooOld,
  momentOf,
  nothing,
  type Remembered,
  wantCheck,
  wantKey,
} from './key-memory.ts'
import type { Outgoing } from './outgoing.ts'
import { fetchKeys, type KeySet, noneOf, signingKeysIn } from './provider-keys.ts'

/** `jwks`: the address of a key set. `provider`: an issuer, whose discovery document names it. */
export type KeySource = {
  readonly kind: 'jwks' | 'provider'
  readonly url: string
  /** PEM; undefined: the authorities that the runtime trusts. */
  readonly ca: string | undefined
}

export type KeySets = {
  /**
   * The key set of a source. Remembered; fetched again when it has no key of this `kid`, as often as the limiter lets it. The
   * same object for as long as its keys are the same. Throws `Refused`: `unavailable` (CONJ00044E) when the limiter is hit
   * and no keys are held, otherwise `unauthorized`.
   */
  readonly find: (source: KeySource, kid: string | undefined) => Promise<KeySet>
  /** Asks the provider, whatever is remembered, as often as that is no burden. Throws `Refused` when it gives no keys. */
  readonly check: (source: KeySource) => Promise<void>
}

/** As a node has them that asks for others: with the time when they were fetched. */
export type KeyOwner = KeySets & {
  readonly held: (source: KeySource, kid: string | undefined) => Promise<HeldKeys>
}

/** Where key sets outlive a restart: texts, by names of hexadecimal digits. What cannot be kept is reported, not thrown. */
export type KeptKeySets = {
  /** Of earlier. */
  readonly found: ReadonlyMap<string, string>
  /** When it resolves the text is there after a crash, too. */
  readonly keep: (name: string, text: string) => void | Promise<void>
  readonly forget: (name: string) => void
}

export type KeySetPorts = {
  readonly outgoing: Outgoing
  readonly clock: Clock
  /** Keys that were fetched longer ago prove nothing any more, whether the provider can be asked or not. */
  readonly maxAgeMs: number
  readonly kept: KeptKeySets
}

type Entry = {
  readonly source: KeySource
  readonly name: string
  state: Remembered
  /** Of the last fetch that has ended: a refusal, or a fault of ours. */
  fault: unknown
  /** Resolves when the fetch that is on its way has ended, well or not. */
  running: Promise<void>
}

export function createKeySets({ outgoing, clock, maxAgeMs, kept }: KeySetPorts): KeyOwner {
  let fetches = 0
  const restored = restoredFrom(kept, clock, maxAgeMs)
  const entries = new LRUCache<string, Entry>({
    max: limits.keySources,
    dispose: ({ name }) => kept.forget(name),
  })

  function entryOf(given: KeySource): Entry {
    const source = normal(given)
    const key = keyOf(source)
    const known = entries.get(key)
    if (known !== undefined) return known
    const name = sha256Hex(key)
    const held = restored.get(name)
    restored.delete(name)
    const entry: Entry = {
      source,
      name,
      state: { ...nothing, held },
      fault: undefined,
      running: Promise.resolve(),
    }
    entries.set(key, entry)
    return entry
  }

  async function fetched(entry: Entry): Promise<void> {
    let held: HeldKeys | undefined
    try {
      held = { keys: await fetchKeys(entry.source, outgoing), fetchedAt: clock.wall(), fetch: ++fetches }
      await kept.keep(entry.name, textOf(held))
      // Forgotten meanwhile: nobody would remove it.
      if (entries.peek(keyOf(entry.source)) !== entry) kept.forget(entry.name)
      entry.fault = held.keys.keys.length === 0 ? noneOf(entry.source) : undefined
    } catch (error) {
      // Thrown to whoever waits for it, or looks next: a fetch that nobody waits for must not end the program.
      entry.fault = error
    } finally {
      entry.state = fetchEnded(entry.state, held)
    }
  }

  function begin(entry: Entry): Promise<void> {
    entry.running = fetched(entry)
    return entry.running
  }

  async function held(source: KeySource, kid: string | undefined): Promise<HeldKeys> {
    const entry = entryOf(source)
    const [state, found] = wantKey(entry.state, kid, momentOf(clock), maxAgeMs)
    entry.state = state
    if (found.kind === 'limited') throw new Refused(LIMITED, 'unavailable')
    if (found.kind === 'held') {
      if (found.refresh) void begin(entry)
      return found.held
    }
    await (found.joins ? entry.running : begin(entry))
    if (entry.fault !== undefined) throw entry.fault
    return entry.state.held!
  }

  return {
    held,
    find: async (source, kid) => (await held(source, kid)).keys,
    async check(source) {
      const entry = entryOf(source)
      const [state, want] = wantCheck(entry.state, momentOf(clock))
      entry.state = state
      if (want === 'fetch') await begin(entry)
      if (want === 'join') await entry.running
      if (entry.fault !== undefined) throw entry.fault
      if (entry.state.held === undefined) throw new Refused(LIMITED, 'unavailable')
    },
  }
}

const LIMITED = 'CONJ00044E Keys of the provider cannot be fetched now: it was asked for them too often'

const normal = ({ kind, url, ca }: KeySource): KeySource => ({
  kind,
  url: kind === 'provider' ? withoutSlash(url) : url.trim(),
  ca,
})

/** Of another authority the keys may be others. */
export const keyOf = ({ kind, url, ca }: KeySource): string =>
  `${kind} ${url}${ca === undefined ? '' : `\n${ca}`}`

const textOf = ({ keys, fetchedAt }: HeldKeys): string => JSON.stringify({ fetchedAt, keys: keys.keys })

/** Undefined when the text is none of ours. */
function heldIn(text: string): HeldKeys | undefined {
  const value = parseJson(text)
  if (!isObject(value) || !Number.isSafeInteger(value.fetchedAt) || !Array.isArray(value.keys))
    return undefined
  return { keys: { keys: signingKeysIn(value.keys) }, fetchedAt: wall(value.fetchedAt as number), fetch: 0 }
}

/** The newest, as many as are remembered; what is too old, or damaged, is removed. */
function restoredFrom(kept: KeptKeySets, clock: Clock, maxAgeMs: number): Map<string, HeldKeys> {
  const now = momentOf(clock)
  const good: (readonly [string, HeldKeys])[] = []
  for (const [name, text] of kept.found) {
    const held = heldIn(text)
    if (held === undefined || isTooOld(held, now, maxAgeMs)) kept.forget(name)
    else good.push([name, held])
  }
  good.sort(([, a], [, b]) => b.fetchedAt - a.fetchedAt)
  for (const [name] of good.splice(limits.keySources)) kept.forget(name)
  return new Map(good)
}
