// The port of the coordination store on its model: nodes that reach it, by a clock that a test moves.
import type { LeaseName, Transaction, View } from '#control-plane/coordination/keys.ts'
import type { CoordinationStore } from '#control-plane/coordination/store.ts'
import { type ManualClock, manualClock } from '../support/manual-clock.ts'
import { Store } from './store.ts'

const TTL = 5_000
const TIMEOUT = 1_000

export class ModelCluster {
  readonly clock: ManualClock = manualClock()
  down = false
  readonly #model = new Store()
  /** Views that a watch may still ask for, oldest first; never empty. */
  #held: View[] = [this.#model.view()]
  readonly #nodes: ModelNode[] = []

  constructor() {
    this.#model.onChange = () => {
      this.#held.push(this.#model.view())
      this.changed()
    }
  }

  get model(): Store {
    return this.#model
  }

  get expiresAt(): number {
    return this.clock.monotonic() + TTL
  }

  /** Those after a revision, or the newest when the ones between are gone. */
  after(revision: number): readonly View[] {
    const newer = this.#held.filter((view) => view.revision > revision)
    return newer.length === 0 || newer[0]!.revision === revision + 1 ? newer : newer.slice(-1)
  }

  compact(): void {
    this.#held = this.#held.slice(-1)
  }

  node(name: string): ModelNode {
    const node = new ModelNode(this, name)
    this.#nodes.push(node)
    return node
  }

  pass(ms: number): void {
    this.clock.advance(ms)
    if (!this.down) this.#model.expire(this.clock.monotonic())
  }

  changed(): void {
    for (const node of this.#nodes) node.deliver()
  }
}

type Watcher = { revision: number; readonly seen: (view: View) => void }

class ModelNode {
  readonly #cluster: ModelCluster
  readonly #name: string
  readonly #leases: { [lease in LeaseName]?: string } = {}
  readonly #watchers = new Set<Watcher>()
  #grants = 0
  #held: PromiseWithResolvers<void> | undefined
  #closed = false

  constructor(cluster: ModelCluster, name: string) {
    this.#cluster = cluster
    this.#name = name
  }

  /** No answer comes any more, though requests are done. */
  hold(): void {
    this.#held = Promise.withResolvers()
  }

  /** What was not answered never is; from here on all is well. */
  cut(): void {
    this.#held?.resolve()
    this.#held = undefined
    this.deliver()
  }

  deliver(): void {
    if (this.#held !== undefined || this.#cluster.down) return
    for (const watcher of this.#watchers) {
      for (const view of this.#cluster.after(watcher.revision)) {
        watcher.revision = view.revision
        watcher.seen(view)
      }
    }
  }

  async #ask<T>(act: () => T): Promise<T | undefined> {
    if (this.#cluster.down || this.#closed) return undefined
    const result = act()
    if (this.#held === undefined) return result
    await Promise.race([this.#held.promise, this.#cluster.clock.sleep(TIMEOUT)])
    return undefined
  }

  readonly store: CoordinationStore = {
    grant: async (lease) => {
      const sentAt = this.#cluster.clock.monotonic()
      const id = `${this.#name}/${lease}/${++this.#grants}`
      const granted = await this.#ask(() => {
        this.#cluster.model.grant(id, this.#cluster.expiresAt)
        return id
      })
      if (granted === undefined) return { outcome: 'unknown', sentAt }
      this.#leases[lease] = granted
      return { outcome: 'granted', sentAt }
    },
    keep: async (lease) => {
      const sentAt = this.#cluster.clock.monotonic()
      const id = this.#leases[lease]
      const kept =
        id === undefined
          ? false
          : await this.#ask(() => this.#cluster.model.keep(id, this.#cluster.expiresAt))
      if (kept === undefined) return { outcome: 'unknown', sentAt }
      return { outcome: kept ? 'kept' : 'lost', sentAt }
    },
    transact: async (transaction: Transaction) => {
      const done = await this.#ask(() => this.#cluster.model.transact(transaction, this.#leases))
      if (done === undefined) return 'unknown'
      return done ? 'done' : 'refused'
    },
    read: () => this.#ask(() => this.#cluster.model.view()),
    watch: (seen) => {
      const watcher: Watcher = { revision: this.#cluster.model.revision - 1, seen }
      this.#watchers.add(watcher)
      this.deliver()
      return { close: async () => void this.#watchers.delete(watcher) }
    },
    close: async () => {
      this.#closed = true
      this.#watchers.clear()
      this.cut()
    },
  }
}
