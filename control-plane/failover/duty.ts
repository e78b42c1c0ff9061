// The one synchronous Standby: named, moved and dropped so that whoever the store names has every acknowledged write at
// every moment (cluster 6.1, I5). A Standby is meant by the copy it holds, for Postgres as for the store.
import type { Monotonic } from '#shared/base/time.ts'
import { type Copy, nodeOf, type SyncDuty, transactions } from '../coordination/keys.ts'
import { after } from './lease.ts'
import type { Asked, Duty, Effect, Event, Mark, Node, Role } from './types.ts'

type DutyStep = readonly [Duty, readonly Effect[]]
type Leading = Pick<Extract<Role, { phase: 'leading' }>, 'leadership' | 'published' | 'duty'>
type Of<K extends Duty['kind']> = Extract<Duty, { kind: K }>

export const noDuty: Duty = { kind: 'nobody', published: false, mark: undefined }

const unpublished: Duty = { kind: 'nobody', published: true, mark: undefined }

/** `wish`: who is to have it rather than whoever has. */
export function dutyOf(node: Node, leading: Leading, event: Event, wish?: Copy): DutyStep {
  const { duty } = leading
  switch (duty.kind) {
    case 'nobody':
      return nobody(node, duty, leading, event)
    case 'adding':
      return adding(node, duty, leading, event)
    case 'held':
      return held(node, duty, leading, event, wish)
    case 'moving':
      return moving(node, duty, leading, event, wish)
    case 'dropping':
      return dropping(duty, event)
  }
}

/** What the store says since this event. */
export function saidBy(duty: Duty, event: Event): SyncDuty | undefined {
  const asked = 'asked' in duty ? duty.asked : undefined
  return answerTo(asked, event)?.ok === true ? asked?.sync : undefined
}

/** The furthest that streams and may be promoted; not `but`. */
export function nextOf({ config, own, view }: Node, but?: Copy): Copy | undefined {
  const able = [...(own?.replicas ?? [])].flatMap(([copy, end]) => {
    const member = config.members.find(({ name }) => name === nodeOf(copy))
    const may = member?.dr === false && copy !== but && !view?.evicted.has(member.name)
    return may ? [{ copy, end, priority: member.priority }] : []
  })
  return able.sort((a, b) => b.end - a.end || b.priority - a.priority || (a.copy < b.copy ? -1 : 1))[0]?.copy
}

export const has = ({ own }: Node, copy: Copy, { end }: Mark): boolean =>
  (own?.replicas.get(copy) ?? -1) >= end

/** It has what was there at the probe before. */
export const isLevel = (node: Node, duty: Duty): boolean =>
  duty.kind === 'held' && duty.mark !== undefined && has(node, duty.by, duty.mark)

const setSync = (...names: readonly Copy[]): Effect => ({ kind: 'setSync', names })

/** What was asked of the store, and how it was answered. */
const answerTo = (
  asked: Asked | undefined,
  event: Event,
): { readonly ok: boolean | undefined } | undefined =>
  event.kind === 'transacted' && event.transaction === asked?.transaction ? event : undefined

const tell = ({ transaction }: Asked): Effect => ({ kind: 'transact', transaction })

function askFor({ leadership, published }: Leading, standby: Copy | null): Asked {
  const sync = { ...published, change: published.change + 1, standby }
  return { transaction: transactions.nameSync(leadership, published, sync), sync }
}

const addingOf = (to: Copy, alone: boolean): Of<'adding'> => ({
  kind: 'adding',
  to,
  noted: undefined,
  asked: undefined,
  alone,
})

function nobody(node: Node, duty: Of<'nobody'>, leading: Leading, event: Event): DutyStep {
  if (event.kind !== 'probed' && event.kind !== 'tick') return [duty, []]
  const to = nextOf(node)
  if (!duty.published) {
    if (to !== undefined) return [addingOf(to, false), [setSync(to)]]
    return node.config.syncRequired || event.kind !== 'tick' ? [duty, []] : drop(leading)
  }
  if (event.kind !== 'probed') return [duty, []]
  // Writes would wait for one that is far behind.
  if (to !== undefined && duty.mark !== undefined && has(node, to, duty.mark))
    return [addingOf(to, true), [setSync(to)]]
  return [{ ...duty, mark: { end: event.own.end, at: event.at } }, []]
}

/** First Postgres waits for it, then it is level, then the store is told. */
function adding(node: Node, duty: Of<'adding'>, leading: Leading, event: Event): DutyStep {
  const { to, noted, asked, alone } = duty
  if (event.kind === 'syncSet' && sameNames(event.names, [to]))
    return [{ ...duty, noted: { end: event.end, at: event.at } }, []]
  if (asked !== undefined) return answered(asked, event, duty, heldBy(to))
  if (event.kind !== 'probed' || noted === undefined) return [duty, []]
  if (has(node, to, noted)) return naming(duty, leading)
  if (!isOver(noted, event.at, node)) return [duty, []]
  const other = nextOf(node)
  if (other !== undefined && other !== to) return [addingOf(other, alone), [setSync(other)]]
  if (alone) return [unpublished, [setSync()]]
  return node.config.syncRequired ? [duty, []] : drop(leading)
}

const heldBy = (by: Copy): Of<'held'> => ({ kind: 'held', by, mark: undefined })

const isOver = ({ at }: Mark, now: Monotonic, { config }: Node): boolean =>
  now >= after(at, config.syncGraceMs)

/**
 * What may have been done is asked for until it is known, and nothing else meanwhile. Refused is only who leads no more,
 * and hears of that otherwise.
 */
function answered(
  asked: Asked,
  event: Event,
  duty: Duty,
  then: Duty,
  ...effects: readonly Effect[]
): DutyStep {
  const answer = answerTo(asked, event)
  if (answer?.ok === true) return [then, effects]
  return [duty, answer !== undefined && answer.ok === undefined ? [tell(asked)] : []]
}

function naming(duty: Of<'adding'> | Of<'moving'>, leading: Leading): DutyStep {
  const asked = askFor(leading, duty.to)
  return [{ ...duty, asked }, [tell(asked)]]
}

/** One that streams and does not flush, or says nothing of it, is as good as gone: commits wait for it. */
function held(
  node: Node,
  duty: Of<'held'>,
  leading: Leading,
  event: Event,
  wish: Copy | undefined,
): DutyStep {
  if (event.kind !== 'probed') return [duty, []]
  const { by, mark } = duty
  if (wish !== undefined && wish !== by) return move(by, wish)
  if (mark === undefined || has(node, by, mark))
    return [{ ...duty, mark: { end: event.own.end, at: event.at } }, []]
  if (!isOver(mark, event.at, node)) return [duty, []]
  const to = nextOf(node, by)
  if (to !== undefined) return move(by, to)
  return node.config.syncRequired ? [duty, []] : drop(leading)
}

const move = (from: Copy, to: Copy): DutyStep => [
  { kind: 'moving', from, to, noted: undefined, asked: undefined },
  [setSync(from, to)],
]

/** Postgres waits for both until the store names the new one: whichever is named has everything. */
function moving(
  node: Node,
  duty: Of<'moving'>,
  leading: Leading,
  event: Event,
  wish: Copy | undefined,
): DutyStep {
  const { from, to, noted, asked } = duty
  if (event.kind === 'syncSet' && sameNames(event.names, [from, to]))
    return [{ ...duty, noted: { end: event.end, at: event.at } }, []]
  if (asked !== undefined) return answered(asked, event, duty, heldBy(to), setSync(to))
  if (event.kind !== 'probed' || noted === undefined) return [duty, []]
  if (has(node, to, noted)) return naming(duty, leading)
  // Who orders it has his own patience.
  if (to === wish) return [duty, []]
  if (has(node, from, noted)) return [heldBy(from), [setSync(from)]]
  if (!isOver(noted, event.at, node)) return [duty, []]
  const other = nextOf(node, from)
  if (other !== undefined && other !== to) return move(from, other)
  return other !== undefined || node.config.syncRequired ? [duty, []] : drop(leading)
}

/** To remove, first the store, then Postgres. */
function drop(leading: Leading): DutyStep {
  const asked = askFor(leading, null)
  return [{ kind: 'dropping', asked }, [tell(asked)]]
}

const dropping = (duty: Of<'dropping'>, event: Event): DutyStep =>
  answered(duty.asked, event, duty, unpublished, setSync())

const sameNames = (a: readonly Copy[], b: readonly Copy[]): boolean => a.join(' ') === b.join(' ')
