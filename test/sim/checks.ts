// What may never be seen, whatever happens (cluster 7.6). Each check names its invariant when it fails.
import { type Copy, nodeOf, type View } from '#control-plane/coordination/keys.ts'
import type { World } from './world.ts'

export type Written = { readonly id: number; readonly epoch: number }

export class Violation extends Error {}

export class Checks {
  readonly #world: World
  #sync: View['sync']
  #leader: View['leader']
  #newest = 0
  readonly #openedAt = new Map<number, number>()
  readonly #timelines = new Set<number>()
  /** What the Leader had that opened last. */
  #newestHeld: ReadonlySet<number> = new Set()
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
    const before = reigns.get(epoch - 1)?.node ?? node
    if (before !== node && !evicted.has(before)) this.#fail('I11', `${before} led before and is not out`)
    const held = new Set(machine.postgres.log.map(({ id }) => id))
    this.#newestHeld = held
    this.#giveUp(node)
    const lost = this.acknowledgedIds.find(({ id }) => !held.has(id))
    if (lost !== undefined)
      this.#fail('I2', `${node} opens epoch ${epoch} without write ${lost.id} of epoch ${lost.epoch}`)
  }

  /** No two histories may have one name. */
  began(node: string, timeline: number): void {
    if (this.#timelines.has(timeline)) this.#fail('I2', `${node} begins timeline ${timeline} anew`)
    this.#timelines.add(timeline)
    this.#giveUp(node)
  }

  /** What was said to be lost perhaps is nobody's any more. */
  #giveUp(node: string): void {
    const { epoch, reigns } = this.#world.store.view()
    const reign = reigns.get(epoch)
    if (reign?.node !== node || !reign.possibleLoss) return
    const held = new Set(this.#world.machines.get(node)!.postgres.log.map(({ id }) => id))
    this.acknowledgedIds = this.acknowledgedIds.filter(({ id }) => held.has(id))
  }

  /**
   * The last look before an answer goes. The answer itself may leave later, when the node stands still in between: what it
   * says is true all the same, because the write is with whoever leads by then (`acknowledged`).
   * `position`: of the entry in the log, from 1.
   */
  mayAcknowledge(node: string, entry: Written, position: number): void {
    if (this.#newest > entry.epoch)
      this.#fail('I1', `${node} acknowledges in epoch ${entry.epoch} after epoch ${this.#newest} has opened`)
    const view = this.#world.store.view()
    if (view.evicted.has(node)) this.#fail('I11', `${node} acknowledges and was evicted`)
    const machine = this.#world.machines.get(node)!
    if (machine.clock(this.#world.schedule.now) >= machine.safeUntil)
      this.#fail('I3', `${node} acknowledges after its deadline`)
    const { sync } = view
    if (sync?.standby != null && !this.#has(sync.standby, entry, position))
      this.#fail('I5', `${sync.standby} is named and has not write ${entry.id}`)
  }

  acknowledged(entry: Written): void {
    const { id, epoch } = entry
    if (this.#newest > epoch && !this.#newestHeld.has(id)) {
      const { reigns } = this.#world.store.view()
      const lossy = [...reigns].some(([n, { possibleLoss }]) => n > epoch && possibleLoss)
      if (lossy) return
      this.#fail('I2', `write ${id} of epoch ${epoch} is acknowledged, and epoch ${this.#newest} has it not`)
    }
    this.acknowledgedIds.push(entry)
  }

  /** What is not there any more has nothing to show. */
  #has(copy: Copy, { id }: Written, position: number): boolean {
    const { postgres } = this.#world.machines.get(nodeOf(copy))!
    return postgres.copy !== copy || postgres.log[position - 1]?.id === id
  }

  storeChanged(): void {
    const { sync, leader } = this.#world.store.view()
    const before = this.#leader
    if (before !== undefined && leader !== undefined && before.epoch !== leader.epoch)
      this.#fail('I1', `${leader.node} takes the leadership from ${before.node}, whose lease is alive`)
    this.#leader = leader
    if (sync === this.#sync) return
    this.#sync = sync
    this.#syncHasAll()
  }

  /** Of the epoch that the store is in: an older record is superseded when the Leader of a newer one opens. */
  #syncHasAll(): void {
    const { sync } = this.#world.store.view()
    if (sync?.standby == null) return
    const { log, copy } = this.#world.machines.get(nodeOf(sync.standby))!.postgres
    if (copy !== sync.standby) return
    const held = new Set(log.map(({ id }) => id))
    const missing = this.acknowledgedIds.find(({ id, epoch }) => epoch <= sync.epoch && !held.has(id))
    if (missing !== undefined) this.#fail('I5', `${sync.standby} is named and has not write ${missing.id}`)
  }

  #fail(invariant: string, what: string): never {
    throw new Violation(`${invariant} at ${Math.round(this.#world.schedule.now)} ms: ${what}`)
  }
}
