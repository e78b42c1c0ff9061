// A whole cluster in one process: the machine of every node, with modelled clocks, network, store and Postgres, and a
// client that writes wherever a node says that it leads.
import { begin, step as realStep } from '#control-plane/failover/step.ts'
import type { Config, Effect, Event, Node, Own, Step } from '#control-plane/failover/types.ts'
import { type Monotonic, monotonic } from '#shared/base/time.ts'
import type { Random } from '../support/random.ts'
import { Checks } from './checks.ts'
import { Postgres } from './postgres.ts'
import { Schedule } from './schedule.ts'
import { Store } from './store.ts'

export type Shape = {
  readonly names: readonly string[]
  readonly dr?: readonly string[]
  readonly config?: Partial<Config>
  /** Which part of the requests to the store is lost, and of the answers. */
  readonly loss?: number
  /** A variant that is broken on purpose. */
  readonly step?: (node: Node, event: Event) => Step
  /** What else may be broken on purpose: the API's look at its deadline, Postgres's wait. */
  readonly heedsDeadline?: boolean
  readonly waitsForSync?: boolean
}

const TTL = 5_000
const STORE_TIMEOUT = 1_000
const TICK = 100

type EventBody = Event extends infer E ? (E extends Event ? Omit<E, 'at'> : never) : never

/** One node's processes: gone when it crashes, unlike its Postgres's log. */
export class Machine {
  readonly name: string
  readonly config: Config
  node: Node
  postgres: Postgres
  /** Own clock: `offset + rate × real`. */
  readonly offset: number
  readonly rate: number
  up = true
  /** The supervisor hears and does nothing. */
  paused = false
  backlog: EventBody[] = []
  deadline = Number.NEGATIVE_INFINITY
  /** What the deadline may be at most, by what the store has answered. */
  safeUntil = Number.NEGATIVE_INFINITY
  openEpoch: number | undefined
  leases: Record<string, string | undefined> = {}
  life = 0

  constructor(config: Config, random: Random) {
    this.name = config.node
    this.config = config
    this.node = begin(config)
    this.postgres = new Postgres(config.node)
    this.offset = random.int(0, 1_000_000)
    this.rate = 0.99 + random.next() * 0.02
  }

  clock(now: number): Monotonic {
    return monotonic(this.offset + this.rate * now)
  }
}

export class World {
  readonly schedule = new Schedule()
  readonly store = new Store()
  readonly checks: Checks
  readonly machines: ReadonlyMap<string, Machine>
  readonly #random: Random
  readonly #step: (node: Node, event: Event) => Step
  readonly #heedsDeadline: boolean
  /** Of requests to the store, and of its answers, each. */
  #loss: number
  /** Pairs that cannot reach each other, `a b` in order; the store is `store`. */
  readonly #cut = new Set<string>()
  #lastId = 0
  #grants = 0

  constructor(random: Random, shape: Shape) {
    this.#random = random
    this.#step = shape.step ?? realStep
    this.#heedsDeadline = shape.heedsDeadline ?? true
    this.#loss = shape.loss ?? 0
    const members = shape.names.map((name) => ({ name, dr: shape.dr?.includes(name) ?? false, priority: 0 }))
    const base: Omit<Config, 'node'> = {
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
    this.machines = new Map(shape.names.map((name) => [name, new Machine({ ...base, node: name }, random)]))
    if (shape.waitsForSync === false)
      for (const { postgres } of this.machines.values()) postgres.waits = false
    this.checks = new Checks(this)
    this.store.onChange = () => this.#storeChanged()
    for (const machine of this.machines.values()) this.#start(machine)
    this.schedule.every(50, () => {
      this.store.expire(this.schedule.now)
      return true
    })
    this.schedule.every(20, () => {
      this.#stream()
      return true
    })
    this.schedule.every(40, () => {
      this.#write()
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
    machine.postgres.recover()
    machine.backlog = []
    machine.leases = {}
    machine.paused = false
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
    this.#tell(machine, { kind: 'tick' })
    for (const event of missed) this.#tell(machine, event)
  }

  cut(a: string, b: string): void {
    this.#cut.add(`${a} ${b}`)
    this.#cut.add(`${b} ${a}`)
  }

  mend(a: string, b: string): void {
    this.#cut.delete(`${a} ${b}`)
    this.#cut.delete(`${b} ${a}`)
  }

  /** Everything is mended: all nodes run, everybody reaches everybody, nothing is lost. */
  heal(): void {
    this.#loss = 0
    this.#cut.clear()
    for (const { name, paused } of this.machines.values()) {
      this.restart(name)
      if (paused) this.wake(name)
    }
  }

  reaches(a: string, b: string): boolean {
    return !this.#cut.has(`${a} ${b}`)
  }

  // The life of a node.

  #start(machine: Machine): void {
    const { life } = machine
    machine.leases.node = undefined
    this.schedule.every(TICK, () => {
      if (machine.life !== life) return false
      this.#tell(machine, { kind: 'tick' })
      return true
    })
    this.schedule.every(500, () => {
      if (machine.life !== life) return false
      this.#sendView(machine)
      return true
    })
  }

  #tell(machine: Machine, body: EventBody): void {
    if (!machine.up) return
    if (machine.paused) {
      if (body.kind !== 'tick') machine.backlog.push(body)
      return
    }
    const event = { ...body, at: machine.clock(this.schedule.now) } as Event
    const [node, effects] = this.#step(machine.node, event)
    machine.node = node
    for (const effect of effects) this.#perform(machine, effect)
  }

  /** Later, unless the node has died meanwhile. */
  #soon(machine: Machine, ms: number, body: () => EventBody): void {
    const { life } = machine
    this.schedule.plan(ms, () => {
      if (machine.life === life) this.#tell(machine, body())
    })
  }

  #perform(machine: Machine, effect: Effect): void {
    const { postgres } = machine
    switch (effect.kind) {
      case 'probe':
        this.#soon(machine, 5, () => ({ kind: 'probed', own: this.#ownOf(machine) }))
        break
      case 'renew':
        this.#renew(machine, effect.lease)
        break
      case 'transact':
        this.#transact(machine, effect)
        break
      case 'freeze':
        postgres.following = undefined
        this.#soon(machine, 20, () => ({
          kind: 'frozen',
          timeline: postgres.timeline,
          received: postgres.end,
        }))
        break
      case 'follow':
        if (!postgres.primary) postgres.following = effect.leader
        break
      case 'promote':
        this.#soon(machine, this.#random.int(100, 1_000), () => {
          postgres.promote(effect.above, ++this.#lastId)
          return { kind: 'promoted', timeline: postgres.timeline }
        })
        break
      case 'raiseEpoch':
        this.#soon(machine, 10, () => ({ kind: 'epochRaised', epoch: effect.epoch }))
        break
      case 'setSync':
        this.#soon(machine, 10, () => {
          postgres.setSync(effect.names)
          return { kind: 'syncSet', names: effect.names, end: postgres.end }
        })
        break
      case 'setDeadline':
        machine.deadline = effect.deadline
        break
      case 'open':
        machine.openEpoch = effect.epoch
        this.checks.opened(machine.name, effect.epoch)
        break
      case 'close':
        machine.openEpoch = undefined
        break
      case 'demote':
        this.#soon(machine, this.#random.int(200, 1_000), () => {
          postgres.recover()
          return { kind: 'demoted' }
        })
        break
    }
  }

  #ownOf({ postgres, name }: Machine): Own {
    const now = this.schedule.now
    const fresh = [...postgres.flushed].filter(([, { at }]) => now - at < 500)
    return {
      well: true,
      receiving: !postgres.primary && postgres.following !== undefined && now - postgres.heardAt < 500,
      replicas: new Map(fresh.filter(([other]) => other !== name).map(([other, { end }]) => [other, end])),
    }
  }

  // The store, over a network that may lose the request or the answer.

  /** Mostly short; now and then nearly as long as anybody waits. */
  #delay(): number {
    return this.#random.next() < 0.02 ? this.#random.int(100, STORE_TIMEOUT) : this.#random.int(1, 30)
  }

  #isLost(): boolean {
    return this.#random.next() < this.#loss
  }

  /** `act` runs at the store; undefined: nobody knows whether it did. */
  #ask<T>(machine: Machine, act: () => T, then: (result: T | undefined) => EventBody | undefined): void {
    const { life } = machine
    let answered = false
    const answer = (result: T | undefined): void => {
      if (answered || machine.life !== life) return
      answered = true
      const body = then(result)
      if (body !== undefined) this.#tell(machine, body)
    }
    this.schedule.plan(this.#delay(), () => {
      if (!this.reaches(machine.name, 'store') || this.#isLost()) return
      const result = act()
      this.schedule.plan(this.#delay(), () => {
        if (this.reaches(machine.name, 'store') && !this.#isLost()) answer(result)
      })
    })
    this.schedule.plan(STORE_TIMEOUT, () => answer(undefined))
  }

  #renew(machine: Machine, lease: 'node' | 'leader'): void {
    const sentAt = machine.clock(this.schedule.now)
    const id = machine.leases[lease]
    this.#ask(
      machine,
      () => {
        const expiresAt = this.schedule.now + TTL
        if (id !== undefined && this.store.keep(id, expiresAt)) return id
        if (lease === 'leader') return undefined
        const granted = `${machine.name}/${lease}/${++this.#grants}`
        this.store.grant(granted, expiresAt)
        return granted
      },
      (kept) => {
        if (kept === undefined) return undefined
        machine.leases[lease] = kept
        if (lease === 'leader') machine.safeUntil = sentAt + TTL - machine.config.fenceMarginMs
        return { kind: 'renewed', lease, sentAt }
      },
    )
  }

  #transact(machine: Machine, { transaction }: Extract<Effect, { kind: 'transact' }>): void {
    const sentAt = machine.clock(this.schedule.now)
    const leader = `${machine.name}/leader/${++this.#grants}`
    this.#ask(
      machine,
      () => {
        const takes = transaction.name === 'take'
        if (takes) this.store.grant(leader, this.schedule.now + TTL)
        const leases = takes ? { ...machine.leases, leader } : machine.leases
        const ok = this.store.transact(transaction, leases)
        if (ok && takes) machine.leases = leases
        return ok
      },
      (ok) => {
        if (ok && transaction.name === 'take') machine.safeUntil = sentAt + TTL - machine.config.fenceMarginMs
        return { kind: 'transacted', transaction, ok, sentAt }
      },
    )
  }

  #sendView(machine: Machine): void {
    const { life } = machine
    if (!this.reaches(machine.name, 'store')) return
    const view = this.store.view()
    this.schedule.plan(this.#delay(), () => {
      if (machine.life === life && this.reaches(machine.name, 'store'))
        this.#tell(machine, { kind: 'viewed', view })
    })
  }

  #storeChanged(): void {
    this.checks.storeChanged()
    for (const machine of this.machines.values()) if (machine.up) this.#sendView(machine)
  }

  // Postgres and its clients.

  #stream(): void {
    const { now } = this.schedule
    for (const { postgres: own, name, up } of this.machines.values()) {
      const source = own.following === undefined ? undefined : this.machines.get(own.following)!
      if (!up || own.primary || source === undefined || !source.up || !source.postgres.primary) continue
      if (!this.reaches(name, source.name)) continue
      const from = source.postgres
      if (!own.take(from, this.#random.int(1, 5))) {
        // Another history: copied anew, which takes its time.
        if (this.#random.next() < 0.01) own.copy(from)
        continue
      }
      own.heardAt = now
      const end = own.end
      const timeline = from.timeline
      this.schedule.plan(this.#delay(), () => {
        const still = from.primary && from.timeline === timeline && own.following === from.name
        if (still && source.up && this.reaches(name, source.name)) from.told(name, end, this.schedule.now)
      })
    }
  }

  #write(): void {
    for (const machine of this.machines.values()) {
      const epoch = machine.openEpoch
      if (epoch === undefined || !machine.up || this.#random.next() < 0.5) continue
      const { life, postgres } = machine
      const mayAnswer = (): boolean =>
        machine.life === life &&
        machine.openEpoch === epoch &&
        (!this.#heedsDeadline || machine.clock(this.schedule.now) < machine.deadline)
      if (!postgres.primary || !mayAnswer()) continue
      const entry = { id: ++this.#lastId, epoch }
      const position = postgres.end + 1
      postgres.write(entry, () => {
        if (mayAnswer()) this.checks.acknowledged(machine.name, entry, position)
      })
    }
  }
}
