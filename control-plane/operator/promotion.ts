// What an operator does where the cluster does not decide by itself (cluster 8): promote one node, begin the store anew,
// compare what nodes have.
import { wall } from '#shared/base/time.ts'
import { type View, withNote } from '../coordination/keys.ts'
import type { FailoverRecord } from '../coordination/orders.ts'
import type { Remembered } from '../coordination/remembered.ts'
import { notBelieved } from '../coordination/remembered.ts'
import { type ByHand, type Position, promoteByHand, recoverByHand } from '../failover/by-hand.ts'
import type { Config } from '../failover/types.ts'
import type { OwnLog, PeerLog } from '../postgres/looking.ts'
import { howToFollow } from '../postgres/timeline.ts'
import { type Asking, awaited, transacted, viewNow } from './asking.ts'
import { Refusal } from './refusal.ts'

/** How this node looks at logs. */
export type Looking = {
  /** Undefined: it holds no data. */
  here(): Promise<OwnLog | undefined>
  /** `host`: a member's name, or host:port. Errors: it cannot be asked. */
  there(host: string, signal: AbortSignal): Promise<PeerLog>
}

export type ByHandOptions = Asking & {
  readonly config: Config
  readonly looking: Looking
  readonly remembered: () => Remembered | undefined
  readonly unbelieved: () => Promise<View | undefined>
}

export type ByHandAsked = { readonly by: string; readonly why: string; readonly accept_data_loss: boolean }

export type PromotedByHand = {
  readonly leader: string
  readonly comparison: readonly string[]
  readonly because: string
  readonly record: FailoverRecord
}

/** How long the node may take to heed it, and to serve then. */
const UNTIL_MS = 60_000
const SERVES_WITHIN_MS = 90_000

/** For `role promote`: this very node. */
export async function promote(
  options: ByHandOptions,
  asked: ByHandAsked,
  signal: AbortSignal,
): Promise<PromotedByHand> {
  const view = await viewNow(options)
  const positions = await positionsOf(options, signal)
  return carriedOut(options, promoteByHand(askedOf(options, asked), view, positions), view.epoch + 1, signal)
}

/** For `cluster recover`: into a store that is new, with this node. */
export async function recover(
  options: ByHandOptions,
  asked: ByHandAsked,
  signal: AbortSignal,
): Promise<PromotedByHand> {
  const { config, clock } = options
  const known = options.remembered()
  if (known === undefined)
    throw new Refusal('unsupported', `${config.node} has never seen a Leader: recover with a node that has`)
  const view = await options.unbelieved()
  if (view === undefined)
    throw new Refusal(
      'store_unknown',
      'no coordination store answers: start a new, empty etcd, name it in the setting etcd of this node, and start the node again',
    )
  if (view.epoch >= known.epoch)
    throw new Refusal(
      'unsupported',
      `the store is sound, at epoch ${view.epoch}: there is nothing to recover`,
    )
  if (view.epoch > 0) throw new Refusal('old_store', notBelieved(view.epoch, known.epoch))
  const positions = await positionsOf(options, signal)
  const byHand = recoverByHand(
    askedOf(options, asked),
    // The duty may have moved when this node did not hear of it any more: positions alone decide.
    { epoch: known.epoch, sync: undefined, above: known.above },
    positions,
  )
  const heard = `${config.node} last saw epoch ${known.epoch}, from ${known.at} on: ${known.leader ?? 'nobody'} led, ${known.sync ?? 'nobody'} was synchronous`
  const note = {
    id: crypto.randomUUID(),
    operation: 'recover' as const,
    by: asked.by,
    node: config.node,
    why: asked.why,
    at: clock.wall(),
  }
  const { transaction } = byHand
  return carriedOut(
    options,
    {
      ...byHand,
      comparison: [heard, ...byHand.comparison],
      transaction: transaction && withNote(transaction, note),
    },
    undefined,
    signal,
  )
}

function askedOf({ config, clock }: ByHandOptions, { by, why, accept_data_loss }: ByHandAsked) {
  const now = clock.wall()
  return {
    node: config.node,
    acceptDataLoss: accept_data_loss,
    order: { id: crypto.randomUUID(), by, why, drill: false },
    now,
    until: wall(now + UNTIL_MS),
  }
}

async function carriedOut(
  options: ByHandOptions,
  { comparison, because, transaction }: ByHand,
  epoch: number | undefined,
  signal: AbortSignal,
): Promise<PromotedByHand> {
  const { node } = options.config
  if (transaction === undefined) {
    const code = because.includes('--accept-data-loss') ? 'data_loss_possible' : 'refused'
    throw new Refusal(code, [because, ...comparison].join('\n'))
  }
  if (!(await transacted(options, transaction)))
    throw new Refusal('changed', 'the cluster changed meanwhile: look at "cluster status" and try again')
  const record = await awaited(options, SERVES_WITHIN_MS, signal, ({ leader, reigns, epoch: now }) =>
    leader?.node === node && now >= (epoch ?? 1) ? reigns.get(now)?.record : undefined,
  )
  if (record !== undefined) return { leader: node, comparison, because, record }
  throw new Refusal(
    'not_in_time',
    `${node} was appointed and does not serve yet: "cluster status" and the log of ${node} say what it waits for`,
  )
}

/** Of every member; of others it is not known on which disk they hold it. */
async function positionsOf({ config, looking }: ByHandOptions, signal: AbortSignal): Promise<Position[]> {
  return Promise.all(
    config.members.map(async ({ name, dr }): Promise<Position> => {
      try {
        const held = name === config.node ? await looking.here() : await peerOf(name)
        return { node: name, dr, held, ...(held === undefined ? { why: 'it holds no data' } : {}) }
      } catch (error) {
        return {
          node: name,
          dr,
          held: undefined,
          why: error instanceof Error ? error.message : String(error),
        }
      }
    }),
  )

  async function peerOf(name: string) {
    const { timeline, end } = await looking.there(name, signal)
    return { disk: '', timeline, received: end }
  }
}

export type Compared = {
  readonly host: string
  readonly own: { readonly timeline: number; readonly end: number }
  readonly other: { readonly timeline: number; readonly end: number; readonly leads: boolean }
  /** What following it would take. */
  readonly verdict: 'stream' | 'copy' | 'refuse'
  readonly because: string
}

/** For `replication rebase --dry-run`. Changes nothing. */
export async function compare(
  { looking, config }: ByHandOptions,
  { host }: { readonly host: string },
  signal: AbortSignal,
): Promise<Compared> {
  const own = await looking.here()
  const other = await looking.there(host, signal).catch((cause: unknown) => {
    throw new Refusal(
      'unreachable',
      `${host} cannot be asked (${cause instanceof Error ? cause.message : String(cause)}): give a member, or host:port of its Postgres`,
    )
  })
  if (own === undefined)
    throw new Refusal('refused', `${config.node} holds no data yet: there is nothing to compare`)
  const verdict = howToFollow(own, other, other.history)
  return {
    host,
    own: { timeline: own.timeline, end: own.end },
    other: { timeline: other.timeline, end: other.end, leads: !other.inRecovery },
    verdict: verdict.kind,
    because:
      verdict.kind === 'stream'
        ? `the log of ${config.node} is a beginning of that of ${host}`
        : verdict.because,
  }
}
