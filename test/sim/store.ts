// A model of the coordination store: keys with leases, transactions on conditions, one order of everything. It counts
// leases by its own clock from the moment it hears of them.
import {
  type Condition,
  type Entry,
  type Transaction,
  type View,
  viewOf,
} from '#control-plane/coordination/keys.ts'

type Held = { readonly value: string; readonly lease: string | undefined }

export class Store {
  readonly #keys = new Map<string, Held>()
  readonly #leases = new Map<string, number>()
  revision = 0
  onChange: () => void = () => undefined
  /** Of its three members, those that the others do not reach. */
  readonly away = new Set<number>()
  /** Broken on purpose: it answers without. */
  readonly #needsMajority: boolean
  #grants = 0

  constructor(needsMajority = true) {
    this.#needsMajority = needsMajority
  }

  get hasMajority(): boolean {
    return this.away.size < 2
  }

  get answers(): boolean {
    return this.hasMajority || !this.#needsMajority
  }

  heal(): void {
    this.away.clear()
  }

  nextGrant(): number {
    return ++this.#grants
  }

  /** Lease ids are `node/name/n`: every grant is a lease of its own. */
  grant(id: string, expiresAt: number): string {
    this.#leases.set(id, expiresAt)
    return id
  }

  /** False when it is gone. */
  keep(id: string, expiresAt: number): boolean {
    if (!this.#leases.has(id)) return false
    this.#leases.set(id, expiresAt)
    return true
  }

  expire(now: number): void {
    if (!this.answers) return
    for (const [id, expiresAt] of this.#leases) {
      if (expiresAt > now) continue
      this.#leases.delete(id)
      const gone = [...this.#keys].filter(([, { lease }]) => lease === id)
      for (const [key] of gone) this.#keys.delete(key)
      if (gone.length > 0) this.#changed()
    }
  }

  /** `leases`: of the writer, by name. */
  transact(
    { when, done, writes }: Transaction,
    leases: Readonly<Record<string, string | undefined>>,
  ): boolean {
    const holds = ({ key, equals }: Condition): boolean => this.#keys.get(key)?.value === equals
    if (!when.every(holds)) return done !== undefined && holds(done)
    const wanted = writes.flatMap((write) =>
      write.op === 'put' && write.lease !== undefined ? [leases[write.lease]] : [],
    )
    // A lease that is gone cannot hold a key.
    if (wanted.some((id) => id === undefined || !this.#leases.has(id))) return false
    for (const write of writes) {
      if (write.op === 'delete') this.#keys.delete(write.key)
      else this.#keys.set(write.key, { value: write.value, lease: write.lease && leases[write.lease] })
    }
    this.#changed()
    return true
  }

  #view: View | undefined

  view(): View {
    if (this.#view?.revision !== this.revision) {
      const entries: Entry[] = [...this.#keys].map(([key, { value }]) => ({ key, value }))
      this.#view = viewOf(entries, this.revision)
    }
    return this.#view!
  }

  #changed(): void {
    this.revision++
    this.onChange()
  }
}
