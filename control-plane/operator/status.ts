// What the cluster is, for people and programs (cluster 2, 7.4): from the store's view and what this node knows besides. Pure.
import { jsonInstant, type Wall } from '#shared/base/time.ts'
import { nodeOf, type Reign, type View } from '../coordination/keys.ts'
import type { FailoverRecord, Order, Signature } from '../coordination/orders.ts'
import { nextOf } from '../failover/duty.ts'
import type { Config, Node } from '../failover/types.ts'

export type MemberStatus = {
  readonly node: string
  readonly dr: boolean
  readonly role: 'leader' | 'standby'
  /** It has the sync duty: no write is acknowledged without it. */
  readonly sync: boolean
  /** `absent`: it says nothing to the store. */
  readonly state: 'running' | 'promoting' | 'evicted' | 'absent'
  readonly reason: string | null
  /** How far it has flushed the Leader's log, in bytes; null where the asked node does not lead, or nothing is known. */
  readonly flushed: number | null
}

export type OrderStatus = Order & { readonly target: string | null }

/** How a leadership came about; `record` null: it has not opened. */
export type ReignStatus = Pick<Reign, 'node' | 'how' | 'because' | 'possibleLoss' | 'timeline'> & {
  readonly epoch: number
  readonly record: FailoverRecord | null
  /** Null: no Leader has accounted for it yet. */
  readonly signature: Signature | null
  /** Whether the signature is of this record, by the ledger's keys; absent where nobody asked. */
  readonly verified?: boolean
}

export type ClusterStatus = {
  readonly cluster: string
  /** Who was asked. */
  readonly node: string
  /** False: a majority of the store does not answer, and what is said here is what was last heard. */
  readonly quorum: boolean
  readonly epoch: number
  readonly leader: { readonly node: string; readonly timeline: number } | null
  readonly sync: string | null
  /** Who gets the duty when that one is lost; null where the asked node does not lead. */
  readonly next: string | null
  readonly members: readonly MemberStatus[]
  readonly pause: {
    readonly by: string
    readonly why: string
    readonly until: string
    readonly over: boolean
  } | null
  readonly switchover: OrderStatus | null
  readonly last_switchover: { readonly order: Order; readonly done: boolean; readonly because: string } | null
  readonly appointment: { readonly node: string; readonly because: string } | null
  /** Why nobody is promoted, as the asked node sees it. */
  readonly blocked: string | null
  /** The newest first. */
  readonly records: readonly ReignStatus[]
}

export type Seen = {
  readonly cluster: string
  readonly config: Config
  /** Undefined: nothing was ever heard. */
  readonly view: View | undefined
  /** The store answered just now. */
  readonly quorum: boolean
  readonly node: Node | undefined
  readonly now: Wall
}

const RECORDS_SHOWN = 10

export function clusterStatus({ cluster, config, view, quorum, node, now }: Seen): ClusterStatus {
  const { pause, switchover, switched, appointment, leader, sync } = view ?? {}
  const leads = node?.role.phase === 'leading'
  const next = leads ? nextOf(node, sync?.standby ?? undefined) : undefined
  return {
    cluster,
    node: config.node,
    quorum,
    epoch: view?.epoch ?? 0,
    leader: leader === undefined ? null : { node: leader.node, timeline: leader.timeline },
    sync: sync?.standby == null ? null : nodeOf(sync.standby),
    next: next === undefined ? null : nodeOf(next),
    members: config.members.map(({ name, dr }) => memberOf(name, dr, view, leads ? node : undefined)),
    pause:
      pause === undefined
        ? null
        : { by: pause.by, why: pause.why, until: jsonInstant(pause.until), over: pause.until <= now },
    switchover: switchover === undefined ? null : orderOf(switchover),
    last_switchover: switched ?? null,
    appointment: appointment === undefined ? null : { node: appointment.node, because: appointment.because },
    blocked: node?.blocked ?? null,
    records: [...(view?.reigns ?? [])]
      .sort(([a], [b]) => b - a)
      .slice(0, RECORDS_SHOWN)
      .map(([epoch, reign]) => reignOf(epoch, reign, view?.signatures.get(epoch))),
  }
}

const orderOf = ({ id, by, why, drill, target }: OrderStatus): OrderStatus => ({ id, by, why, drill, target })

const reignOf = (epoch: number, reign: Reign, signature: Signature | undefined): ReignStatus => {
  const { node, how, because, possibleLoss, timeline, record } = reign
  return {
    epoch,
    node,
    how,
    because,
    possibleLoss,
    timeline,
    record: record ?? null,
    signature: signature ?? null,
  }
}

function memberOf(
  name: string,
  dr: boolean,
  view: View | undefined,
  leading: Node | undefined,
): MemberStatus {
  const leads = view?.leader?.node === name
  const said = view?.present.get(name)
  const out = view?.evicted.get(name)
  const standby = view?.sync?.standby ?? null
  const replicas = leading?.own?.replicas
  const disks = [...(replicas?.keys() ?? [])]
  const copy = disks.find((one) => nodeOf(one) === name)
  const ownEnd = leads && leading?.config.node === name ? leading.own?.end : undefined
  return {
    node: name,
    dr,
    role: leads ? 'leader' : 'standby',
    sync: standby !== null && nodeOf(standby) === name,
    state: stateOf(view, leads, out !== undefined, said !== undefined),
    reason: said?.reason ?? (out === undefined ? null : `out since epoch ${out.epoch}`),
    flushed: ownEnd ?? (copy === undefined ? null : (replicas?.get(copy) ?? null)),
  }
}

function stateOf(
  view: View | undefined,
  leads: boolean,
  out: boolean,
  present: boolean,
): MemberStatus['state'] {
  if (out) return 'evicted'
  if (leads) return view?.leader?.timeline === 0 ? 'promoting' : 'running'
  return present ? 'running' : 'absent'
}

/** A line for each thing that an operator wants to know. */
export function statusWords(status: ClusterStatus): string {
  const { leader, sync, pause, switchover, blocked } = status
  return [
    `cluster ${status.cluster}, epoch ${status.epoch}, as ${status.node} sees it${status.quorum ? '' : ' (OLD: the coordination store does not answer)'}`,
    leader === null ? 'nobody leads' : `${leader.node} leads, on timeline ${leader.timeline}`,
    sync === null ? 'no Standby is synchronous' : `${sync} is synchronous`,
    ...status.members.map(memberWords),
    ...(pause === null
      ? []
      : [`${pause.by} paused failover until ${pause.until}: ${pause.why}${pause.over ? ' (over)' : ''}`]),
    ...(switchover === null
      ? []
      : [
          `${switchover.by} ordered a switchover to ${switchover.target ?? 'the synchronous Standby'}: ${switchover.why}`,
        ]),
    ...(status.appointment === null
      ? []
      : [`appointed: ${status.appointment.node}, because ${status.appointment.because}`]),
    ...(blocked === null ? [] : [`nobody is promoted: ${blocked}`]),
    ...status.records.map(recordWords),
  ].join('\n')
}

const memberWords = (member: MemberStatus): string =>
  [
    `  ${member.node}`,
    member.dr ? 'DR Standby' : member.role === 'leader' ? 'Leader' : 'Standby',
    member.state,
    ...(member.sync ? ['synchronous'] : []),
    ...(member.reason === null ? [] : [member.reason]),
  ].join('  ')

const recordWords = (reign: ReignStatus): string => {
  const { epoch, node, how, because, possibleLoss, record, signature, verified } = reign
  const marks = [
    record?.order?.drill ? 'drill' : how,
    record?.times.opened ?? 'not opened',
    ...(possibleLoss ? ['POSSIBLE LOSS'] : []),
    ...(signature === null ? ['not signed yet'] : [`signed by ${signature.node}`]),
    ...(verified === undefined ? [] : [verified ? 'verified' : 'SIGNATURE IS WRONG']),
  ]
  return `epoch ${epoch}: ${node} (${marks.join(', ')}): ${because}`
}
