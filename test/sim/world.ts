// A whole cluster in one process: the machine of every node, with modelled clocks, network, store and Postgres, and a
// client that writes wherever a node says that it leads.
import { begin, step as realStep } from '#control-plane/failover/step.ts'
import type { Config, Effect, Event, Node, Own, Step } from '#control-plane/failover/types.ts'
import type { Monotonic } from '#shared/base/time.ts'
import type { Random } from '../support/random.ts'
import { Checks } from './checks.ts'
import { type EventBody, Machine } from './machine.ts'
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
  /** A variant that is broken on purpose. */
  readonly step?: (node: Node, event: Event) => Step
  /** What else may be broken on purpose: the API's look at its deadline, Postgres's wait. */
  readonly heedsDeadline?: boolean
  readonly waitsForSync?: boolean
  readonly tellsDisks?: boolean
  readonly tellsTimelines?: boolean
}

const TTL = 5_000
const STORE_TIMEOUT = 1_000
const TICK = 100

export class World {
  readonly schedule = new Schedule()
  readonly store = new Store()
  readonly checks: Checks
  readonly machines: ReadonlyMap<string, Machine>
  readonly #random: Random
  readonly #step: (node: Node, event: Event) => Step
  readonly #heedsDeadline: boolean
  readonly #tellsTimelines: boolean
  #rough: Rough
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
    this.#tellsTimelines = shape.tellsTimelines ?? true
    this.#loss = shape.loss ?? 0
    this.#rough = shape.rough ?? SMOOTH
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
    for (const { postgres } of this.machines.values()) {
      postgres.waits = shape.waitsForSync ?? true
      postgres.tellsDisks = shape.tellsDisks ?? true
    }
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
    machine.stopped = false
    machine.asleep = []
    machine.busyUntil = 0
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
    this.#tell(machine, { kind: 'tick' })
    for (const act of missed) act()
  }

  lose(loss: number): void {
    this.#loss = loss
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

  /** What `a` says does not come to `b`. */
  cutOneWay(a: string, b: string): void {
    this.#cut.add(`${a} ${b}`)
  }

  mend(a: string, b: string): void {
    this.#cut.delete(`${a} ${b}`)
    this.#cut.delete(`${b} ${a}`)
  }

  /** Everything is mended: all nodes run, everybody reaches everybody, nothing is lost, late or slow. */
  heal(): void {
    this.#loss = 0
    this.#rough = SMOOTH
    this.#cut.clear()
    for (const { name, paused } of this.machines.values()) {
      this.restart(name)
      this.hang(name, false)
      this.go(name)
      if (paused) this.wake(name)
    }
  }

  reaches(a: string, b: string): boolean {
    return this.#cut.size === 0 || !this.#cut.has(`${a} ${b}`)
  }

  // The life of a node.

  #start(machine: Machine): void {
    const { life } = machine
    machine.leases.node = undefined
    this.schedule.every(TICK, () => {
      if (machine.life !== life) return false
      if (!machine.stopped) this.#tell(machine, { kind: 'tick' })
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

  /** Later, unless the node has died meanwhile; when it goes on, if it stands still. */
  #later(machine: Machine, ms: number, act: () => void): void {
    const { life } = machine
    const arrive = (): void => {
      if (machine.life !== life) return
      if (machine.stopped) machine.asleep.push(arrive)
      else act()
    }
    this.schedule.plan(ms, arrive)
  }

  #soon(machine: Machine, ms: number, body: () => EventBody): void {
    this.#later(machine, ms, () => this.#tell(machine, body()))
  }

  /** What is asked of Postgres: one after the other, now and then very slowly. */
  #hands(machine: Machine, usual: number, act: (ended: boolean) => EventBody | undefined): void {
    const { now } = this.schedule
    const { restarts } = machine
    const ms = this.#random.next() < this.#rough.slowHands ? this.#random.int(1_000, 9_000) : usual
    machine.busyUntil = Math.max(now, machine.busyUntil) + ms
    this.#later(machine, machine.busyUntil - now, () => {
      const body = act(machine.restarts !== restarts)
      if (body !== undefined) this.#tell(machine, body)
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
        this.#hands(machine, 20, () => this.#freeze(machine, effect.asked))
        break
      case 'follow':
        this.#hands(machine, 1, () => {
          if (!postgres.primary) postgres.following = effect.leader
          return undefined
        })
        break
      case 'promote':
        this.#hands(machine, this.#random.int(100, 1_000), (ended) => {
          if (ended || this.#random.next() < this.#rough.failedPromotion) return { kind: 'promotionFailed' }
          postgres.promote(this.#tellsTimelines ? effect.above : 0, ++this.#lastId)
          this.checks.began(machine.name, postgres.timeline)
          return { kind: 'promoted', timeline: postgres.timeline }
        })
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
      case 'open':
        machine.openEpoch = effect.epoch
        this.checks.opened(machine.name, effect.epoch)
        break
      case 'close':
        machine.openEpoch = undefined
        break
      case 'demote':
        this.#hands(machine, this.#random.int(200, 1_000), () => {
          postgres.recover()
          return { kind: 'demoted' }
        })
        break
    }
  }

  /** The answer may come later than what is asked next. */
  #freeze(machine: Machine, asked: Monotonic): undefined {
    const { postgres } = machine
    postgres.following = undefined
    const { disk, timeline, end: received } = postgres
    const body: EventBody = { kind: 'frozen', asked, disk, timeline, received }
    this.#soon(
      machine,
      this.#random.next() < this.#rough.slowHands ? this.#random.int(100, 6_000) : 0,
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
      replicas: new Map(fresh.map(([copy, { end }]) => [copy, end])),
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
    let answered = false
    const answer = (result: T | undefined): void => {
      if (answered) return
      answered = true
      const body = then(result)
      if (body !== undefined) this.#tell(machine, body)
    }
    // Nobody waits for it any more, and it is done all the same.
    const isLate = this.#random.next() < this.#rough.lateRequest
    this.schedule.plan(isLate ? this.#random.int(STORE_TIMEOUT, 9_000) : this.#delay(), () => {
      if (!this.reaches(machine.name, 'store') || this.#isLost()) return
      const result = act()
      if (this.reaches('store', machine.name) && !this.#isLost())
        this.#later(machine, this.#delay(), () => answer(result))
    })
    this.#later(machine, STORE_TIMEOUT, () => answer(undefined))
  }

  #renew(machine: Machine, lease: 'node' | 'leader'): void {
    const sentAt = machine.clock(this.schedule.now)
    const id = machine.leases[lease]
    this.#ask(
      machine,
      () => {
        const expiresAt = this.schedule.now + TTL
        if (id !== undefined && this.store.keep(id, expiresAt)) return id
        if (lease === 'leader') return 'gone'
        const granted = `${machine.name}/${lease}/${++this.#grants}`
        this.store.grant(granted, expiresAt)
        return granted
      },
      (kept) => {
        if (kept === undefined) return undefined
        if (kept === 'gone') return { kind: 'leaseLost', lease }
        machine.leases[lease] = kept
        if (lease === 'leader') machine.safeUntil = sentAt + TTL - machine.config.fenceMarginMs
        return { kind: 'renewed', lease, sentAt }
      },
    )
  }

  #transact(machine: Machine, { transaction }: Extract<Effect, { kind: 'transact' }>): void {
    const sentAt = machine.clock(this.schedule.now)
    const leader = `${machine.name}/leader/${++this.#grants}`
    const takes = transaction.name === 'take'
    // Those of the life that asks, though it may have ended when the request comes.
    const leases = takes ? { ...machine.leases, leader } : { ...machine.leases }
    this.#ask(
      machine,
      () => {
        if (takes) this.store.grant(leader, this.schedule.now + TTL)
        const ok = this.store.transact(transaction, leases)
        if (ok && takes) machine.leases.leader = leader
        return ok
      },
      (ok) => {
        if (ok && transaction.name === 'take') machine.safeUntil = sentAt + TTL - machine.config.fenceMarginMs
        return { kind: 'transacted', transaction, ok, sentAt }
      },
    )
  }

  #sendView(machine: Machine): void {
    if (!this.reaches('store', machine.name)) return
    const view = this.store.view()
    this.#soon(machine, this.#delay(), () => ({ kind: 'viewed', view }))
  }

  #storeChanged(): void {
    this.checks.storeChanged()
    for (const machine of this.machines.values()) if (machine.up) this.#sendView(machine)
  }

  // Postgres and its clients.

  #stream(): void {
    const { now } = this.schedule
    for (const { postgres: own, name, up, stopped } of this.machines.values()) {
      const source = own.following === undefined ? undefined : this.machines.get(own.following)!
      if (!up || stopped || own.primary || source === undefined) continue
      if (!source.up || source.stopped || !source.postgres.primary) continue
      if (!this.reaches(source.name, name)) continue
      const from = source.postgres
      if (!own.take(from, own.hangs ? 0 : this.#random.int(1, 5))) {
        // Another history: copied anew, which takes its time.
        if (this.#random.next() < 0.01) own.empty()
        continue
      }
      own.heardAt = now
      if (!this.reaches(name, source.name)) continue
      const { copy, end } = own
      const { timeline } = from
      this.#later(source, this.#delay(), () => {
        const still = from.primary && from.timeline === timeline && own.following === from.name
        if (still) from.told(copy, end, this.schedule.now)
      })
    }
  }

  #write(): void {
    for (const machine of this.machines.values()) {
      const epoch = machine.openEpoch
      if (epoch === undefined || !machine.up || machine.stopped || this.#random.next() < 0.5) continue
      const { life, postgres } = machine
      const mayAnswer = (): boolean =>
        machine.life === life &&
        machine.openEpoch === epoch &&
        (!this.#heedsDeadline || machine.clock(this.schedule.now) < machine.deadline)
      if (!postgres.primary || !mayAnswer()) continue
      const entry = { id: ++this.#lastId, epoch }
      const position = postgres.end + 1
      postgres.write(entry, () => {
        if (!mayAnswer()) return
        this.checks.mayAcknowledge(machine.name, entry, position)
        const leaves = (): void => this.checks.acknowledged(entry)
        if (this.#random.next() < this.#rough.lateAnswer)
          this.#later(machine, this.#random.int(1, 50), leaves)
        else leaves()
      })
    }
  }
}
