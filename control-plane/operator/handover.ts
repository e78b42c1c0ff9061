// An operator's order to hand over, and what became of it (cluster 8): a switchover, or a drill of one.
import { wall } from '#shared/base/time.ts'
import { transactions, type View, withNote } from '../coordination/keys.ts'
import type { FailoverRecord, Note, Switchover } from '../coordination/orders.ts'
import type { Config } from '../failover/types.ts'
import { type Asking, awaited, transacted, viewNow } from './asking.ts'
import { mustBeMember } from './member.ts'
import { Refusal } from './refusal.ts'

export type HandoverAsked = {
  readonly by: string
  readonly why: string
  /** Undefined: whoever has the sync duty. */
  readonly to?: string | undefined
}

/** Who leads now. `record` null: it led already, and nothing was done. */
export type HandedOver = { readonly leader: string; readonly record: FailoverRecord | null }

export type Drilled = { readonly there: HandedOver; readonly back: HandedOver | null }

type Options = Asking & { readonly config: Config }

/** When the Leader has not begun by then, it does not any more. */
const VALID_MS = 30_000
/** Preparing, draining, levelling, taking and promoting have bounds of their own, which add up to less. */
const OUTCOME_WITHIN_MS = 60_000

/** Resolves when the new Leader serves. Errors: refusals with what to do. */
export async function switchover(
  options: Options,
  asked: HandoverAsked,
  signal: AbortSignal,
): Promise<HandedOver> {
  const view = await viewNow(options)
  if (asked.to !== undefined && view.leader?.node === asked.to) return { leader: asked.to, record: null }
  return handOver(options, view, asked, false, signal)
}

async function handOver(
  options: Options,
  view: View,
  asked: HandoverAsked,
  drill: boolean,
  signal: AbortSignal,
): Promise<HandedOver> {
  mustBePossible(options.config, view, asked)
  const order: Switchover = {
    id: crypto.randomUUID(),
    by: asked.by,
    why: asked.why,
    drill,
    epoch: view.epoch,
    target: asked.to ?? null,
    until: wall(options.clock.wall() + VALID_MS),
  }
  const note: Note = {
    id: order.id,
    operation: 'switchover',
    by: order.by,
    node: order.target,
    why: order.drill ? `drill: ${order.why}` : order.why,
    at: options.clock.wall(),
  }
  if (!(await transacted(options, withNote(transactions.order(order), note))))
    throw new Refusal(
      'changed',
      'the Leader changed meanwhile, or there is another order: look at "cluster status"',
    )
  const outcome = await awaited(options, OUTCOME_WITHIN_MS, signal, (now) => outcomeOf(order, now))
  if (outcome === undefined)
    throw new Refusal('not_in_time', 'what becomes of the order is not known yet: look at "cluster status"')
  if (!('because' in outcome)) return outcome
  const failed = { ...note, id: crypto.randomUUID(), at: options.clock.wall(), error: outcome.because }
  await transacted(options, transactions.note(failed))
  throw new Refusal('not_done', `it was not handed over: ${outcome.because}`)
}

/** Undefined: it is under way. */
export function outcomeOf(
  { id }: Switchover,
  { reigns, switched }: View,
): HandedOver | { readonly because: string } | undefined {
  const record = [...reigns.values()].find((reign) => reign.record?.order?.id === id)?.record
  if (record !== undefined) return { leader: record.leader.node, record }
  return switched?.order.id === id && !switched.done ? { because: switched.because } : undefined
}

/** What is known before it is tried; the Leader looks again. */
export function mustBePossible(config: Config, view: View, { to }: HandoverAsked): void {
  const { leader, switchover: other, evicted, present } = view
  if (leader === undefined)
    throw new Refusal('no_leader', 'nobody leads, so nobody can hand over: "cluster status" says why')
  if (other !== undefined)
    throw new Refusal('busy', `${other.by} has ordered a switchover that is not over: wait for it`)
  if (to === undefined) return
  mustBeMember(config, to)
  if (leader.node === to) throw new Refusal('leads', `${to} leads already: name another node`)
  if (config.members.some(({ name, dr }) => name === to && dr))
    throw new Refusal(
      'unsupported',
      `${to} is a DR Standby: it is promoted by hand only, with "role promote"`,
    )
  if (evicted.has(to))
    throw new Refusal('evicted', `${to} is out of the cluster: let it in with "cluster rejoin ${to}" first`)
  if (!present.has(to)) throw new Refusal('unreachable', `${to} is not there: start it first`)
}

/** The old Leader has to follow before it can lead again. */
const BACK_TRIES = 6
const BACK_AFTER_MS = 2_000

/** The same, recorded as a drill; `back`: and then the other way. */
export async function drill(
  options: Options,
  { back, ...asked }: HandoverAsked & { readonly back: boolean },
  signal: AbortSignal,
): Promise<Drilled> {
  const view = await viewNow(options)
  const there = await handOver(options, view, asked, true, signal)
  if (!back) return { there, back: null }
  const home = { by: asked.by, why: asked.why, to: view.leader!.node }
  for (let attempt = 1; ; attempt++) {
    await options.clock.sleep(BACK_AFTER_MS, signal)
    try {
      return { there, back: await handOver(options, await viewNow(options), home, true, signal) }
    } catch (error) {
      const isNotReady = error instanceof Refusal && ['not_done', 'unreachable'].includes(error.code)
      if (!isNotReady || attempt === BACK_TRIES || signal.aborted) throw error
    }
  }
}
