// What the main thread of a Follower and its server threads tell each other.
import type { LinkStatus } from '../link/link.ts'
import type { FollowerSettings } from '../settings.ts'
import type { KeysTold, KeysWanted } from './thread-keys.ts'

export type ThreadStart = {
  readonly settings: FollowerSettings
  /** Number of the thread: its audit queue is a file of its own. */
  readonly slot: number
  /** All threads together, to share the audit budget. */
  readonly threads: number
}

export type ToThread =
  | { readonly kind: 'applied' }
  | { readonly kind: 'link'; readonly status: LinkStatus }
  /** The whole copy has been compared with its digests, at this wall time. */
  | { readonly kind: 'verified'; readonly at: number }
  /** Answers what the thread asked with this number. */
  | { readonly kind: 'keys'; readonly id: number; readonly told: KeysTold }
  | { readonly kind: 'stop' }

export type FromThread =
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'keys'; readonly id: number; readonly wanted: KeysWanted }
  | { readonly kind: 'stopped' }
