// What becomes of each effect: one function per port. What is asked of Postgres is done one after the other; of the store,
// each question is answered by itself.
import type { Clock, Monotonic } from '#shared/base/time.ts'
import type { Copy, LeaseName, Transaction } from '../coordination/keys.ts'
import type { CoordinationStore } from '../coordination/store.ts'
import type { Doors } from './driver.ts'
import type { Hands } from './hands.ts'
import type { Effect, Event, Node } from './types.ts'

export type EventBody = Event extends infer E ? (E extends Event ? Omit<E, 'at'> : never) : never

export type PerformOptions = {
  readonly store: CoordinationStore
  readonly hands: Hands
  readonly doors: Doors
  readonly clock: Clock
  readonly node: () => Node
  readonly hear: (event: EventBody) => void
  readonly report: (message: string) => void
  readonly signal: AbortSignal
}

export type Performer = {
  perform(effect: Effect): void
  /** Not again while it is under way; what fails is reported. */
  once(name: string, work: () => Promise<void>): void
  /** Resolves when nothing is being done to Postgres any more. */
  idle(): Promise<void>
}

const RETRY_MS = 200
const LONG_MS = 10_000

/** Asked at every tick until the store shows it; of the others each question waits for its own answer. */
const askedAgain: ReadonlySet<Transaction['name']> = new Set(['attend', 'unlock', 'open'])

export function createPerformer(options: PerformOptions): Performer {
  const { store, hands, doors, clock, node, hear, signal } = options
  let queue: Promise<void> = Promise.resolve()
  let closing: Promise<void> = Promise.resolve()
  const underWay = new Set<string>()

  const failed = (what: string, error: unknown): void => {
    if (!signal.aborted) options.report(`${what}: ${error instanceof Error ? error.message : String(error)}`)
  }

  function once(name: string, work: () => Promise<void>): void {
    if (underWay.has(name)) return
    underWay.add(name)
    work()
      .catch((error: unknown) => failed(name, error))
      .finally(() => underWay.delete(name))
  }

  /** What is asked of Postgres waits for what was asked before: what holds it up is said. */
  function inOrder(name: string, work: () => Promise<void>): void {
    queue = queue.then(async () => {
      const done = new AbortController()
      void clock.sleep(LONG_MS, done.signal).then(() => {
        if (!done.signal.aborted) failed(name, `still under way after ${LONG_MS / 1_000} s`)
      })
      await work()
        .catch((error: unknown) => failed(name, error))
        .finally(() => done.abort())
    })
  }

  /** Until it is done, or not wanted any more. */
  async function insist<T>(
    what: string,
    wanted: () => boolean,
    work: () => Promise<T>,
  ): Promise<T | undefined> {
    while (!signal.aborted && wanted()) {
      try {
        return await work()
      } catch (error) {
        failed(what, error)
        await clock.sleep(RETRY_MS, signal)
      }
    }
    return undefined
  }

  async function probe(silent: boolean): Promise<void> {
    const found = await hands.probe(silent)
    hear({ kind: 'probed', own: { ...found, well: doors.well(found) } })
  }

  async function renew(lease: LeaseName): Promise<void> {
    const kept = await store.keep(lease)
    if (kept.outcome === 'kept') hear({ kind: 'renewed', lease, sentAt: kept.sentAt })
    if (kept.outcome !== 'lost') return
    // A leadership ends with its lease; the node's own is only how the others see it.
    if (lease === 'leader') hear({ kind: 'leaseLost', lease })
    else {
      const granted = await store.grant(lease)
      if (granted.outcome === 'granted') hear({ kind: 'renewed', lease, sentAt: granted.sentAt })
    }
  }

  async function transact(transaction: Transaction): Promise<void> {
    // A leadership is taken with a lease of its own, and its life counts from when that was asked for.
    const granted = transaction.name === 'take' ? await store.grant('leader') : undefined
    const sentAt = granted?.sentAt ?? clock.monotonic()
    const outcome = granted?.outcome === 'unknown' ? 'refused' : await store.transact(transaction)
    hear({
      kind: 'transacted',
      transaction,
      ok: outcome === 'unknown' ? undefined : outcome === 'done',
      sentAt,
    })
  }

  async function freeze(asked: Monotonic): Promise<void> {
    const wanted = (): boolean => {
      const { role } = node()
      return (role.phase === 'freezing' || role.phase === 'evicted') && role.asked === asked
    }
    const held = await insist('freeze', wanted, () => hands.freeze())
    if (held !== undefined) hear({ kind: 'frozen', asked, ...held })
  }

  async function promote(above: number): Promise<void> {
    try {
      hear({ kind: 'promoted', ...(await hands.promote(above)) })
    } catch (error) {
      failed('promote', error)
      hear({ kind: 'promotionFailed' })
    }
  }

  async function raiseEpoch(epoch: number): Promise<void> {
    await hands.raiseEpoch(epoch)
    hear({ kind: 'epochRaised', epoch })
  }

  async function setSync(names: readonly Copy[]): Promise<void> {
    const leading = (): boolean => node().role.phase === 'leading'
    const set = await insist('name synchronous Standbys', leading, () => hands.setSync(names))
    if (set !== undefined) hear({ kind: 'syncSet', names, ...set })
  }

  async function drain(asked: Monotonic): Promise<void> {
    await doors.drain(asked)
    hear({ kind: 'drained', asked })
  }

  async function close(why: string, asked: Monotonic): Promise<void> {
    await doors.close(why)
    hear({ kind: 'closed', asked })
  }

  async function demote(): Promise<void> {
    await closing
    await insist(
      'demote',
      () => true,
      () => hands.demote(),
    )
    hear({ kind: 'demoted' })
  }

  function perform(effect: Effect): void {
    switch (effect.kind) {
      case 'probe':
        once('probe', () => probe(effect.silent))
        break
      case 'renew':
        once(`renewal of the ${effect.lease} lease`, () => renew(effect.lease))
        break
      case 'transact': {
        const { transaction } = effect
        if (askedAgain.has(transaction.name)) once(transaction.name, () => transact(transaction))
        else void transact(transaction).catch((error: unknown) => failed(transaction.name, error))
        break
      }
      case 'setDeadline':
        doors.setDeadline(effect.deadline)
        break
      case 'prepare':
        doors.prepare(effect.epoch)
        break
      case 'open':
        doors.open(effect.epoch)
        break
      case 'close':
        closing = close(effect.why, effect.asked)
        break
      case 'drain':
        void drain(effect.asked).catch((error: unknown) => failed('drain', error))
        break
      case 'freeze':
        inOrder('freeze', () => freeze(effect.asked))
        break
      case 'follow':
        inOrder('follow', () => hands.follow(effect.leader))
        break
      case 'promote':
        inOrder('promote', () => promote(effect.above))
        break
      case 'raiseEpoch':
        once('raise the epoch', () => raiseEpoch(effect.epoch))
        break
      case 'setSync':
        inOrder('name synchronous Standbys', () => setSync(effect.names))
        break
      case 'demote':
        inOrder('demote', demote)
    }
  }

  return { perform, once, idle: () => queue }
}
