// A model of a Follower: it takes what a Leader has released, from whichever node says that it leads.
import type { Random } from '../support/random.ts'
import type { Checks } from './checks.ts'
import type { Machine } from './machine.ts'

export class Follower {
  readonly name: string
  readonly #random: Random
  readonly #checks: Checks
  /** Ids, in the order of the commits. */
  log: number[] = []
  /** The highest that it has heard of. */
  epoch = 0
  /** Broken on purpose: it takes what an earlier epoch sends, or what is not released yet. */
  heedsEpoch = true
  heedsRelease = true
  #source: Machine | undefined

  constructor(name: string, random: Random, checks: Checks) {
    this.name = name
    this.#random = random
    this.#checks = checks
  }

  /** One step of the stream. `open`: who says that it leads and can be reached; a balancer chooses. */
  take(open: readonly Machine[]): void {
    const isThere = this.#source !== undefined && open.includes(this.#source)
    if (!isThere || this.#random.next() < 0.05)
      this.#source = open.length === 0 ? undefined : this.#random.pick(open)
    if (this.#source === undefined) return
    const { postgres, openEpoch } = this.#source
    const epoch = openEpoch!
    if (epoch < this.epoch && this.heedsEpoch) return
    const released = this.heedsRelease ? postgres.released : postgres.end
    const at = this.log.length
    if (at > 0 && postgres.log[at - 1]?.id !== this.log[at - 1]) {
      this.#checks.parted(this, this.#source.name, epoch)
      // Another history: a snapshot of it.
      this.log = postgres.log.slice(0, Math.max(0, released)).map(({ id }) => id)
    } else {
      const most = Math.min(released, at + this.#random.int(1, 8))
      for (let i = at; i < most; i++) {
        const { id } = postgres.log[i]!
        this.#checks.exposes(this, id, i + 1, epoch)
        this.log.push(id)
      }
    }
    this.epoch = Math.max(this.epoch, epoch)
  }
}
