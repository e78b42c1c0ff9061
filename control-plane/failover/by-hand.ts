// What an operator may do where the cluster does not decide by itself (cluster 7.4, 5b; 8): promote one node of a paused
// cluster, or go on with one when the store is lost. What every node has is compared first, and the comparison printed.
import { jsonInstant, type Wall } from '#shared/base/time.ts'
import {
  copyOf,
  type Reign,
  type SyncDuty,
  type Transaction,
  transactions,
  type View,
} from '../coordination/keys.ts'
import type { Appointment, Order } from '../coordination/orders.ts'
import type { Held } from './hands.ts'

/** Of every member that is known; `held` undefined: it cannot be reached, and `why`. Looked at after the view was read. */
export type Position = {
  readonly node: string
  readonly dr: boolean
  readonly held: Held | undefined
  readonly why?: string
}

export type Asked = {
  readonly node: string
  readonly acceptDataLoss: boolean
  readonly order: Order
  readonly now: Wall
  /** How long the node may take. */
  readonly until: Wall
}

/** `transaction` undefined: it is refused, `because` says why and what to do. `comparison`: a line for each node. */
export type ByHand = {
  readonly comparison: readonly string[]
  readonly because: string
  readonly transaction: Transaction | undefined
}

/** For `role promote`: by the view of a store that answers, of a cluster that is paused and has no Leader. */
export function promoteByHand(asked: Asked, view: View, positions: readonly Position[]): ByHand {
  const { node, now } = asked
  const comparison = compared(asked, positions)
  const refused = (because: string): ByHand => ({ comparison, because, transaction: undefined })
  const { leader, pause, sync, evicted, epoch } = view
  if (leader !== undefined)
    return refused(`${leader.node} leads: use "cluster switchover" to let another node lead`)
  if (pause === undefined || pause.until <= now)
    return refused(`automatic failover is on and chooses by itself: use "cluster pause" first`)
  if (evicted.has(node)) return refused(`${node} was removed from the cluster: use "cluster rejoin" first`)
  const judged = judge(asked, sync, positions)
  if ('refused' in judged) return refused(judged.refused)
  const appointment = appointmentOf(asked, judged, epoch + 1)
  return {
    comparison,
    because: judged.because,
    transaction: transactions.appoint(appointment, pause, view.appointment),
  }
}

/** What is still known of a cluster whose store is lost, from the node that is to go on. */
export type Known = {
  readonly epoch: number
  /** Undefined: nobody knows. */
  readonly sync: SyncDuty | undefined
  /** The highest timeline that anybody may have begun. */
  readonly above: number
}

/** Far enough that nothing of the old store can be taken for something of the new one. */
const EPOCHS_AHEAD = 10

/** For `cluster recover`: into a store that is new. All others are out, and are let in one by one. */
export function recoverByHand(asked: Asked, known: Known, positions: readonly Position[]): ByHand {
  const comparison = compared(asked, positions)
  const judged = allCompared(asked, positions) ?? judge(asked, known.sync, positions)
  if ('refused' in judged) return { comparison, because: judged.refused, transaction: undefined }
  const { node } = asked
  const epoch = known.epoch + EPOCHS_AHEAD
  const sync = { epoch, change: 0, leader: copyOf(node, judged.held.disk), standby: null }
  const reign: Reign = {
    node,
    how: 'hand',
    timeline: 0,
    above: Math.max(known.above, ...positions.map(({ held }) => held?.timeline ?? 0)),
    because: judged.because,
    possibleLoss: judged.possibleLoss,
  }
  const others = positions.map((position) => position.node).filter((name) => name !== node)
  const appointment = appointmentOf(asked, judged, epoch + 1)
  return {
    comparison,
    because: judged.because,
    transaction: transactions.recover(appointment, sync, reign, others),
  }
}

type Judged = { readonly held: Held; readonly because: string; readonly possibleLoss: boolean }

/**
 * Whether the node has every acknowledged write: only the very copy of a holder proves that. That nobody has more proves
 * nothing, because disks may have been lost.
 */
function judge(
  { node, acceptDataLoss }: Asked,
  sync: SyncDuty | undefined,
  positions: readonly Position[],
): Judged | { readonly refused: string } {
  const held = positions.find((position) => position.node === node)?.held
  if (held === undefined) return { refused: `${node} cannot be reached: start it first` }
  const holders = [sync?.leader, sync?.standby].filter((copy) => copy !== undefined && copy !== null)
  const isHolder = (one: Position): boolean =>
    one.held !== undefined && holders.includes(copyOf(one.node, one.held.disk))
  const proof = positions.find((one) => isHolder(one) && !isFurther(one.held!, held))
  if (proof !== undefined) {
    const because = `${node} has all that ${proof.node} has, and that is every acknowledged write`
    return { held, possibleLoss: false, because }
  }
  const why = [
    ...positions.filter((one) => one.held !== undefined && isFurther(one.held, held)).map(isAhead(node)),
    ...positions
      .filter((one) => one.held === undefined)
      .map(nameOf)
      .map(isUnseen),
    holders.length === 0
      ? 'who has the last acknowledged write is not known'
      : `the last acknowledged write may be only on ${holders.join(' or ')}`,
  ].join('; ')
  return acceptDataLoss
    ? { held, possibleLoss: true, because: `${why}; the loss was accepted` }
    : { refused: `${why}: promote the one that has most, or give --accept-data-loss` }
}

/**
 * Of a lost store nobody knows who had the duty last: it is enough that every member was looked at, and none has more
 * (cluster 8). What was only on a disk that is gone since cannot be seen, as after any loss of a disk.
 */
function allCompared({ node }: Asked, positions: readonly Position[]): Judged | undefined {
  const held = positions.find((position) => position.node === node)?.held
  if (held === undefined || held.timeline === 0) return undefined
  const most = positions.every((one) => one.held !== undefined && !isFurther(one.held, held))
  return most
    ? { held, possibleLoss: false, because: `every member was looked at, and none has more than ${node}` }
    : undefined
}

const isAhead =
  (node: string) =>
  (one: Position): string =>
    `${nameOf(one)} has more than ${node}`

const isUnseen = (name: string): string => `${name} cannot be reached`

const nameOf = ({ node }: Position): string => node

/** A higher timeline was begun by a Leader that had every acknowledged write of the lower ones. */
const isFurther = (a: Held, b: Held): boolean =>
  a.timeline > b.timeline || (a.timeline === b.timeline && a.received > b.received)

function appointmentOf(
  { node, order, until }: Asked,
  { held, because, possibleLoss }: Judged,
  nextEpoch: number,
): Appointment {
  const { id, by, why, drill } = order
  return {
    because: `${by} promoted ${node} by hand: ${because}`,
    possibleLoss,
    node,
    disk: held.disk,
    nextEpoch,
    how: 'hand',
    order: { id, by, why, drill },
    from: null,
    until,
  }
}

function compared({ node, now }: Asked, positions: readonly Position[]): readonly string[] {
  const own = positions.find((position) => position.node === node)?.held
  return [
    `positions at ${jsonInstant(now)}, compared with ${node}:`,
    ...positions.map(({ node: name, dr, held, why }) => {
      const who = `${name}${dr ? ' (DR)' : ''}:`
      if (held === undefined) return `${who} cannot be reached${why === undefined ? '' : `: ${why}`}`
      return `${who} timeline ${held.timeline}, ${held.received} bytes${name === node ? '' : differenceTo(own, held)}`
    }),
  ]
}

function differenceTo(own: Held | undefined, held: Held): string {
  if (own === undefined) return ''
  if (held.timeline !== own.timeline) return held.timeline > own.timeline ? ', later' : ', earlier'
  const bytes = held.received - own.received
  return bytes === 0 ? ', equal' : `, ${Math.abs(bytes)} bytes ${bytes > 0 ? 'ahead' : 'behind'}`
}
