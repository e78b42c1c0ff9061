// The machine broken on purpose, one rule at a time: the random schedules must catch every one of them.
import { copyOf, diskOf, nodeOf, type Transaction, transactions } from '#control-plane/coordination/keys.ts'
import type { Appointment } from '#control-plane/coordination/orders.ts'
import { step } from '#control-plane/failover/step.ts'
import type { Effect, Event, Node, Step } from '#control-plane/failover/types.ts'
import { monotonic, wall } from '#shared/base/time.ts'
import type { EventBody } from './machine.ts'
import { ROUGH, type Shape } from './world.ts'

type Broken = Partial<Shape>

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
      if (effect.kind !== 'setSync' || effect.names.length !== 1 || node.role.phase !== 'leading')
        return [effect]
      const { leadership, published } = node.role
      const sync = { ...published, change: published.change + 1, standby: effect.names[0]! }
      return [effect, { kind: 'transact', transaction: transactions.nameSync(leadership, published, sync) }]
    }),
  },
  'while the duty moves, Postgres waits for the new one only': {
    step: effects((effect) =>
      effect.kind === 'setSync' && effect.names.length === 2
        ? [{ ...effect, names: [effect.names[1]!] }]
        : [effect],
    ),
  },
  'an unheard answer about the duty is taken for a yes': {
    step: events((event) =>
      event.kind === 'transacted' && event.transaction.name === 'nameSync' && event.ok === undefined
        ? { ...event, ok: true }
        : event,
    ),
  },
  'the duty is changed whatever it was before': {
    step: withoutConditions(['nameSync'], 'sync'),
    rough: { ...ROUGH, lateRequest: 0.05 },
  },
  'Postgres waits for nobody any more before the store says so': {
    step: effects((effect) =>
      effect.kind === 'transact' && isDropped(effect.transaction)
        ? [{ kind: 'setSync', names: [] }, effect]
        : [effect],
    ),
  },
  'a node whose disk is new is taken for the one it was': { tellsDisks: false },
  'a timeline is begun whatever others have begun': { tellsTimelines: false },
  'nobody is put out': {
    step: effects((effect) => {
      if (effect.kind !== 'transact' || effect.transaction.name !== 'take') return [effect]
      const writes = effect.transaction.writes.filter(({ key }) => !key.startsWith('evicted'))
      return [{ ...effect, transaction: broken({ ...effect.transaction, writes }, effect.transaction) }]
    }),
  },
  'a Leader whose Postgres has ended goes on': {
    step: events((event, { role }) =>
      event.kind === 'stopped' && role.phase === 'leading'
        ? { at: event.at, kind: 'tick', wall: wall(0) }
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
    step: withoutConditions(['lock', 'take'], 'promotion', 'epoch', 'leader'),
    rough: { ...ROUGH, lateRequest: 0.05 },
  },
  'a Standby counts as level as soon as it streams': {
    step: events((event) => {
      if (event.kind !== 'probed') return event
      const replicas = new Map([...event.own.replicas.keys()].map((name) => [name, Number.MAX_SAFE_INTEGER]))
      return { ...event, own: { ...event.own, replicas } }
    }),
  },
  'whoever is least far is chosen': {
    step: events((event) => (event.kind === 'frozen' ? { ...event, received: -event.received } : event)),
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
        event.kind === 'viewed' ? { ...event, view: { ...event.view, evicted: new Map() } } : event
      const [next, asked] = step(node, asAsked(blind))
      return [next, asked.map(withoutEviction)]
    },
  },
  'a Leader hands over before its writes are drained and it has closed': {
    step: (node, event) => {
      const [next, asked] = step(node, asAsked(event))
      const drain = asked.find((effect) => effect.kind === 'drain')
      if (drain === undefined) return [next, asked]
      const [drained, closes] = step(next, at(event, { kind: 'drained', asked: drain.asked }))
      const close = closes.find((effect) => effect.kind === 'close')!
      const [closed] = step(drained, at(event, { kind: 'closed', asked: close.asked }))
      return [closed, asked.filter((effect) => effect !== drain)]
    },
  },
  'a leadership is given to another copy than the one with the duty': {
    step: effects((effect, { own }) => {
      if (effect.kind !== 'transact' || effect.transaction.name !== 'handOver') return [effect]
      const writes = effect.transaction.writes.map((write) => {
        if (write.op !== 'put') return write
        const appointment = JSON.parse(write.value) as Appointment
        const other = [...(own?.replicas.keys() ?? [])].find((copy) => nodeOf(copy) !== appointment.node)
        if (other === undefined) return write
        return {
          ...write,
          value: JSON.stringify({ ...appointment, node: nodeOf(other), disk: diskOf(other) }),
        }
      })
      return [{ ...effect, transaction: broken({ ...effect.transaction, writes }, effect.transaction) }]
    }),
  },
  'an appointment is of a node, whatever its disk': {
    step: events((event, { view, config }) =>
      event.kind === 'frozen' && view?.appointment?.node === config.node
        ? { ...event, disk: view.appointment.disk }
        : event,
    ),
    orders: 0.6,
    whenAppointed: (world, { node }) => {
      world.loseDisk(node)
      world.restart(node)
    },
  },
  'a Leader takes back what it gave, taken or not': {
    // That it was taken it hears late.
    step: (node, event) => {
      const { role } = node
      const waits = role.phase === 'leading' && role.handing?.at === 'given'
      return waits && event.kind === 'viewed'
        ? [node, []]
        : withoutConditions(['reclaim'], 'appointment', 'leader')(node, event)
    },
    orders: 0.6,
  },
  'a leadership is given back before it has closed': {
    step: (node, event) => {
      const [next, asked] = step(node, event)
      if (next.role.phase !== 'fenced' || node.role === next.role) return [next, asked]
      const early = next.role.given.map(
        (leadership): Effect => ({ kind: 'transact', transaction: transactions.resign(leadership) }),
      )
      return [next, [...early, ...asked]]
    },
  },
  'a node rejoins whatever it holds': {
    step: events((event) => {
      if (event.kind !== 'viewed') return event
      const reigns = new Map(
        [...event.view.reigns].map(([epoch, reign]) => [
          epoch,
          reign.fork === undefined
            ? reign
            : { ...reign, fork: { ...reign.fork, at: Number.MAX_SAFE_INTEGER } },
        ]),
      )
      return { ...event, view: { ...event.view, reigns } }
    }),
  },
  'a node rejoins before it has closed': {
    step: (node, event) => {
      const [next, asked] = step(node, event)
      const { role } = next
      return [role.phase === 'evicted' ? { ...next, role: { ...role, closing: undefined } } : next, asked]
    },
    rough: { ...ROUGH, slowHands: 0.1 },
  },
  'anybody that stands is named as one that has every write': {
    step: effects((effect, { view, role }) => {
      if (effect.kind !== 'transact' || effect.transaction.name !== 'take' || role.phase !== 'taking')
        return [effect]
      const { sync } = role
      const other = [...(view?.candidates ?? [])].find(([node]) => node !== role.leadership.node)
      if (other === undefined || sync.standby !== null) return [effect]
      const standby = copyOf(other[0], other[1].disk)
      const writes = effect.transaction.writes.map((write) =>
        write.op === 'put' && write.key === 'sync'
          ? { ...write, value: JSON.stringify({ ...sync, standby }) }
          : write,
      )
      return [{ ...effect, transaction: broken({ ...effect.transaction, writes }, effect.transaction) }]
    }),
  },
  'a pause is not heeded': {
    step: (node, event) => {
      const blind = event.kind === 'viewed' ? { ...event, view: { ...event.view, pause: undefined } } : event
      return withoutConditions(['lock', 'take'], 'pause')(node, blind)
    },
  },
  'a lock is used although a pause was ordered since': {
    step: (node, event) => {
      const isLocked = event.kind === 'transacted' && event.transaction.name === 'lock' && event.ok === true
      if (!isLocked || node.view === undefined) return step(node, asAsked(event))
      const blind = { ...node, view: { ...node.view, pause: undefined } }
      const [next, asked] = withoutConditions(['take'], 'pause')(blind, event)
      return [{ ...next, view: node.view }, asked]
    },
    orders: 0.6,
    rough: { ...ROUGH, slowHands: 0 },
  },
  'Postgres starts as what it was when it ended': { startsInRecovery: false },
  'a Follower is told of a change before the sync Standby has it': { followersHeedRelease: false },
  'a Follower takes from a Leader of an earlier epoch': {
    followersHeedEpoch: false,
    rough: { ...ROUGH, slowHands: 0.1 },
  },
  'the store answers without a majority': { storeNeedsMajority: false },
}

/** Put before what is not there any more when it comes. */
const at = (event: Event, body: EventBody): Event => ({ ...body, at: event.at }) as Event

const isDropped = ({ name, writes }: Transaction): boolean =>
  name === 'nameSync' && writes.some((write) => write.op === 'put' && write.value.endsWith('"standby":null}'))

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
