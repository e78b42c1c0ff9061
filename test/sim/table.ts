// The table of phases and events, as it was seen and as the README tells it: the same words for both.
import type { Effect, Event, Node, Role } from '#control-plane/failover/types.ts'

export type Transition = {
  readonly phase: string
  readonly event: string
  readonly next: string
  readonly asks: readonly string[]
}

/** Of a Leader its stage, or how far it has come with handing over. */
export const phaseOf = (role: Role): string =>
  role.phase === 'leading' ? (role.handing?.at ?? role.stage) : role.phase

export const eventOf = (event: Event): string =>
  event.kind === 'transacted'
    ? `${event.transaction.name} ${event.ok === undefined ? 'unheard' : event.ok ? 'done' : 'refused'}`
    : event.kind

/** What every phase asks for alike is left out. */
function askOf(effect: Effect): string | undefined {
  switch (effect.kind) {
    case 'probe':
      return undefined
    case 'renew':
      return effect.lease === 'node' ? undefined : 'renew'
    case 'transact':
      return effect.transaction.name
    default:
      return effect.kind
  }
}

/** Undefined: nothing that the table would tell. */
export function transitionOf(
  before: Node,
  event: Event,
  after: Node,
  effects: readonly Effect[],
): Transition | undefined {
  const [phase, next] = [phaseOf(before.role), phaseOf(after.role)]
  const asks = [...new Set(effects.flatMap((effect) => askOf(effect) ?? []))].sort()
  return phase === next && asks.length === 0 ? undefined : { phase, event: eventOf(event), next, asks }
}

/** What stands in a cell; `optional`: so rare that it need not be seen. */
type Words = { readonly all: ReadonlySet<string>; readonly optional: ReadonlySet<string> }

export type Row = {
  readonly text: string
  readonly phases: Words
  readonly events: Words
  readonly becomes: Words
  readonly asks: Words
}

const handing = [
  'preparing',
  'draining',
  'closing',
  'levelling',
  'giving',
  'given',
  'reclaiming',
  'abandoning',
]
const leading = ['promoting', 'raising', 'naming', 'open', ...handing]

/** The lines of the first table below a title. */
export function linesBelow(readme: string, title: string): readonly string[] {
  const section = readme.slice(readme.indexOf(`## ${title}\n`)).split('\n## ')[0]!
  return section.split('\n').filter((line) => line.startsWith('| ') && !/^\| (Phase|Invariant) \|/.test(line))
}

export const rowsOf = (readme: string): readonly Row[] =>
  linesBelow(readme, 'Phases and events').map((text) => {
    const [phases, events, becomes, asks] = text.split('|').slice(1).map(wordsOf)
    return { text, phases: phases!, events: events!, becomes: becomes!, asks: asks! }
  })

function wordsOf(cell: string): Words {
  const words = cell.split(',').map((word) => word.trim().replaceAll('`', ''))
  const bare = words.map((word) => word.replace(/^\(|\)$/g, '')).filter((word) => word !== '–' && word !== '')
  // A group is of many, and any one of them shows it.
  const optional = words.filter((word) => word.startsWith('(')).map((word) => word.slice(1, -1))
  return { all: new Set(bare), optional: new Set(optional) }
}

const hasPhase = ({ all }: Words, phase: string): boolean =>
  all.has('any') ||
  all.has(phase) ||
  (all.has('leading') && leading.includes(phase)) ||
  (all.has('handing') && handing.includes(phase))

export const tells = (row: Row, { phase, event, next, asks }: Transition): boolean =>
  hasPhase(row.phases, phase) &&
  (row.events.all.has('any') || row.events.all.has(event)) &&
  (row.becomes.all.has(next) || (row.becomes.all.has('same') && phase === next)) &&
  asks.every((ask) => row.asks.all.has(ask))

/** What a row tells of and was never seen. */
export function unseenIn(row: Row, seen: readonly Transition[]): readonly string[] {
  if (row.phases.optional.size === row.phases.all.size) return []
  const matched = seen.filter((transition) => tells(row, transition))
  const missing = ({ all, optional }: Words, has: (word: string) => boolean): string[] =>
    [...all].filter((word) => !optional.has(word) && !has(word))
  const only = (phase: string): Words => ({ all: new Set([phase]), optional: new Set() })
  return [
    ...missing(row.phases, (word) => matched.some(({ phase }) => hasPhase(only(word), phase))),
    ...missing(row.events, (word) => word === 'any' || matched.some(({ event }) => event === word)),
    ...missing(row.becomes, (word) =>
      matched.some(({ phase, next }) => next === (word === 'same' ? phase : word)),
    ),
    ...missing(row.asks, (word) => matched.some(({ asks }) => asks.includes(word))),
  ]
}
