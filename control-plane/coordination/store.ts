// What the control nodes ask of the coordination store (cluster 7.2, 7.3). Nothing here throws because the store is away:
// not to know is an answer of its own. Every question is answered within `requestTimeoutMs`.
import type { Clock, Monotonic } from '#shared/base/time.ts'
import type { LeaseName, Transaction, View } from './keys.ts'

/** `unknown`: it may have been done, or may still be. `refused`: it was not, and will not be. */
export type Transacted = 'done' | 'refused' | 'unknown'

/**
 * Only from `sentAt` on may the life of the lease be counted: taken before the request was sent, while the store counts
 * from a later moment.
 */
export type Granted = { readonly outcome: 'granted' | 'unknown'; readonly sentAt: Monotonic }
export type Kept = { readonly outcome: 'kept' | 'lost' | 'unknown'; readonly sentAt: Monotonic }

export interface CoordinationStore {
  /**
   * A new lease under this name. The one before is left to lapse with its keys, so a leadership is taken with a lease
   * granted for it and counted from its `sentAt`.
   */
  grant(lease: LeaseName): Promise<Granted>
  /** `lost` also when there is none. A lost lease never comes back: ask for another. */
  keep(lease: LeaseName): Promise<Kept>
  /** Never sent twice. Writes under a lease that is gone are refused. */
  transact(transaction: Transaction): Promise<Transacted>
  /** Linearizable: only a majority answers it. Undefined: unknown. */
  read(): Promise<View | undefined>
  /**
   * The view as it is, and then one of every revision that changed it, in order, also across lost connections. Where
   * the store does not hold the revisions any more it goes on with the view as it is. For learning early: what it tells
   * may be old, so that it proves nothing.
   */
  watch(seen: (view: View) => void): Watch
  /** Ends its watches; what is being asked is answered with `unknown`. Its leases lapse by themselves. */
  close(): Promise<void>
}

/** One of the servers that make up the store; `name` empty: it has never started. */
export type StoreMember = {
  readonly id: string
  readonly name: string
  readonly peerURLs: readonly string[]
  readonly clientURLs: readonly string[]
}

/** A store that can tell its own servers. Undefined: unknown. */
export type WithMembers = { members(): Promise<readonly StoreMember[] | undefined> }

export type Watch = { close(): Promise<void> }

/** The same store, which remembers when it last answered a read: counted from when it was asked. */
export function heeding<S extends CoordinationStore>(
  store: S,
  clock: Clock,
): S & { heardAt(): Monotonic | undefined } {
  let heardAt: Monotonic | undefined
  return {
    ...store,
    async read() {
      const askedAt = clock.monotonic()
      const view = await store.read()
      if (view !== undefined) heardAt = askedAt
      return view
    },
    heardAt: () => heardAt,
  }
}
