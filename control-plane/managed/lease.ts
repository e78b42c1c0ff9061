// Who leads on a managed Postgres, decided from what its lease row says. Pure: time is an argument, and whoever asks the
// database does it elsewhere (lease-row.ts, node.ts).
//
// The database counts a lease from when it stored the renewal, the Leader from when it sent it, and stops a margin earlier.
// So nobody who leads no more shows anything (I3). What he writes the database itself refuses, by the epoch.
import { type Monotonic, monotonic } from '#shared/base/time.ts'

export type Config = {
  /** After it, unrenewed, somebody else leads. */
  readonly lifeMs: number
  /** How long before that a Leader stops: for clocks that run differently, and slow hands. */
  readonly marginMs: number
  readonly renewEveryMs: number
  /** A Leader that does not answer clients for so long leaves the lease to somebody else. */
  readonly unwellMs: number
}

export type Holder = { readonly node: string; readonly epoch: number }

export type Role =
  /** `holder`: who leads, as far as is known. `notBefore`: until then the lease is left to others. */
  | { readonly phase: 'standby'; readonly holder: Holder | undefined; readonly notBefore: Monotonic }
  /** `wellAt`: when it answered clients last, or began. */
  | {
      readonly phase: 'leading'
      readonly epoch: number
      readonly deadline: Monotonic
      readonly wellAt: Monotonic
    }
  /** Everything that answered is to be ended before anything else. `gives`: the lease is still its own, and is given back. */
  | { readonly phase: 'fenced'; readonly epoch: number; readonly why: string; readonly gives: boolean }

/** What came of asking the database; `sentAt`: when it was asked. */
export type Heard =
  | { readonly kind: 'ours'; readonly epoch: number; readonly sentAt: Monotonic }
  | { readonly kind: 'held'; readonly by: Holder }
  | { readonly kind: 'silent' }

export const standingBy: Role = { phase: 'standby', holder: undefined, notBefore: monotonic(0) }

/** `well`: whether clients are answered. */
export function next(role: Role, heard: Heard, now: Monotonic, well: boolean, config: Config): Role {
  switch (role.phase) {
    case 'standby':
      return fromStandby(role, heard, now, config)
    case 'leading':
      return fromLeading(role, heard, now, well, config)
    case 'fenced':
      return role
  }
}

type In<P extends Role['phase']> = Extract<Role, { phase: P }>

function fromStandby(role: In<'standby'>, heard: Heard, now: Monotonic, config: Config): Role {
  switch (heard.kind) {
    case 'ours': {
      const deadline = deadlineAfter(heard.sentAt, config)
      // An answer that was so long under way is worth nothing any more: the lease runs out, and is asked for again.
      return now < deadline ? { phase: 'leading', epoch: heard.epoch, deadline, wellAt: now } : role
    }
    case 'held':
      return { ...role, holder: heard.by }
    case 'silent':
      return role
  }
}

function fromLeading(role: In<'leading'>, heard: Heard, now: Monotonic, well: boolean, config: Config): Role {
  const { epoch } = role
  if (heard.kind === 'held')
    return { phase: 'fenced', epoch, why: `${heard.by.node} leads in epoch ${heard.by.epoch}`, gives: false }
  // Also with a renewal: one that comes after the deadline must not open anything again.
  if (now >= role.deadline)
    return { phase: 'fenced', epoch, why: 'its lease was not renewed in time', gives: false }
  const wellAt = well ? now : role.wellAt
  if (now - wellAt >= config.unwellMs)
    return { phase: 'fenced', epoch, why: 'it does not answer clients', gives: true }
  const deadline = heard.kind === 'ours' ? deadlineAfter(heard.sentAt, config) : role.deadline
  return { ...role, wellAt, deadline: deadline > role.deadline ? deadline : role.deadline }
}

/** When all that answered is gone. */
export const afterFence = ({ gives }: In<'fenced'>, now: Monotonic, { lifeMs }: Config): Role => ({
  ...standingBy,
  notBefore: gives ? monotonic(now + lifeMs) : now,
})

const deadlineAfter = (sentAt: Monotonic, { lifeMs, marginMs }: Config): Monotonic =>
  monotonic(sentAt + lifeMs - marginMs)
