// What an operator may order at a control node (cluster 2, 8), by the name of each order.
import { z } from 'zod'
import { limits } from '#shared/base/limits.ts'
import { type Wall, wall } from '#shared/base/time.ts'
import type { SigningKeyRow } from '#shared/token/access-token.ts'
import { type Transaction, transactions, withNote } from '../coordination/keys.ts'
import type { Note } from '../coordination/orders.ts'
import type { StoreMember, WithMembers } from '../coordination/store.ts'
import type { Node } from '../failover/types.ts'
import { awaited, transacted, viewNow } from './asking.ts'
import type { Act } from './door.ts'
import { drill, switchover } from './handover.ts'
import { mustBeMember } from './member.ts'
import { type ByHandOptions, compare, promote, recover } from './promotion.ts'
import { Refusal } from './refusal.ts'
import { isSigned } from './signatures.ts'
import { type ClusterStatus, clusterStatus } from './status.ts'

export type ActsOptions = ByHandOptions & {
  readonly cluster: string
  readonly servers: WithMembers
  /** What the machine is and knows. */
  readonly node: () => Node | undefined
  /** Of all nodes, for what they have signed. */
  readonly keys: () => Promise<readonly SigningKeyRow[]>
}

const why = z.string().trim().min(1).max(limits.operatorWords)
const by = z.string().trim().min(1).max(100)
const node = z.string().min(1).max(100)
const order = { by, why }
const byHand = z.object({ ...order, accept_data_loss: z.boolean() })
/** A pause that is forgotten ends by itself. */
const PAUSE_MOST_MS = 7 * 24 * 60 * 60 * 1000

type By = { readonly by: string }

const act = <T>(form: z.ZodType<T>, run: (input: T, signal: AbortSignal) => Promise<unknown>): Act => ({
  form,
  run,
})

export function actsOf(options: ActsOptions): Readonly<Record<string, Act>> {
  return {
    status: act(z.object({ verify: z.boolean().default(false) }), ({ verify }) => status(options, verify)),
    members: act(z.object({}), () => members(options)),
    pause: act(z.object({ ...order, for_ms: z.number().int().min(1_000).max(PAUSE_MOST_MS) }), (asked) =>
      pause(options, asked),
    ),
    resume: act(z.object({ by }), (asked) => resume(options, asked)),
    evict: act(z.object({ ...order, node }), (asked) => evict(options, asked)),
    rejoin: act(z.object({ by, node }), (asked, signal) => rejoin(options, asked, signal)),
    switchover: act(z.object({ ...order, to: node.optional() }), (asked, signal) =>
      switchover(options, asked, signal),
    ),
    drill: act(z.object({ ...order, to: node.optional(), back: z.boolean() }), (asked, signal) =>
      drill(options, asked, signal),
    ),
    promote: act(byHand, (asked, signal) => promote(options, asked, signal)),
    recover: act(byHand, (asked, signal) => recover(options, asked, signal)),
    compare: act(z.object({ host: z.string().min(1).max(255) }), (asked, signal) =>
      compare(options, asked, signal),
    ),
  }
}

async function status(options: ActsOptions, verify: boolean): Promise<ClusterStatus> {
  const { store, clock, cluster, config } = options
  const known = options.node()
  const read = (await store.read()) ?? (await store.read())
  const seen = { cluster, config, node: known, view: read ?? known?.view, quorum: read !== undefined }
  const found = clusterStatus({ ...seen, now: clock.wall() })
  return verify ? verified(found, await options.keys()) : found
}

async function verified(found: ClusterStatus, keys: readonly SigningKeyRow[]): Promise<ClusterStatus> {
  const records = found.records.map(async (reign) => {
    const { record, signature } = reign
    return record === null || signature === null
      ? reign
      : { ...reign, verified: await isSigned(record, signature, keys) }
  })
  return { ...found, records: await Promise.all(records) }
}

async function members({ servers }: ActsOptions): Promise<readonly StoreMember[]> {
  const found = (await servers.members()) ?? (await servers.members())
  if (found !== undefined) return found
  throw new Refusal('store_unknown', 'the coordination store does not answer: start its members')
}

const noteOf = (
  { clock }: ActsOptions,
  operation: Note['operation'],
  about: By & { readonly node?: string; readonly why?: string },
): Note => ({
  id: crypto.randomUUID(),
  operation,
  by: about.by,
  node: about.node ?? null,
  why: about.why ?? '',
  at: clock.wall(),
})

export type Paused = { readonly until: Wall }

async function pause(
  options: ActsOptions,
  asked: By & { readonly why: string; readonly for_ms: number },
): Promise<Paused> {
  const until = wall(options.clock.wall() + asked.for_ms)
  const paused = transactions.pause({ by: asked.by, why: asked.why, until })
  await mustBeDone(options, withNote(paused, noteOf(options, 'pause', asked)))
  return { until }
}

export type Resumed = { readonly was_paused: boolean }

async function resume(options: ActsOptions, asked: By): Promise<Resumed> {
  const { pause: held } = await viewNow(options)
  if (held === undefined) return { was_paused: false }
  await mustBeDone(options, withNote(transactions.resume(), noteOf(options, 'resume', asked)))
  return { was_paused: true }
}

async function mustBeDone(options: ActsOptions, transaction: Transaction): Promise<void> {
  if (!(await transacted(options, transaction)))
    throw new Refusal('changed', 'the cluster changed meanwhile: look at "cluster status" and try again')
}

export type Evicted = { readonly node: string; readonly was_out: boolean }

/** Out, until an operator lets it in. Who leads or has the duty is not removed: writes would wait for nobody. */
async function evict(
  options: ActsOptions,
  asked: By & { readonly node: string; readonly why: string },
): Promise<Evicted> {
  const { node: name } = asked
  mustBeMember(options.config, name)
  const { leader, sync, evicted } = await viewNow(options)
  if (evicted.get(name)?.by !== undefined) return { node: name, was_out: true }
  if (leader === undefined || sync === undefined)
    throw new Refusal('no_leader', 'nobody leads: who is to be removed may be needed to lead')
  if (leader.node === name) throw new Refusal('leads', `${name} leads: use "cluster switchover" first`)
  if (sync.standby?.startsWith(`${name}#`) === true)
    throw new Refusal(
      'refused',
      `${name} has the sync duty: stop it, and remove it when another Standby has the duty`,
    )
  if (evicted.has(name))
    throw new Refusal(
      'evicted',
      `${name} is out already, and comes back by itself only where that is harmless`,
    )
  await mustBeDone(
    options,
    withNote(transactions.evict(name, asked.by, leader, sync), noteOf(options, 'evict', asked)),
  )
  return { node: name, was_out: false }
}

const REJOIN_WITHIN_MS = 20_000

export type Rejoined = {
  readonly node: string
  /** It was out until now. */
  readonly was_out: boolean
  /** It has said that it is in again. */
  readonly present: boolean
}

/** Lets it in: it follows the Leader, and takes a copy where its own log has become another one. */
async function rejoin(
  options: ActsOptions,
  asked: By & { readonly node: string },
  signal: AbortSignal,
): Promise<Rejoined> {
  const { node: name } = asked
  mustBeMember(options.config, name)
  const eviction = (await viewNow(options)).evicted.get(name)
  if (eviction !== undefined) {
    const readmit = withNote(transactions.readmit(name, eviction), noteOf(options, 'enroll', asked))
    const again = (await transacted(options, readmit))
      ? undefined
      : (await viewNow(options)).evicted.get(name)
    if (again !== undefined)
      throw new Refusal(
        'changed',
        `${name} was put out anew in epoch ${again.epoch}: look at "cluster status" and try again`,
      )
  }
  const present = await awaited(options, REJOIN_WITHIN_MS, signal, ({ present: there, evicted }) => {
    const said = there.get(name)
    return said !== undefined && said.state === undefined && !evicted.has(name) ? true : undefined
  })
  return { node: name, was_out: eviction !== undefined, present: present === true }
}
