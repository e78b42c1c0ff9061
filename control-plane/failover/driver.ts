// The loop that carries the machine: what happens becomes events, one at a time, and what the machine asks for is done.
// Nothing is decided here.
import type { Clock, Monotonic } from '#shared/base/time.ts'
import type { CoordinationStore } from '../coordination/store.ts'
import type { Hands, PostgresProbe } from './hands.ts'
import { createPerformer, type EventBody } from './perform.ts'
import { begin, step } from './step.ts'
import type { Config, Event, Node } from './types.ts'

/** What the node's other processes do for the machine. */
export type Doors = {
  /** Told to whoever answers clients, and to the watchdog. */
  setDeadline(deadline: Monotonic): void
  /** Makes ready what `open` opens; a hint. */
  prepare(epoch: number): void
  open(epoch: number): void
  /** No new writes. Resolves when none is in flight. */
  drain(asked: Monotonic): Promise<void>
  /** At once: nothing leaves this node any more. Resolves when that is certain. */
  close(why: string): Promise<void>
  /** Whether this node could serve, or go on serving. */
  well(probe: PostgresProbe): boolean
}

export type DriverOptions = {
  readonly config: Config
  readonly store: CoordinationStore
  readonly hands: Hands
  readonly doors: Doors
  readonly clock: Clock
  /** After every event that changed what the node is or knows. */
  readonly changed: (node: Node, before: Node) => void
  readonly report: (message: string) => void
}

/** Ends when it is closed: nothing is heard or asked any more, and what was begun is over. */
export type Driver = { close(): Promise<void> }

const TICK_MS = 100
/** While writes wait for the next step. */
const HURRIED_TICK_MS = 25
/** A watch tells early; a read says what is so. */
const READ_MS = 1_000

export function startDriver(options: DriverOptions): Driver {
  const { store, hands } = options
  const closed = new AbortController()
  let node = begin(options.config)

  function hear(body: EventBody): void {
    if (closed.signal.aborted) return
    const before = node
    const [next, effects] = step(node, { ...body, at: options.clock.monotonic() } as Event)
    node = next
    if (next !== before) options.changed(next, before)
    for (const effect of effects) performer.perform(effect)
  }
  const performer = createPerformer({ ...options, node: () => node, hear, signal: closed.signal })

  async function read(): Promise<void> {
    const view = await store.read()
    if (view !== undefined) hear({ kind: 'viewed', view })
  }

  hands.onStopped(() => hear({ kind: 'stopped' }))
  const watch = store.watch((view) => hear({ kind: 'viewed', view }))
  let ticked = options.clock.monotonic()
  const ticks = setInterval(() => {
    const now = options.clock.monotonic()
    if (!isHurried(node) && now < ticked + TICK_MS - HURRIED_TICK_MS / 2) return
    ticked = now
    hear({ kind: 'tick', wall: options.clock.wall() })
  }, HURRIED_TICK_MS)
  const reads = setInterval(() => performer.once('read', read), READ_MS)
  return {
    async close() {
      closed.abort()
      clearInterval(ticks)
      clearInterval(reads)
      await watch.close()
      await performer.idle()
    },
  }
}

/** It is about to lead, or to hand over. */
const isHurried = ({ role }: Node): boolean =>
  role.phase === 'leading' && (role.stage !== 'open' || role.handing !== undefined)
