// How a node asks the coordination store: over a network that may lose the request or the answer.
import type { LeaseName, Transaction } from '#control-plane/coordination/keys.ts'
import type { EventBody, Machine } from './machine.ts'
import type { World } from './world.ts'

export const TTL = 5_000
export const STORE_TIMEOUT = 1_000

/** `act` runs at the store; undefined: nobody knows whether it did. */
function ask<T>(
  world: World,
  machine: Machine,
  act: () => T,
  then: (result: T | undefined) => EventBody | undefined,
): void {
  const { network, random, store, schedule, rough } = world
  const { name } = machine
  let answered = false
  const answer = (result: T | undefined): void => {
    if (answered) return
    answered = true
    const body = then(result)
    if (body !== undefined) world.tell(machine, body)
  }
  // Nobody waits for it any more, and it is done all the same.
  const isLate = random.next() < rough.lateRequest
  schedule.plan(isLate ? random.int(STORE_TIMEOUT, 9_000) : network.delay(STORE_TIMEOUT), () => {
    if (!store.answers || !network.reaches(name, 'store') || network.isLost()) return
    const result = act()
    if (network.reaches('store', name) && !network.isLost())
      world.later(machine, network.delay(STORE_TIMEOUT), () => answer(result))
  })
  world.later(machine, STORE_TIMEOUT, () => answer(undefined))
}

export function renew(world: World, machine: Machine, lease: LeaseName): void {
  const { store, schedule } = world
  const sentAt = machine.clock(schedule.now)
  const id = machine.leases[lease]
  ask(
    world,
    machine,
    () => {
      const expiresAt = schedule.now + TTL
      if (id !== undefined && store.keep(id, expiresAt)) return id
      if (lease === 'leader') return 'gone'
      return store.grant(`${machine.name}/${lease}/${store.nextGrant()}`, expiresAt)
    },
    (kept) => {
      if (kept === undefined) return undefined
      if (kept === 'gone') return { kind: 'leaseLost', lease }
      machine.leases[lease] = kept
      if (lease === 'leader') machine.safeUntil = safeFrom(machine, sentAt)
      return { kind: 'renewed', lease, sentAt }
    },
  )
}

const safeFrom = ({ config }: Machine, sentAt: number): number => sentAt + TTL - config.fenceMarginMs

export function transact(world: World, machine: Machine, transaction: Transaction): void {
  const { store, schedule, checks } = world
  const sentAt = machine.clock(schedule.now)
  const leader = `${machine.name}/leader/${store.nextGrant()}`
  const takes = transaction.name === 'take'
  // Those of the life that asks, though it may have ended when the request comes.
  const leases = takes ? { ...machine.leases, leader } : { ...machine.leases }
  ask(
    world,
    machine,
    () => {
      if (takes) store.grant(leader, schedule.now + TTL)
      const before = store.view()
      const ok = store.transact(transaction, leases)
      if (ok && takes) machine.leases.leader = leader
      if (ok) checks.transacted(machine, transaction, before)
      return ok
    },
    (ok) => {
      if (ok && takes) machine.safeUntil = safeFrom(machine, sentAt)
      return { kind: 'transacted', transaction, ok, sentAt }
    },
  )
}
