// One node of the simulation: the machine, its Postgres, its clock, and what its processes hold.
import { begin } from '#control-plane/failover/step.ts'
import type { Config, Event, Node } from '#control-plane/failover/types.ts'
import { type Monotonic, monotonic, type Wall, wall } from '#shared/base/time.ts'
import type { Random } from '../support/random.ts'
import { Postgres } from './postgres.ts'

export type EventBody = Event extends infer E ? (E extends Event ? Omit<E, 'at'> : never) : never

/** What the calendar says when virtual time begins. */
export const START = Date.UTC(2026, 0, 1)

/** One node's processes: gone when it crashes, unlike its Postgres's log. */
export class Machine {
  readonly name: string
  readonly config: Config
  node: Node
  postgres: Postgres
  /** Own clock: `offset + rate × real`. */
  readonly offset: number
  readonly rate: number
  /** How wrong its calendar is. */
  readonly skew: number
  up = true
  /** The supervisor hears and does nothing. */
  paused = false
  backlog: EventBody[] = []
  /** The whole node stands still, its clock does not. What came meanwhile, in order. */
  stopped = false
  asleep: (() => void)[] = []
  /** Until when its Postgres is busy with what was asked of it, and how often it has ended by itself. */
  busyUntil = 0
  restarts = 0
  deadline = Number.NEGATIVE_INFINITY
  /** What the deadline may be at most, by what the store has answered. */
  safeUntil = Number.NEGATIVE_INFINITY
  openEpoch: number | undefined
  /** Counts what was opened: a request that was there before belongs to another one. */
  openings = 0
  /** No new writes. */
  drains = false
  /** Until when its API is busy with what was asked of it. */
  doorBusyUntil = 0
  leases: Record<string, string | undefined> = {}
  life = 0

  constructor(config: Config, random: Random) {
    this.name = config.node
    this.config = config
    this.node = begin(config)
    this.postgres = new Postgres(config.node)
    this.offset = random.int(0, 1_000_000)
    this.rate = 0.98 + random.next() * 0.04
    this.skew = random.int(-500, 500)
  }

  calendar(now: number): Wall {
    return wall(START + Math.round(now) + this.skew)
  }

  clock(now: number): Monotonic {
    return monotonic(this.offset + this.rate * now)
  }
}
