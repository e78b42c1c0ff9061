// A whole cluster in one process: the machine of every node, with modelled clocks, network, store and Postgres, and a
// client that writes wherever a node says that it leads.

import type { Appointment } from '#control-plane/coordination/orders.ts'
import { begin, step as realStep } from '#control-plane/failover/step.ts'
import type { Config, Effect, Event, Node, Own, Step } from '#control-plane/failover/types.ts'
import { unreachable } from '#shared/base/assert.ts'
import type { Monotonic } from '#shared/base/time.ts'
import type { Random } from '../support/random.ts'
import { renew, STORE_TIMEOUT, TTL, transact } from './ask-store.ts'
import { Checks } from './checks.ts'
import { Follower } from './follower.ts'
import { type EventBody, Machine } from './machine.ts'
import { Network } from './network.ts'
import { Schedule } from './schedule.ts'
import { Store } from './store.ts'

/** Of what a node asks of Postgres and of the store and answers its clients, which part is slow, late or fails. */
type Rough = {
  readonly slowHands: number
  readonly failedPromotion: number
  readonly lateRequest: number
  readonly lateAnswer: number
}

export const ROUGH: Rough = { slowHands: 0.02, failedPromotion: 0.03, lateRequest: 0.01, lateAnswer: 0.01 }

const SMOOTH: Rough = { slowHands: 0, failedPromotion: 0, lateRequest: 0, lateAnswer: 0 }

export type Shape = {
  readonly names: readonly string[]
  readonly dr?: readonly string[]
  readonly config?: Partial<Config>
  /** Which part of the requests to the store is lost, and of the answers. */
  readonly loss?: number
  readonly rough?: Rough
  /** Which part of what happens is what people do, rather than misfortune. */
  readonly orders?: number
  /** A variant that is broken on purpose. */
  readonly step?: (node: Node, event: Event) => Step
  /** What else may be broken on purpose: the API's look at its deadline, Postgres's wait. */
  readonly heedsDeadline?: boolean
  readonly waitsForSync?: boolean
  readonly tellsDisks?: boolean
  readonly tellsTimelines?: boolean
  readonly startsInRecovery?: boolean
  readonly followersHeedEpoch?: boolean
  readonly followersHeedRelease?: boolean
  readonly storeNeedsMajority?: boolean
  /** What befalls a cluster as soon as somebody is appointed. */
  readonly whenAppointed?: (world: World, appointment: Appointment) => void
  /** Sees every step. */
  readonly seen?: (
    machine: Machine,
    before: Node,
    event: Event,
    after: Node,
    effects: readonly Effect[],
  ) => void
}

const TICK = 100

export class World {
  readonly schedule = new Schedule()
  readonly store: Store
  readonly network: Network
  readonly checks: Checks
  readonly machines: ReadonlyMap<string, Machine>
  readonly followers: readonly Follower[]
  readonly random: Random
  rough: Rough
  readonly #shape: Shape
  readonly #step: (node: Node, event: Event) => Step
  /** How many were given. */
  orders = 0
  #lastId = 0

  constructor(random: Random, shape: Shape) {
    this.random = random
    this.#shape = shape
    this.#step = shape.step ?? realStep
    this.network = new Network(random, shape.loss ?? 0)
    this.rough = shape.rough ?? SMOOTH
    this.store = new Store(shape.storeNeedsMajority ?? true)
    this.machines = machinesOf(random, shape)
    this.checks = new Checks(this)
    this.followers = ['f', 'g'].map((name) => new Follower(name, random, this.checks))
    for (const follower of this.followers) {
      follower.heedsEpoch = shape.followersHeedEpoch ?? true
      follower.heedsRelease = shape.followersHeedRelease ?? true
    }
    this.store.onChange = () => this.#storeChanged()
    for (const machine of this.machines.values()) this.#start(machine)
    this.#every(50, () => this.store.expire(this.schedule.now))
    this.#every(20, () => this.#stream())
    this.#every(40, () => this.#write())
    this.#every(60, () => {
      const open = [...this.machines.values()].filter((one) => one.openEpoch !== undefined && isUp(one))
      for (const follower of this.followers) follower.take(open)
    })
  }

  #every(ms: number, act: () => void): void {
    this.schedule.every(ms, () => {
      act()
      return true
    })
  }

  run(ms: number): void {
    this.schedule.runUntil(this.schedule.now + ms)
  }

  get leader(): Machine | undefined {
    return [...this.machines.values()].find((machine) => machine.up && machine.openEpoch !== undefined)
  }

  // Faults.

  /** All processes of a node die; what its Postgres has flushed stays. */
  crash(name: string): void {
    const machine = this.machines.get(name)!
    machine.up = false
    machine.life++
    machine.openEpoch = undefined
    machine.drains = false
    if (this.#shape.startsInRecovery ?? true) machine.postgres.recover()
    machine.backlog = []
    machine.leases = {}
    machine.paused = false
    machine.stopped = false
    machine.asleep = []
    machine.busyUntil = 0
    machine.doorBusyUntil = 0
  }

  /** It dies, and its disk with it. */
  loseDisk(name: string): void {
    this.crash(name)
    this.machines.get(name)!.postgres.empty()
  }

  /** Postgres alone ends, and comes back in recovery. */
  endPostgres(name: string): void {
    const machine = this.machines.get(name)!
    if (!machine.up) return
    machine.postgres.recover()
    machine.restarts++
    this.#soon(machine, 50, () => ({ kind: 'stopped' }))
  }

  hang(name: string, hangs: boolean): void {
    this.machines.get(name)!.postgres.hangs = hangs
  }

  /** Supervisor, API and Postgres stand still together. */
  stop(name: string): void {
    const machine = this.machines.get(name)!
    if (machine.up) machine.stopped = true
  }

  go(name: string): void {
    const machine = this.machines.get(name)!
    if (!machine.stopped) return
    machine.stopped = false
    const missed = machine.asleep
    machine.asleep = []
    // Timers come before messages, and answers that were on their way out before both or after.
    this.#tick(machine)
    for (const act of missed) act()
  }

  restart(name: string): void {
    const machine = this.machines.get(name)!
    if (machine.up) return
    machine.up = true
    machine.life++
    machine.node = begin(machine.config)
    machine.deadline = Number.NEGATIVE_INFINITY
    this.#start(machine)
  }

  pause(name: string): void {
    this.machines.get(name)!.paused = true
  }

  wake(name: string): void {
    const machine = this.machines.get(name)!
    machine.paused = false
    const missed = machine.backlog
    machine.backlog = []
    // Its clock wakes it before it reads what has come.
    this.#tick(machine)
    for (const event of missed) this.tell(machine, event)
  }

  /** Everything is mended: all nodes run, everybody reaches everybody, nothing is lost, late or slow. */
  heal(): void {
    this.rough = SMOOTH
    this.network.heal()
    this.store.heal()
    for (const { name, paused } of this.machines.values()) {
      this.restart(name)
      this.hang(name, false)
      this.go(name)
      if (paused) this.wake(name)
    }
  }

  // The life of a node.

  #start(machine: Machine): void {
    const { life } = machine
    machine.leases.node = undefined
    this.checks.started(machine)
    this.schedule.every(TICK, () => {
      if (machine.life !== life) return false
      if (!machine.stopped) this.#tick(machine)
      return true
    })
    this.schedule.every(500, () => {
      if (machine.life !== life) return false
      this.#sendView(machine)
      return true
    })
  }

  #tick(machine: Machine): void {
    this.tell(machine, { kind: 'tick', wall: machine.calendar(this.schedule.now) })
  }

  tell(machine: Machine, body: EventBody): void {
    if (!machine.up) return
    if (machine.paused) {
      if (body.kind !== 'tick') machine.backlog.push(body)
      return
    }
    const event = { ...body, at: machine.clock(this.schedule.now) } as Event
    const before = machine.node
    const [node, effects] = this.#step(before, event)
    machine.node = node
    this.#shape.seen?.(machine, before, event, node, effects)
    for (const effect of effects) this.#perform(machine, effect)
  }

  /** Later, unless the node has died meanwhile; when it goes on, if it stands still. */
  later(machine: Machine, ms: number, act: () => void): void {
    const { life } = machine
    const arrive = (): void => {
      if (machine.life !== life) return
      if (machine.stopped) machine.asleep.push(arrive)
      else act()
    }
    this.schedule.plan(ms, arrive)
  }

  #soon(machine: Machine, ms: number, body: () => EventBody): void {
    this.later(machine, ms, () => this.tell(machine, body()))
  }

  /** What is asked of Postgres: one after the other, now and then very slowly. */
  #hands(machine: Machine, usual: number, act: (ended: boolean) => EventBody | undefined): void {
    const { now } = this.schedule
    const { restarts } = machine
    const ms = this.random.next() < this.rough.slowHands ? this.random.int(1_000, 9_000) : usual
    machine.busyUntil = Math.max(now, machine.busyUntil) + ms
    this.later(machine, machine.busyUntil - now, () => {
      const body = act(machine.restarts !== restarts)
      if (body !== undefined) this.tell(machine, body)
    })
  }

  /** What is asked of its API: one after the other, now and then slowly. */
  #door(machine: Machine, act: () => EventBody | undefined): void {
    const { now } = this.schedule
    const ms = this.random.next() < this.rough.slowHands ? this.random.int(500, 4_000) : 5
    machine.doorBusyUntil = Math.max(now, machine.doorBusyUntil) + ms
    this.later(machine, machine.doorBusyUntil - now, () => {
      const body = act()
      if (body !== undefined) this.tell(machine, body)
    })
  }

  #perform(machine: Machine, effect: Effect): void {
    const { postgres } = machine
    switch (effect.kind) {
      case 'probe':
        this.#soon(machine, 5, () => ({ kind: 'probed', own: this.#ownOf(machine) }))
        break
      case 'renew':
        renew(this, machine, effect.lease)
        break
      case 'transact':
        transact(this, machine, effect.transaction)
        break
      case 'freeze':
        this.#hands(machine, 20, () => this.#freeze(machine, effect.asked))
        break
      case 'follow':
        this.#hands(machine, 1, () => {
          if (!postgres.primary) postgres.following = effect.leader
          return undefined
        })
        break
      case 'promote':
        this.#hands(machine, this.random.int(100, 1_000), (ended) =>
          this.#promote(machine, effect.above, ended),
        )
        break
      case 'raiseEpoch':
        this.#soon(machine, 10, () => ({ kind: 'epochRaised', epoch: effect.epoch }))
        break
      case 'setSync':
        this.#hands(machine, 10, () => {
          postgres.setSync(effect.names)
          return { kind: 'syncSet', names: effect.names, end: postgres.end }
        })
        break
      case 'setDeadline':
        machine.deadline = effect.deadline
        break
      case 'prepare':
        break
      case 'open':
        this.#door(machine, () => this.#open(machine, effect.epoch))
        break
      case 'drain':
        this.#door(machine, () => this.#drain(machine, effect.asked))
        break
      case 'close':
        this.#door(machine, () => {
          machine.openEpoch = undefined
          return { kind: 'closed', asked: effect.asked }
        })
        break
      case 'demote':
        this.#hands(machine, this.random.int(200, 1_000), () => {
          postgres.recover()
          return { kind: 'demoted' }
        })
        break
      default:
        unreachable(effect)
    }
  }

  /** Who stood still between being told and doing it opens nothing any more. */
  #open(machine: Machine, epoch: number): undefined {
    if (!this.#isInTime(machine)) return
    machine.openEpoch = epoch
    machine.openings++
    machine.drains = false
    this.checks.opened(machine.name, epoch)
  }

  #drain(machine: Machine, asked: Monotonic): undefined {
    machine.drains = true
    const { openings } = machine
    const look = (): void => {
      if (machine.openings !== openings || machine.openEpoch === undefined) return
      if (machine.postgres.isWaitedFor) this.later(machine, 20, look)
      else this.tell(machine, { kind: 'drained', asked })
    }
    look()
  }

  #promote(machine: Machine, above: number, ended: boolean): EventBody {
    const { postgres, name } = machine
    if (ended || !postgres.promotes || this.random.next() < this.rough.failedPromotion)
      return { kind: 'promotionFailed' }
    const fork = postgres.end
    postgres.promote((this.#shape.tellsTimelines ?? true) ? above : 0, ++this.#lastId)
    this.checks.began(name, postgres.timeline)
    return { kind: 'promoted', timeline: postgres.timeline, fork }
  }

  /** The answer may come later than what is asked next. */
  #freeze(machine: Machine, asked: Monotonic): undefined {
    const { postgres } = machine
    postgres.following = undefined
    const { disk, timeline, end: received } = postgres
    const body: EventBody = { kind: 'frozen', asked, disk, timeline, received }
    this.#soon(
      machine,
      this.random.next() < this.rough.slowHands ? this.random.int(100, 6_000) : 0,
      () => body,
    )
  }

  #ownOf({ postgres }: Machine): Own {
    const now = this.schedule.now
    const fresh = [...postgres.flushed].filter(([, { at }]) => now - at < 500)
    return {
      well: true,
      receiving: !postgres.primary && postgres.following !== undefined && now - postgres.heardAt < 500,
      end: postgres.end,
      busy: false,
      replicas: new Map(fresh.map(([copy, { end }]) => [copy, end])),
    }
  }

  #sendView(machine: Machine): void {
    if (!this.store.answers || !this.network.reaches('store', machine.name)) return
    const view = this.store.view()
    this.#soon(machine, this.network.delay(STORE_TIMEOUT), () => ({ kind: 'viewed', view }))
  }

  /** By which order somebody is. */
  #appointed: string | undefined

  #storeChanged(): void {
    this.checks.storeChanged()
    const { appointment } = this.store.view()
    if (appointment !== undefined && appointment.order.id !== this.#appointed)
      this.schedule.plan(1, () => this.#shape.whenAppointed?.(this, appointment))
    this.#appointed = appointment?.order.id
    for (const machine of this.machines.values()) if (machine.up) this.#sendView(machine)
  }

  // Postgres and its clients.

  #stream(): void {
    const { now } = this.schedule
    for (const { postgres: own, name, up, stopped } of this.machines.values()) {
      const source = own.following === undefined ? undefined : this.machines.get(own.following)!
      if (!up || stopped || own.primary || source === undefined) continue
      if (!source.up || source.stopped || !source.postgres.primary) continue
      if (!this.network.reaches(source.name, name)) continue
      const from = source.postgres
      if (!own.take(from, own.hangs ? 0 : this.random.int(1, 5))) {
        // Another history: copied anew, which takes its time.
        if (this.random.next() < 0.01) own.empty()
        continue
      }
      own.heardAt = now
      if (!this.network.reaches(name, source.name)) continue
      const { copy, end } = own
      const { timeline } = from
      this.later(source, this.network.delay(STORE_TIMEOUT), () => {
        const still = from.primary && from.timeline === timeline && own.following === from.name
        if (still) from.told(copy, end, this.schedule.now)
      })
    }
  }

  /** As its API sees it. */
  #isInTime(machine: Machine): boolean {
    return this.#shape.heedsDeadline === false || machine.clock(this.schedule.now) < machine.deadline
  }

  #write(): void {
    for (const machine of this.machines.values()) {
      const { openEpoch: epoch, life, openings, postgres } = machine
      if (epoch === undefined || !isUp(machine) || machine.drains || this.random.next() < 0.5) continue
      const mayAnswer = (): boolean =>
        machine.life === life &&
        machine.openings === openings &&
        machine.openEpoch === epoch &&
        this.#isInTime(machine)
      if (!postgres.primary || !mayAnswer()) continue
      const entry = { id: ++this.#lastId, epoch }
      const position = postgres.end + 1
      postgres.write(entry, () => {
        if (!mayAnswer()) return
        this.checks.mayAcknowledge(machine.name, entry, position)
        const leaves = (): void => this.checks.acknowledged(entry)
        if (this.random.next() < this.rough.lateAnswer) this.later(machine, this.random.int(1, 50), leaves)
        else leaves()
      })
    }
  }
}

const isUp = ({ up, stopped }: Machine): boolean => up && !stopped

function machinesOf(random: Random, shape: Shape): ReadonlyMap<string, Machine> {
  const members = shape.names.map((name) => ({ name, dr: shape.dr?.includes(name) ?? false, priority: 0 }))
  const config: Omit<Config, 'node'> = {
    members,
    first: shape.names[0]!,
    ttlMs: TTL,
    fenceMarginMs: 2_000,
    renewEveryMs: TTL / 3 - 700,
    raceBackoffMs: TTL / 3,
    electionWindowMs: 1_000,
    syncGraceMs: 1_500,
    syncRequired: true,
    mode: 'safe',
    ...shape.config,
  }
  const machines = new Map(shape.names.map((name) => [name, new Machine({ ...config, node: name }, random)]))
  for (const { postgres } of machines.values()) {
    postgres.waits = shape.waitsForSync ?? true
    postgres.tellsDisks = shape.tellsDisks ?? true
  }
  return machines
}
