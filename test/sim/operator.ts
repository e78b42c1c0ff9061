// What an operator does by the store: he reaches it when it answers, and everybody that runs.
import { type Transaction, transactions } from '#control-plane/coordination/keys.ts'
import { promoteByHand } from '#control-plane/failover/by-hand.ts'
import { wall } from '#shared/base/time.ts'
import { START } from './machine.ts'
import type { World } from './world.ts'

const order = (world: World, why: string, drill = false) => ({
  id: `order ${++world.orders}`,
  by: 'alice',
  why,
  drill,
})

const at = ({ schedule }: World, ms: number) => wall(START + Math.round(schedule.now) + ms)

const ask = ({ store }: World, transaction: Transaction): boolean =>
  store.answers && store.transact(transaction, {})

export function orderSwitchover(world: World, target: string | null, drill = false): boolean {
  const { epoch } = world.store.view()
  const until = at(world, 20_000)
  return ask(world, transactions.order({ ...order(world, 'a test', drill), epoch, target, until }))
}

export function pause(world: World, ms: number): boolean {
  return ask(world, transactions.pause({ by: 'alice', why: 'a test', until: at(world, ms) }))
}

export const resume = (world: World): boolean => ask(world, transactions.resume())

/** Everybody that is out. */
export function readmit(world: World): void {
  for (const [node, eviction] of world.store.view().evicted) ask(world, transactions.readmit(node, eviction))
}

/** Why it was refused; undefined: it was ordered. */
export function promote(world: World, node: string, acceptDataLoss: boolean): string | undefined {
  if (!world.store.answers) return 'the store does not answer'
  const view = world.store.view()
  const positions = [...world.machines.values()].map(({ name, config, up, stopped, postgres }) => {
    const { disk, timeline, end: received } = postgres
    const dr = config.members.find((member) => member.name === name)!.dr
    return { node: name, dr, held: up && !stopped ? { disk, timeline, received } : undefined }
  })
  const asked = {
    node,
    acceptDataLoss,
    order: order(world, 'a test'),
    now: at(world, 0),
    until: at(world, 10_000),
  }
  const decided = promoteByHand(asked, view, positions)
  if (decided.transaction === undefined) return decided.because
  return ask(world, decided.transaction) ? undefined : 'the store refused it'
}
