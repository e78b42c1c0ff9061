// The one synchronous Standby: named, moved and dropped so that whoever the store names has every acknowledged write at
// every moment (cluster 6.1, I5).
import { type Leadership, type Transaction, transactions } from '../coordination/keys.ts'
import { after } from './lease.ts'
import type { Duty, Effect, Event, Node } from './types.ts'

type DutyStep = readonly [Duty, readonly Effect[]]

export const noDuty: Duty = { kind: 'nobody', published: false, asked: undefined }

const unpublished: Duty = { kind: 'nobody', published: true, asked: undefined }

export function dutyOf(node: Node, duty: Duty, leadership: Leadership, event: Event): DutyStep {
  switch (duty.kind) {
    case 'nobody':
      return nobody(node, duty, leadership, event)
    case 'adding':
      return adding(node, duty, leadership, event)
    case 'held':
      return held(node, duty, leadership, event)
    case 'moving':
      return moving(node, duty, leadership, event)
    case 'dropping':
      return dropping(node, duty, leadership, event)
  }
}

type Of<K extends Duty['kind']> = Extract<Duty, { kind: K }>

/** The furthest that streams and may be promoted; not `but`. */
function nextOf({ config, own, view }: Node, but?: string): string | undefined {
  const able = config.members.filter(
    ({ name, dr }) => !dr && name !== but && own?.replicas.has(name) && !view?.evicted.has(name),
  )
  const end = (name: string): number => own!.replicas.get(name)!
  return able.sort((a, b) => end(b.name) - end(a.name) || b.priority - a.priority)[0]?.name
}

const streams = ({ own }: Node, name: string): boolean => own?.replicas.has(name) ?? false

const has = ({ own }: Node, name: string, noted: number): boolean => (own?.replicas.get(name) ?? -1) >= noted

const setSync = (...names: readonly string[]): Effect => ({ kind: 'setSync', names })

/** What was asked of the store, and how it was answered. */
const answerTo = (
  asked: Transaction | undefined,
  event: Event,
): { readonly ok: boolean | undefined } | undefined =>
  event.kind === 'transacted' && event.transaction === asked ? event : undefined

const tell = (transaction: Transaction): Effect => ({ kind: 'transact', transaction })

function nobody(node: Node, duty: Of<'nobody'>, leadership: Leadership, event: Event): DutyStep {
  const answer = answerTo(duty.asked, event)
  if (answer?.ok === true) return [unpublished, [setSync()]]
  // What may have been done is asked for until it is known: meanwhile nobody can be named.
  if (answer !== undefined) return answer.ok === undefined ? [duty, [tell(duty.asked!)]] : [noDuty, []]
  if (duty.asked !== undefined || (event.kind !== 'probed' && event.kind !== 'tick')) return [duty, []]
  const to = nextOf(node)
  if (to !== undefined) return [addingOf(to, duty.published), [setSync(to)]]
  if (node.config.syncRequired || duty.published || event.kind !== 'tick') return [duty, []]
  const asked = transactions.nameSync(leadership, null)
  return [{ ...duty, asked }, [tell(asked)]]
}

const addingOf = (to: string, alone: boolean): Of<'adding'> => ({
  kind: 'adding',
  to,
  noted: undefined,
  asked: undefined,
  alone,
})

/** First Postgres waits for it, then it is level, then the store is told. */
function adding(node: Node, duty: Of<'adding'>, leadership: Leadership, event: Event): DutyStep {
  const { to, noted, asked, alone } = duty
  if (event.kind === 'syncSet' && sameNames(event.names, [to])) return [{ ...duty, noted: event.end }, []]
  const answer = answerTo(asked, event)
  if (answer?.ok === true) return [{ kind: 'held', by: to, lostAt: undefined }, []]
  if (answer !== undefined)
    return answer.ok === undefined ? [duty, [tell(asked!)]] : [{ ...duty, asked: undefined }, []]
  if (event.kind !== 'probed' || noted === undefined || asked !== undefined) return [duty, []]
  if (streams(node, to)) return has(node, to, noted) ? naming(duty, leadership) : [duty, []]
  const other = nextOf(node, to)
  if (other !== undefined) return [addingOf(other, alone), [setSync(other)]]
  return alone ? [unpublished, [setSync()]] : [duty, []]
}

function naming(duty: Of<'adding'> | Of<'moving'>, leadership: Leadership): DutyStep {
  const asked = transactions.nameSync(leadership, duty.to)
  return [{ ...duty, asked }, [tell(asked)]]
}

function held(node: Node, duty: Of<'held'>, leadership: Leadership, event: Event): DutyStep {
  const { by, lostAt } = duty
  const published = node.view?.sync
  // Something that was said earlier came later.
  if (event.kind === 'viewed' && published?.epoch === leadership.epoch && published.standby === null)
    return [addingOf(by, false), [setSync(by)]]
  if (event.kind !== 'probed') return [duty, []]
  if (streams(node, by)) return [lostAt === undefined ? duty : { ...duty, lostAt: undefined }, []]
  if (lostAt === undefined) return [{ ...duty, lostAt: event.at }, []]
  if (event.at < after(lostAt, node.config.syncGraceMs)) return [duty, []]
  const to = nextOf(node, by)
  if (to !== undefined)
    return [{ kind: 'moving', from: by, to, noted: undefined, asked: undefined }, [setSync(by, to)]]
  return node.config.syncRequired ? [duty, []] : [{ kind: 'dropping', from: by, asked: undefined }, []]
}

/** Postgres waits for both until the store names the new one: whichever is named has everything. */
function moving(node: Node, duty: Of<'moving'>, leadership: Leadership, event: Event): DutyStep {
  const { from, to, noted, asked } = duty
  if (event.kind === 'syncSet' && sameNames(event.names, [from, to]))
    return [{ ...duty, noted: event.end }, []]
  const answer = answerTo(asked, event)
  if (answer?.ok === true) return [{ kind: 'held', by: to, lostAt: undefined }, [setSync(to)]]
  if (answer !== undefined)
    return answer.ok === undefined ? [duty, [tell(asked!)]] : [{ ...duty, asked: undefined }, []]
  if (event.kind !== 'probed' || noted === undefined || asked !== undefined) return [duty, []]
  if (streams(node, to)) return has(node, to, noted) ? naming(duty, leadership) : [duty, []]
  if (streams(node, from)) return [{ kind: 'held', by: from, lostAt: undefined }, [setSync(from)]]
  const other = nextOf(node, from)
  if (other === undefined) return [duty, []]
  return [{ kind: 'moving', from, to: other, noted: undefined, asked: undefined }, [setSync(from, other)]]
}

/** To remove, first the store, then Postgres. */
function dropping(node: Node, duty: Of<'dropping'>, leadership: Leadership, event: Event): DutyStep {
  const answer = answerTo(duty.asked, event)
  if (answer?.ok === true) return [unpublished, [setSync()]]
  if (answer !== undefined)
    return answer.ok === undefined ? [duty, [tell(duty.asked!)]] : [{ ...duty, asked: undefined }, []]
  if (event.kind !== 'tick' || duty.asked !== undefined) return [duty, []]
  if (streams(node, duty.from)) return [addingOf(duty.from, false), [setSync(duty.from)]]
  const asked = transactions.nameSync(leadership, null)
  return [{ ...duty, asked }, [tell(asked)]]
}

const sameNames = (a: readonly string[], b: readonly string[]): boolean => a.join(' ') === b.join(' ')
