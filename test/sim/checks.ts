// What may never be seen, whatever happens (cluster 7.6). Each check names its invariant when it fails.
import { type Copy, nodeOf, type Transaction, type View } from '#control-plane/coordination/keys.ts'
import type { Follower } from './follower.ts'
import { type Machine, START } from './machine.ts'
import type { World } from './world.ts'

export type Written = { readonly id: number; readonly epoch: number }

export class Violation extends Error {}

export class Checks {
  readonly #world: World
  #sync: View['sync']
  #leader: View['leader']
  #newest = 0
  #epoch = 0
  readonly #openedBy = new Map<number, string>()
  readonly #timelines = new Set<number>()
  /** What the Leader had that opened last. */
  #newestHeld: ReadonlySet<number> = new Set()
  acknowledgedIds: Written[] = []

  constructor(world: World) {
    this.#world = world
  }

  opened(node: string, epoch: number): void {
    const by = this.#openedBy.get(epoch)
    if (by !== undefined && by !== node) this.#fail('I1', `epoch ${epoch} is opened by ${node} after ${by}`)
    this.#openedBy.set(epoch, node)
    const machine = this.#world.machines.get(node)!
    // One that stood still when it was to open is refused everything that it does afterwards.
    if (epoch < this.#newest) return
    this.#newest = epoch
    const { evicted, reigns } = this.#world.store.view()
    if (isDr(machine) && reigns.get(epoch)!.how !== 'hand') this.#fail('I13', `${node} is a DR Standby`)
    if (evicted.has(node)) this.#fail('I11', `${node} was evicted and opens`)
    const held = new Set(machine.postgres.log.map(({ id }) => id))
    this.#newestHeld = held
    const lost = this.acknowledgedIds.find(({ id }) => !held.has(id))
    if (lost !== undefined)
      this.#fail('I2', `${node} opens epoch ${epoch} without write ${lost.id} of epoch ${lost.epoch}`)
  }

  /** No two histories may have one name. */
  began(node: string, timeline: number): void {
    if (this.#timelines.has(timeline)) this.#fail('I2', `${node} begins timeline ${timeline} anew`)
    this.#timelines.add(timeline)
  }

  /** Nothing but a primary that was promoted may write (I4). */
  started({ name, postgres }: Machine): void {
    if (postgres.primary) this.#fail('I4', `Postgres of ${name} starts read-write`)
  }

  /** What the store has done for a node. `before`: its view until then. */
  transacted({ name, openEpoch, postgres }: Machine, transaction: Transaction, before: View): void {
    const { leader } = before
    switch (transaction.name) {
      case 'resign':
      case 'handOver':
        if (leader?.node === name && openEpoch === leader.epoch)
          this.#fail('I1', `${name} gives away epoch ${leader.epoch} and has not closed`)
        break
      case 'rejoin': {
        const { log, disk } = this.#world.machines.get(leader!.node)!.postgres
        if (postgres.primary || openEpoch !== undefined) this.#fail('I11', `${name} rejoins and serves still`)
        // What is not there any more has nothing to show.
        if (disk !== leader!.disk) break
        if (postgres.end > log.length || postgres.log.at(-1)?.id !== log[postgres.end - 1]?.id)
          this.#fail('I11', `${name} rejoins with what ${leader!.node} has not`)
      }
    }
  }

  /** How the leadership went to another one. */
  #passed(before: View['reigns'], { epoch, reigns, evicted, pause }: View): void {
    const { node, how } = reigns.get(epoch)!
    const { schedule, store } = this.#world
    if (!store.hasMajority) this.#fail('I12', `${node} takes epoch ${epoch} from a store without a majority`)
    const old = before.get(epoch - 1)?.node ?? node
    if (old !== node && how !== 'switchover' && !evicted.has(old))
      this.#fail('I11', `${old} led before ${node} and is not out`)
    // Calendars are up to half a second wrong.
    const isPaused = pause !== undefined && pause.until > START + schedule.now + 500
    if (how === 'election' && isPaused)
      this.#fail('pause', `${node} takes epoch ${epoch} in a paused cluster`)
  }

  #reigns: View['reigns'] = new Map()

  /** What was said to be lost perhaps, when the leadership was taken, is nobody's any more. */
  #giveUp(): void {
    const view = this.#world.store.view()
    const { epoch, reigns } = view
    if (epoch === this.#epoch) return
    this.#epoch = epoch
    this.#passed(this.#reigns, view)
    this.#reigns = reigns
    const { node, possibleLoss } = reigns.get(epoch)!
    if (!possibleLoss) return
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
    const { reigns } = this.#world.store.view()
    if ([...reigns].some(([n, { possibleLoss }]) => n > epoch && possibleLoss)) return
    if (this.#newest > epoch && !this.#newestHeld.has(id))
      this.#fail('I2', `write ${id} of epoch ${epoch} is acknowledged, and epoch ${this.#newest} has it not`)
    this.acknowledgedIds.push(entry)
  }

  /** What is not there any more has nothing to show. */
  #has(copy: Copy, { id }: Written, position: number): boolean {
    const { postgres } = this.#world.machines.get(nodeOf(copy))!
    return postgres.copy !== copy || postgres.log[position - 1]?.id === id
  }

  /** A Follower is about to show it. `position`: in the log, from 1. */
  exposes({ name, epoch: heard }: Follower, id: number, position: number, epoch: number): void {
    if (epoch < heard) this.#fail('I8', `${name} takes from epoch ${epoch} after ${heard}`)
    const { sync } = this.#world.store.view()
    if (sync?.standby != null && !this.#has(sync.standby, { id, epoch }, position))
      this.#fail('I6', `${name} shows write ${id}, which ${sync.standby} has not`)
  }

  /** What a Follower has shown is not in the log of who leads. */
  parted({ name, epoch: heard }: Follower, leader: string, epoch: number): void {
    if (epoch < heard) this.#fail('I8', `${name} takes from epoch ${epoch} after ${heard}`)
    const { reigns } = this.#world.store.view()
    if (![...reigns].some(([n, { possibleLoss }]) => n > heard && n <= epoch && possibleLoss))
      this.#fail('I7', `${name} has shown what ${leader} has not in epoch ${epoch}`)
  }

  storeChanged(): void {
    this.#giveUp()
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

const isDr = ({ config }: Machine): boolean => config.members.find(({ name }) => name === config.node)!.dr
