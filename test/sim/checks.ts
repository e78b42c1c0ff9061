// What may never be seen, whatever happens (cluster 7.6). Each check names its invariant when it fails.
import type { View } from '#control-plane/coordination/keys.ts'
import type { World } from './world.ts'

export type Written = { readonly id: number; readonly epoch: number }

export class Violation extends Error {}

export class Checks {
  readonly #world: World
  #sync: View['sync']
  #newest = 0
  readonly #openedAt = new Map<number, number>()
  acknowledgedIds: Written[] = []

  constructor(world: World) {
    this.#world = world
  }

  opened(node: string, epoch: number): void {
    const { machines, schedule } = this.#world
    if (this.#openedAt.has(epoch)) this.#fail('I1', `epoch ${epoch} opened twice, now at ${node}`)
    this.#openedAt.set(epoch, schedule.now)
    this.#newest = Math.max(this.#newest, epoch)
    const machine = machines.get(node)!
    if (machine.config.members.find(({ name }) => name === node)!.dr)
      this.#fail('I13', `${node} is a DR Standby`)
    const { evicted, reigns } = this.#world.store.view()
    if (evicted.has(node)) this.#fail('I11', `${node} was evicted and opens`)
    const held = new Set(machine.postgres.log.map(({ id }) => id))
    // What was said to be lost perhaps is nobody's any more.
    if (reigns.get(epoch)!.possibleLoss)
      this.acknowledgedIds = this.acknowledgedIds.filter(({ id }) => held.has(id))
    const lost = this.acknowledgedIds.find(({ id }) => !held.has(id))
    if (lost !== undefined)
      this.#fail('I2', `${node} opens epoch ${epoch} without write ${lost.id} of epoch ${lost.epoch}`)
  }

  /** `position`: of the entry in the log, from 1. */
  acknowledged(node: string, entry: Written, position: number): void {
    if (this.#newest > entry.epoch)
      this.#fail('I1', `${node} acknowledges in epoch ${entry.epoch} after epoch ${this.#newest} has opened`)
    const view = this.#world.store.view()
    if (view.evicted.has(node)) this.#fail('I11', `${node} acknowledges and was evicted`)
    const machine = this.#world.machines.get(node)!
    if (machine.clock(this.#world.schedule.now) >= machine.safeUntil)
      this.#fail('I3', `${node} acknowledges after its deadline`)
    this.acknowledgedIds.push(entry)
    const { sync } = view
    if (sync?.standby != null && !this.#has(sync.standby, entry, position))
      this.#fail('I5', `${sync.standby} is named and has not write ${entry.id}`)
  }

  #has(node: string, { id }: Written, position: number): boolean {
    return this.#world.machines.get(node)!.postgres.log[position - 1]?.id === id
  }

  storeChanged(): void {
    const { sync } = this.#world.store.view()
    if (sync === this.#sync) return
    this.#sync = sync
    this.#syncHasAll()
  }

  /** Of the epoch that the store is in: an older record is superseded when the Leader of a newer one opens. */
  #syncHasAll(): void {
    const { sync } = this.#world.store.view()
    if (sync?.standby == null) return
    const { log } = this.#world.machines.get(sync.standby)!.postgres
    const held = new Set(log.map(({ id }) => id))
    const missing = this.acknowledgedIds.find(({ id, epoch }) => epoch <= sync.epoch && !held.has(id))
    if (missing !== undefined) this.#fail('I5', `${sync.standby} is named and has not write ${missing.id}`)
  }

  #fail(invariant: string, what: string): never {
    throw new Violation(`${invariant} at ${Math.round(this.#world.schedule.now)} ms: ${what}`)
  }
}
