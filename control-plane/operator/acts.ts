// What an operator may order at a control node (cluster 2, 8), by the name of each order.
import { z } from 'zod'
import { transactions } from '../coordination/keys.ts'
import type { Config, Node } from '../failover/types.ts'
import { type Asking, awaited, transacted, viewNow } from './asking.ts'
import type { Act } from './door.ts'
import { Refusal } from './refusal.ts'
import { type ClusterStatus, clusterStatus } from './status.ts'

export type ActsOptions = Asking & {
  readonly cluster: string
  readonly config: Config
  /** What the machine is and knows. */
  readonly node: () => Node | undefined
}

const by = z.string().trim().min(1).max(100)
const nodeName = z.string().min(1).max(100)

export function actsOf(options: ActsOptions): Readonly<Record<string, Act>> {
  return {
    status: { form: z.object({}), run: () => status(options) },
    rejoin: {
      form: z.object({ by, node: nodeName }),
      run: (asked: { by: string; node: string }, signal) => rejoin(options, asked, signal),
    },
  }
}

async function status(options: ActsOptions): Promise<ClusterStatus> {
  const { store, clock, cluster, config } = options
  const node = options.node()
  const read = (await store.read()) ?? (await store.read())
  const seen = { cluster, config, node, view: read ?? node?.view, quorum: read !== undefined }
  return clusterStatus({ ...seen, now: clock.wall() })
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
  { node }: { readonly node: string },
  signal: AbortSignal,
): Promise<Rejoined> {
  mustBeMember(options, node)
  const eviction = (await viewNow(options)).evicted.get(node)
  if (eviction !== undefined && !(await transacted(options, transactions.readmit(node, eviction)))) {
    const now = (await viewNow(options)).evicted.get(node)
    if (now !== undefined)
      throw new Refusal(
        'changed',
        `${node} was put out anew in epoch ${now.epoch}: look at "cluster status" and try again`,
      )
  }
  const present = await awaited(options, REJOIN_WITHIN_MS, signal, ({ present, evicted }) => {
    const said = present.get(node)
    return said !== undefined && said.state === undefined && !evicted.has(node) ? true : undefined
  })
  return { node, was_out: eviction !== undefined, present: present === true }
}

function mustBeMember({ config }: ActsOptions, node: string): void {
  const names = config.members.map(({ name }) => name)
  if (!names.includes(node))
    throw new Refusal(
      'unknown_node',
      `${node} is no member of this cluster: its members are ${names.join(', ')}`,
    )
}
