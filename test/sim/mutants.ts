// The machine broken on purpose, one rule at a time: the random schedules must catch every one of them.
import type { Transaction } from '#control-plane/coordination/keys.ts'
import { transactions } from '#control-plane/coordination/keys.ts'
import { step } from '#control-plane/failover/step.ts'
import type { Effect, Event, Node, Step } from '#control-plane/failover/types.ts'
import { monotonic } from '#shared/base/time.ts'
import type { Shape } from './world.ts'

type Broken = Pick<Shape, 'step' | 'heedsDeadline' | 'waitsForSync'>

/** What a transaction was before it was broken: its answer is about that one. */
const originals = new WeakMap<Transaction, Transaction>()

function broken(changed: Transaction, original: Transaction): Transaction {
  originals.set(changed, original)
  return changed
}

const asAsked = (event: Event): Event =>
  event.kind === 'transacted'
    ? { ...event, transaction: originals.get(event.transaction) ?? event.transaction }
    : event

const effects =
  (change: (effect: Effect, node: Node) => readonly Effect[]) =>
  (node: Node, event: Event): Step => {
    const [next, asked] = step(node, asAsked(event))
    return [next, asked.flatMap((effect) => change(effect, next))]
  }

const events =
  (change: (event: Event, node: Node) => Event) =>
  (node: Node, event: Event): Step =>
    step(node, change(event, node))

/** Transactions of these names, without what they ask of such keys. */
const withoutConditions = (names: readonly Transaction['name'][], ...keys: readonly string[]) =>
  effects((effect) => {
    if (effect.kind !== 'transact' || !names.includes(effect.transaction.name)) return [effect]
    const when = effect.transaction.when.filter(({ key }) => !keys.some((prefix) => key.startsWith(prefix)))
    return [{ ...effect, transaction: broken({ ...effect.transaction, when }, effect.transaction) }]
  })

const leadershipOf = ({ role }: Node) => (role.phase === 'leading' ? role.leadership : undefined)

export const mutants: Readonly<Record<string, Broken>> = {
  'a commit is acknowledged before the sync Standby has it': { waitsForSync: false },
  'the duty is published before the Standby is level': {
    step: effects((effect, node) => {
      const leadership = leadershipOf(node)
      if (effect.kind !== 'setSync' || effect.names.length !== 1 || leadership === undefined) return [effect]
      return [effect, { kind: 'transact', transaction: transactions.nameSync(leadership, effect.names[0]!) }]
    }),
  },
  'while the duty moves, Postgres waits for the new one only': {
    step: effects((effect) =>
      effect.kind === 'setSync' && effect.names.length === 2
        ? [{ ...effect, names: [effect.names[1]!] }]
        : [effect],
    ),
  },
  'an unheard answer about the duty is taken for a no': {
    step: events((event) =>
      event.kind === 'transacted' && event.transaction.name === 'nameSync' && event.ok === undefined
        ? { ...event, ok: false }
        : event,
    ),
  },
  'the deadline is counted from the answer': {
    step: events((event) => (event.kind === 'renewed' ? { ...event, sentAt: event.at } : event)),
  },
  'the API does not heed its deadline': { heedsDeadline: false },
  'the deadline is three seconds too late': {
    step: events((event) =>
      event.kind === 'renewed' ? { ...event, sentAt: monotonic(event.sentAt + 3_000) } : event,
    ),
  },
  'a leadership is taken without the lock': {
    step: withoutConditions(['take'], 'promotion', 'epoch', 'leader'),
  },
  'a Standby counts as level as soon as it streams': {
    step: events((event) => {
      if (event.kind !== 'probed') return event
      const replicas = new Map([...event.own.replicas.keys()].map((name) => [name, Number.MAX_SAFE_INTEGER]))
      return { ...event, own: { ...event.own, replicas } }
    }),
  },
  'whoever is least far is chosen': {
    step: events((event) => {
      if (event.kind !== 'viewed') return event
      const turned = [...event.view.candidates].map(
        ([name, c]) => [name, { ...c, received: -c.received }] as const,
      )
      return { ...event, view: { ...event.view, candidates: new Map(turned) } }
    }),
  },
  'whoever is furthest is chosen, whoever had the duty': {
    step: (node, event) => {
      const config = { ...node.config, mode: 'available' } as const
      const [next, asked] = step({ ...node, config }, asAsked(event))
      return [next, asked.map(withoutLoss)]
    },
  },
  'a Leader serves before its Standby is named': {
    step: (node, event) => {
      const [next, asked] = step(node, event)
      const leadership = leadershipOf(next)
      const early = event.kind === 'epochRaised' && leadership !== undefined
      const open: Effect[] = [
        { kind: 'setSync', names: [] },
        { kind: 'open', epoch: leadership?.epoch ?? 0 },
      ]
      return [next, early ? [...asked, ...open] : asked]
    },
  },
  'a DR Standby stands like any other': {
    step: (node, event) =>
      step(
        {
          ...node,
          config: { ...node.config, members: node.config.members.map((m) => ({ ...m, dr: false })) },
        },
        event,
      ),
  },
  'a node that is out is let in again': {
    step: (node, event) => {
      const blind =
        event.kind === 'viewed' ? { ...event, view: { ...event.view, evicted: new Set<string>() } } : event
      const [next, asked] = step(node, asAsked(blind))
      return [next, asked.map(withoutEviction)]
    },
  },
}

/** And nothing is said of it. */
function withoutLoss(effect: Effect): Effect {
  if (effect.kind !== 'transact') return effect
  const writes = effect.transaction.writes.map((write) =>
    write.op === 'put'
      ? { ...write, value: write.value.replace('"possibleLoss":true', '"possibleLoss":false') }
      : write,
  )
  return { ...effect, transaction: broken({ ...effect.transaction, writes }, effect.transaction) }
}

function withoutEviction(effect: Effect): Effect {
  if (effect.kind !== 'transact') return effect
  const when = effect.transaction.when.filter(({ key }) => !key.startsWith('evicted'))
  return { ...effect, transaction: broken({ ...effect.transaction, when }, effect.transaction) }
}
