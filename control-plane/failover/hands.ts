// What the machine asks of the Postgres of its node (cluster 6.1, 7.4, 7.5). Asked one after the other; every answer
// comes within the time that its own comment gives, or the promise is rejected.
import type { Copy, Lsn } from '../coordination/keys.ts'
import type { Own } from './types.ts'

/** `answers`: Postgres took a question; `writes`: of a Leader, also a write that waits for nobody. */
export type PostgresProbe = Pick<Own, 'receiving' | 'end' | 'busy' | 'replicas'> & {
  readonly answers: boolean
  readonly writes: boolean
}

/** What a copy holds, flushed, when nothing is added to it any more. */
export type Held = { readonly disk: string; readonly timeline: number; readonly received: Lsn }

export interface Hands {
  /** In recovery, and following nobody, whatever it was when it ended (I4). Without data nothing runs, and it holds nothing. */
  start(): Promise<void>
  /**
   * Never waits for anything else that was asked; at most a second. What it cannot learn is as bad as it can be. `silent`: it
   * writes nothing, and takes it that it could.
   */
  probe(silent?: boolean): Promise<PostgresProbe>
  /** Takes log from nobody any more, also after a restart; answers when all that was received is flushed and counted. */
  freeze(): Promise<Held>
  /**
   * Takes log from this node. Answers when that has begun: it goes on by itself, looks whether its own log is a beginning
   * of the other's, and copies it anew beside the old data when it is not, or cannot go on. Ended by the next `follow`,
   * `freeze`, `promote` or `demote`.
   */
  follow(leader: string): Promise<void>
  /**
   * Onto exactly the timeline after `above`, or the one after its own if that is higher; `fork`: where it begins. A commit
   * waits for ever until `setSync`.
   */
  promote(above: number): Promise<{ readonly timeline: number; readonly fork: Lsn }>
  /** In the database, durable here; every transaction of an earlier epoch is refused from then on. */
  raiseEpoch(epoch: number): Promise<void>
  /**
   * Commits wait for all of these copies, none: for nobody. Answers when no process of Postgres can release a commit by the
   * old names any more, with the end of what has been flushed here by then.
   */
  setSync(names: readonly Copy[]): Promise<{ readonly end: Lsn }>
  /** Ended at once, and in recovery again, following nobody. */
  demote(): Promise<void>
  /** Ends Postgres; nothing is asked afterwards. */
  stop(): Promise<void>
  /** Called when Postgres has ended by itself and is in recovery again, following nobody. */
  onStopped(listener: () => void): void
  /** Connection URL of one of its databases, on a socket of this machine. */
  url(database: string): string
  /** Of its processes' parent, while it runs. */
  pid(): number | undefined
}
