// While this node leads and serves, what happened to the cluster is told to the process that writes the audit, and what
// that has accounted for is marked so in the store.
import type { Clock } from '#shared/base/time.ts'
import { errorFields, type Log } from '#shared/node/log.ts'
import { transactions } from './coordination/keys.ts'
import type { Signature } from './coordination/orders.ts'
import type { CoordinationStore } from './coordination/store.ts'
import type { Node } from './failover/types.ts'
import { type Deed, deedsOf } from './operator/deeds.ts'

export type AccountingOptions = {
  readonly store: CoordinationStore
  readonly clock: Clock
  readonly node: () => Node | undefined
  /** Rejected when it is not known whether the audit has it. */
  readonly account: (deed: Deed) => Promise<Signature | undefined>
  readonly log: Log
}

const LOOK_EVERY_MS = 500

/** Resolves when the signal is aborted. */
export async function accountWhileLeading(options: AccountingOptions, signal: AbortSignal): Promise<void> {
  const { clock, log } = options
  while (!signal.aborted) {
    await accounted(options).catch((error: unknown) => {
      if (!signal.aborted)
        log.warn('what happened to the cluster is not in the audit yet', errorFields(error))
    })
    await clock.sleep(LOOK_EVERY_MS, signal)
  }
}

async function accounted({ store, node, account }: AccountingOptions): Promise<void> {
  const { role, view } = node() ?? {}
  if (role?.phase !== 'leading' || role.stage !== 'open' || view === undefined) return
  for (const deed of deedsOf(view)) {
    const signature = await account(deed)
    const { leadership } = role
    // Not done, it is seen again in the next view, and the audit has it once all the same.
    if (deed.kind === 'note') await store.transact(transactions.noted(leadership, deed.id))
    else if (signature !== undefined)
      await store.transact(transactions.sign(leadership, deed.record.epoch, signature))
  }
}
