// A model of Postgres that knows only what failover is about: a log of entries, timelines, who takes log from whom, and
// for whom a commit waits. It lives on when its node's processes die, as a disk does.

import { type Copy, copyOf } from '#control-plane/coordination/keys.ts'

export type LogEntry = {
  readonly id: number
  readonly epoch: number
  /** On which it was written. */
  readonly timeline: number
}

type Waiting = { readonly position: number; readonly done: () => void }

export class Postgres {
  readonly name: string
  log: LogEntry[] = []
  /** Another one whenever something that was on it is not there any more. */
  disk = 'disk 1'
  /** It is there for others, and flushes nothing. */
  hangs = false
  /** It can become a primary. */
  promotes = true
  /** Broken on purpose: a new disk is taken for the old one. */
  tellsDisks = true
  primary = false
  /** Whose log it takes; undefined: nobody's. */
  following: string | undefined
  /** When log or a sign of life came last. */
  heardAt = Number.NEGATIVE_INFINITY
  syncNames: readonly Copy[] = []
  /** Broken on purpose: it waits for nobody. */
  waits = true
  /** Of a primary: how far others have flushed, as they told it. */
  readonly flushed = new Map<Copy, { readonly end: number; readonly at: number }>()
  #waiting: Waiting[] = []

  constructor(name: string) {
    this.name = name
  }

  get copy(): Copy {
    return copyOf(this.name, this.disk)
  }

  get end(): number {
    return this.log.length
  }

  /** Of what it holds: one that takes log from a Leader is on his timeline only when it has come that far. */
  get timeline(): number {
    return this.log.at(-1)?.timeline ?? 1
  }

  /** A commit: in the log at once, done when everybody it waits for has it. */
  write(entry: Omit<LogEntry, 'timeline'>, done: () => void): void {
    this.log.push({ ...entry, timeline: this.timeline })
    this.#waiting.push({ position: this.end, done })
    this.#release()
  }

  setSync(names: readonly Copy[]): void {
    this.syncNames = names
    // The sender of one that is not waited for any more is ended: its late word counts for nothing.
    for (const name of this.flushed.keys())
      if (!names.includes(name) && names.length > 0) this.flushed.delete(name)
    this.#release()
  }

  told(name: Copy, end: number, at: number): void {
    this.flushed.set(name, { end, at })
    this.#release()
  }

  #release(): void {
    const level = this.released
    const released = this.#waiting.filter(({ position }) => position <= level || !this.waits)
    this.#waiting = this.#waiting.filter((waiting) => !released.includes(waiting))
    for (const { done } of released) done()
  }

  /** Up to here everybody has it for whom a commit waits. */
  get released(): number {
    return Math.min(this.end, ...this.syncNames.map((name) => this.flushed.get(name)?.end ?? -1))
  }

  get isWaitedFor(): boolean {
    return this.#waiting.length > 0
  }

  /** `marker`: the record that ends recovery, the first on the new timeline. */
  promote(above: number, marker: number): void {
    this.primary = true
    this.following = undefined
    this.log.push({ id: marker, epoch: 0, timeline: Math.max(this.timeline, above) + 1 })
    this.syncNames = [NOBODY]
    this.flushed.clear()
    this.#waiting = []
  }

  /** Stopped, and started in recovery: who waited is never answered. */
  recover(): void {
    this.primary = false
    this.following = undefined
    this.flushed.clear()
    this.#waiting = []
  }

  /** One step of taking log; false when it holds what the other has not. */
  take(from: Postgres, most: number): boolean {
    // Logs share a beginning and part for good: equal at its own end means equal up to there.
    const isPrefix = this.end === 0 || from.log[this.end - 1]?.id === this.log[this.end - 1]!.id
    if (!isPrefix) return false
    this.log.push(...from.log.slice(this.end, this.end + most))
    return true
  }

  /** An empty disk: new, or about to be copied anew. */
  empty(): void {
    this.log = []
    if (this.tellsDisks) this.disk = `disk ${++disks}`
  }
}

let disks = 1

/** Nobody has this name: until a Standby is named, a commit waits. */
const NOBODY = '(nobody yet)'
