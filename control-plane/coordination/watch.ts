// Whole views in order, from a read and a stream of changes that may break at any time. It goes on after the last revision
// that was told; only where those are gone does it read anew.
import type { Clock } from '#shared/base/time.ts'
import { type Entry, type View, viewOf } from './keys.ts'
import type { Watch } from './store.ts'

/** Everything under the prefix, as of one revision. */
export type Held = { readonly revision: number; readonly entries: readonly Entry[] }

/** `value` undefined: the key is gone. */
export type Change = { readonly revision: number; readonly key: string; readonly value: string | undefined }

export type Heard = {
  /** In order, all of a revision together; none are a sign of life. */
  changes(changes: readonly Change[]): void
  /** `compacted`: the revisions that were asked for are gone. */
  ended(why: 'broken' | 'compacted'): void
}

export type Stream = {
  /** Asks for a sign of life. */
  ping(): void
  cancel(): void
}

export type Source = {
  /** Undefined: unknown. */
  read(): Promise<Held | undefined>
  /** Undefined: it could not be opened. */
  open(from: number, heard: Heard): Promise<Stream | undefined>
}

export type WatchOptions = {
  readonly source: Source
  readonly seen: (view: View) => void
  readonly clock: Clock
  /** A stream that is silent for so long, though it was asked, is given up. */
  readonly silenceMs: number
}

/** Before the next try, so that a store that refuses everything is not asked all the time. */
const PAUSE_MS = 100

export function createWatch({ source, seen, clock, silenceMs }: WatchOptions): Watch {
  const stop = new AbortController()

  async function run(): Promise<void> {
    let state: State | undefined
    while (!stop.signal.aborted) {
      state ??= await begun()
      if (state !== undefined && (await followed(state)) === 'compacted') state = undefined
      await clock.sleep(PAUSE_MS, stop.signal)
    }
  }

  async function begun(): Promise<State | undefined> {
    const held = await source.read()
    if (held === undefined || stop.signal.aborted) return undefined
    seen(viewOf(held.entries, held.revision))
    return {
      revision: held.revision,
      values: new Map(held.entries.map(({ key, value }) => [key, value])),
    }
  }

  /** Until the stream has ended, is silent, or nobody watches any more. */
  async function followed(state: State): Promise<'broken' | 'compacted'> {
    let outcome: 'broken' | 'compacted' = 'broken'
    let alive = true
    const over = new AbortController()
    const signal = AbortSignal.any([over.signal, stop.signal])
    const stream = await source.open(state.revision + 1, {
      changes(changes) {
        alive = true
        if (!signal.aborted) for (const view of applied(state, changes)) seen(view)
      },
      ended(why) {
        outcome = why
        over.abort()
      },
    })
    if (stream === undefined) return 'broken'
    while (alive && !signal.aborted) {
      alive = false
      stream.ping()
      await clock.sleep(silenceMs, signal)
    }
    over.abort()
    stream.cancel()
    return outcome
  }

  const done = run()
  return {
    close() {
      stop.abort()
      return done
    },
  }
}

type State = { revision: number; readonly values: Map<string, string> }

/** Puts the changes into the state; a view of every revision among them. */
function* applied(state: State, changes: readonly Change[]): Generator<View> {
  for (const [revision, together] of Map.groupBy(changes, (change) => change.revision)) {
    for (const { key, value } of together) {
      if (value === undefined) state.values.delete(key)
      else state.values.set(key, value)
    }
    state.revision = revision
    yield viewOf(
      [...state.values].map(([key, value]) => ({ key, value })),
      revision,
    )
  }
}
