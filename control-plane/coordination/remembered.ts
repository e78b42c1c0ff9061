// What this node has seen of the store, on its own disk: so that a store which is lost can be begun anew (cluster 8), and
// one that was restored from an old backup, or is empty, is not believed.
import { isObject, parseJson } from '#shared/base/json.ts'
import type { Clock } from '#shared/base/time.ts'
import { jsonInstant } from '#shared/base/time.ts'
import { readPrivateFile, writePrivateFile } from '#shared/node/files.ts'
import { nodeOf, type View } from './keys.ts'
import type { CoordinationStore } from './store.ts'

export type Remembered = {
  readonly epoch: number
  readonly leader: string | null
  /** Who had the sync duty; it may have moved since. */
  readonly sync: string | null
  /** The highest timeline that anybody may have begun. */
  readonly above: number
  /** When this was first seen. */
  readonly at: string
}

export type Remembering<S> = S & {
  remembered(): Remembered | undefined
  /** As it is, believed or not. Undefined: it does not answer. */
  unbelieved(): Promise<View | undefined>
}

/** The same store, of which nothing is believed that is of an earlier epoch than this node has seen. */
export async function remembering<S extends CoordinationStore>(
  store: S,
  file: string,
  clock: Clock,
  report: (message: string) => void,
): Promise<Remembering<S>> {
  let known = parsed(await readPrivateFile(file))
  let writing = Promise.resolve()
  let told = false

  function believes(view: View): boolean {
    if (view.epoch < (known?.epoch ?? 0)) return false
    const seen = seenIn(view, jsonInstant(clock.wall()))
    if (view.epoch > 0 && !isSame(seen, known)) {
      known = seen
      writing = writing
        .then(() => writePrivateFile(file, `${JSON.stringify(seen)}\n`))
        .catch((error: unknown) => report(`${file} cannot be written: ${String(error)}`))
    }
    told = false
    return true
  }

  return {
    ...store,
    remembered: () => known,
    unbelieved: () => store.read(),
    async read() {
      const view = await store.read()
      if (view === undefined || believes(view)) return view
      if (!told) report(notBelieved(view.epoch, known?.epoch ?? 0))
      told = true
      return undefined
    },
    // What a watch tells may be old: that is no reason to say anything.
    watch: (seen) => store.watch((view) => (believes(view) ? seen(view) : undefined)),
    async close() {
      await store.close()
      await writing
    },
  }
}

export const notBelieved = (epoch: number, seen: number): string =>
  `the coordination store says epoch ${epoch}, and this node has seen epoch ${seen}: the store is new or was restored from an ` +
  'old backup, and is not believed. Bring the right one back; if it is lost, empty this one and use "cluster recover"'

function seenIn({ epoch, leader, sync, reigns }: View, at: string): Remembered {
  const begun = [...reigns.values()].map(({ above, timeline }) => Math.max(above + 1, timeline))
  return {
    epoch,
    leader: leader?.node ?? null,
    sync: sync?.standby == null ? null : nodeOf(sync.standby),
    above: Math.max(0, ...begun),
    at,
  }
}

/** But for the time. Nobody leads for a moment: who did is worth more. */
const isSame = (seen: Remembered, known: Remembered | undefined): boolean =>
  known !== undefined &&
  seen.epoch === known.epoch &&
  (seen.leader ?? known.leader) === known.leader &&
  seen.sync === known.sync &&
  seen.above === known.above

/** Undefined: there is none. A file that cannot be read must not be taken for none. */
function parsed(text: string | undefined): Remembered | undefined {
  if (text === undefined) return undefined
  const value = parseJson(text)
  if (isObject(value) && typeof value.epoch === 'number') return value as Remembered
  throw new Error('the file of what was seen of the cluster is damaged: remove it when the store is sound')
}
