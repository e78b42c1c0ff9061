// How an order asks the store: what it holds, a transaction until its outcome is known, something that is to come.
import type { Clock } from '#shared/base/time.ts'
import type { Transaction, View } from '../coordination/keys.ts'
import type { CoordinationStore } from '../coordination/store.ts'
import { Refusal } from './refusal.ts'

export type Asking = {
  readonly store: CoordinationStore
  readonly clock: Clock
}

const LOOK_EVERY_MS = 100
const TRIES = 5

const unanswered = (): Refusal =>
  new Refusal(
    'store_unknown',
    'the coordination store does not answer: start its members; if most of them are lost for ever, "cluster recover" begins a new one',
  )

/** As a majority knows it now. Another member is asked when one does not answer. */
export async function viewNow({ store }: Asking): Promise<View> {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const view = await store.read()
    if (view !== undefined) return view
  }
  throw unanswered()
}

/** One that does no harm when it is done twice, or says by its conditions that it was done. Whether it was done. */
export async function transacted({ store }: Asking, transaction: Transaction): Promise<boolean> {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const outcome = await store.transact(transaction)
    if (outcome !== 'unknown') return outcome === 'done'
  }
  throw unanswered()
}

/** What is found in the first view that has it; undefined after `withinMs`, or when nobody waits for it any more. */
export async function awaited<T>(
  { store, clock }: Asking,
  withinMs: number,
  signal: AbortSignal,
  find: (view: View) => T | undefined,
): Promise<T | undefined> {
  const giveUpAt = clock.monotonic() + withinMs
  for (;;) {
    const view = await store.read()
    const found = view === undefined ? undefined : find(view)
    if (found !== undefined || signal.aborted || clock.monotonic() >= giveUpAt) return found
    await clock.sleep(LOOK_EVERY_MS, signal)
  }
}
