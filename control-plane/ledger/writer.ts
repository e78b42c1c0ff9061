// The one writer of the Leader (architecture P2). Many commands share one commit; each has a position of its own.
//
// There are no savepoints: a decision is pure, and rows are touched only after it. If the database refuses a
// batch, nothing of it is stored and its commands run again one by one, so that only the faulty one fails.
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import type { Command, Committed, Decision, Ledger, Snapshot } from '#shared/ledger/store.ts'
import { applyChanges } from './apply.ts'
import type { LoggedCommit } from './change-log.ts'
import type { Database, HeldSession, Session } from './connection.ts'
import { beginGuarded } from './epoch-guard.ts'
import { createLanes, type Lanes } from './lanes.ts'
import { readCommits } from './log.ts'
import { readFolded } from './reader.ts'
import { rehearse } from './rehearsal.ts'
import {
  encodeParts,
  type Head,
  movesRoles,
  nextCommit,
  recordGroups,
  type Stage,
  storeAndCommit,
  storingError,
  type Written,
} from './storing.ts'

type Job = {
  readonly command: Command<Decision>
  readonly resolve: (committed: Committed<Decision>) => void
  readonly reject: (error: unknown) => void
}

/** What somebody else has committed in a turn of his own. */
export type Stored = {
  readonly commits: readonly LoggedCommit[]
  /** Whether there are audit lines. */
  readonly records: boolean
}

type Store = (head: Head, at: number) => Promise<Stored>

/** Nobody writes here while somebody else does. */
type Turn = {
  readonly store: Store
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** For who writes on a connection of his own (planned.ts). */
export type Turns = Lanes & {
  /**
   * Calls `store` when it is its turn; it goes on from the head it is given. When it fails, the database is asked what
   * was committed. Rejects as `store` does, or with `unavailable`.
   */
  turn(store: Store): Promise<void>
}

export type Writer = Ledger &
  Turns & {
    head(): Head
    /** Called for every commit once it is durable, in order. */
    onCommit(listener: (commit: LoggedCommit) => void): () => void
    /** Called when audit lines of writes are durable. */
    onRecords(listener: () => void): () => void
    /**
     * What was read just now may be shown: undefined, at once; otherwise when the synchronous Standby has it. Rejects with
     * `unavailable` when that cannot be learnt.
     */
    certain(): Promise<void> | undefined
    /** Resolves when no command is left. */
    idle(): Promise<void>
    /** From now on writes are refused with `unavailable`; those that are waiting are still done. */
    refuse(why: string): void
  }

export type WriterOptions = {
  readonly database: Database
  readonly epoch: number
  readonly clock: Clock
}

/**
 * Committed when the synchronous Standby has all before it. A commit whose wait was cut off can be read here while that
 * Standby has not got it, and may never: nobody is told of it before (cluster 6.1, I6).
 */
const BARRIER = "SELECT pg_logical_emit_message(true, 'holdfast', '')"

/** What one batch may have committed unheard is read whole: it was in memory before. */
const UNHEARD_BYTES = Number.POSITIVE_INFINITY

export async function createWriter({ database, epoch, clock }: WriterOptions): Promise<Writer> {
  let head = await readHead(database)
  const lanes = createLanes()
  const commitListeners = new Set<(commit: LoggedCommit) => void>()
  const recordListeners = new Set<() => void>()
  const waiting: (Job | Turn)[] = []
  let running: Promise<void> | undefined
  let session: HeldSession | undefined
  /** A wait for the synchronous Standby may have been cut off, and nobody has waited since. */
  let uncertain = false
  let refused: string | undefined

  /** A new connection may follow a commit whose outcome nobody heard: the database says where the ledger stands. */
  async function openSession(): Promise<HeldSession> {
    const opened = await database.session()
    try {
      const found = await readHead(opened)
      await opened.query(BARRIER)
      const unheard =
        found.position.seq > head.position.seq ? await readCommits(opened, head.position, UNHEARD_BYTES) : []
      head = found
      uncertain = false
      tell(unheard, true)
      return opened
    } catch (error) {
      opened.release(true)
      throw error
    }
  }

  async function drain(): Promise<void> {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      if ('store' in first) {
        waiting.shift()
        await runTurn(first)
        continue
      }
      const turnAt = waiting.findIndex((job) => 'store' in job)
      const batch = waiting.splice(
        0,
        Math.min(turnAt < 0 ? Number.POSITIVE_INFINITY : turnAt, limits.commandsPerCommit),
      ) as Job[]
      if (await runBatch(batch)) continue
      // One of them was refused by the database: alone, each gets its own answer.
      for (const job of batch) await runBatch([job])
    }
    running = undefined
  }

  async function runTurn({ store, resolve, reject }: Turn): Promise<void> {
    try {
      // The head that it goes on from must be the database's.
      session ??= await openSession()
      const { commits, records } = await store(headOfEpoch(), clock.wall())
      head = commits.at(-1) ?? head
      tell(commits, records)
      resolve()
    } catch (error) {
      // What it may have committed is found by the next session.
      session?.release(true)
      session = undefined
      uncertain = true
      reject(error)
    }
  }

  const headOfEpoch = (): Head => ({
    position: { epoch, seq: head.position.seq },
    contentHash: head.contentHash,
  })

  /** False when the batch was rolled back and should run one by one. */
  async function runBatch(batch: readonly Job[]): Promise<boolean> {
    const stage: Stage = { committing: false }
    let done: readonly Done[]
    try {
      session ??= await openSession()
      done = await inTransaction(session, batch, stage)
    } catch (error) {
      session?.release(true)
      session = undefined
      uncertain ||= stage.committing
      return settleFailure(batch, error, stage.committing)
    }
    answer(done)
    return true
  }

  async function inTransaction(s: Session, batch: readonly Job[], stage: Stage): Promise<Done[]> {
    // What does not need the reply before it is sent with it: three ways there and back for one command, not six.
    const [, facts] = await Promise.all([beginGuarded(s, epoch), readFolded(s, batch[0]!.command)])
    const run = new Run(headOfEpoch(), clock.wall())
    await run.commands(s, batch, facts)
    await storeAndCommit(s, run.written, stage)
    if (run.changed) head = run.head
    return run.done
  }

  function answer(done: readonly Done[]): void {
    for (const { job, committed, failed } of done) {
      if (failed === undefined) job.resolve(committed)
      else job.reject(failed.error)
    }
    tell(
      done.flatMap(({ logged }) => logged ?? []),
      done.some(({ committed }) => committed.decision.records.length > 0),
    )
  }

  function tell(commits: readonly LoggedCommit[], records: boolean): void {
    for (const commit of commits) for (const listener of commitListeners) listener(commit)
    if (records) for (const listener of recordListeners) listener()
  }

  function settleFailure(batch: readonly Job[], error: unknown, committing: boolean): boolean {
    if (!committing && batch.length > 1 && !(error instanceof DomainError)) return false
    const answer = storingError(error, committing)
    for (const job of batch) job.reject(answer)
    return true
  }

  function enqueue<T>(
    jobOf: (resolve: (done: T) => void, reject: (error: unknown) => void) => Job | Turn,
  ): Promise<T> {
    if (refused !== undefined) return Promise.reject(new DomainError('unavailable', refused))
    if (waiting.length >= limits.commandsWaiting) {
      return Promise.reject(new DomainError('unavailable', 'too many writes are waiting; try again'))
    }
    return new Promise((resolve, reject) => {
      waiting.push(jobOf(resolve, reject))
      running ??= Promise.resolve().then(drain)
    })
  }

  return {
    async submit<D extends Decision>(command: Command<D>): Promise<Committed<D>> {
      const { lane } = command
      if (lane !== undefined) await lanes.enter(lane)
      try {
        const committed = await enqueue<Committed<Decision>>((resolve, reject) => ({
          command,
          resolve,
          reject,
        }))
        return committed as Committed<D>
      } finally {
        if (lane !== undefined) lanes.leave(lane)
      }
    },
    rehearse: (trial) => rehearse(database, trial),
    turn: (store) => enqueue<void>((resolve, reject) => ({ store, resolve, reject })),
    enter: lanes.enter,
    leave: lanes.leave,
    head: () => head,
    certain: () =>
      uncertain ? enqueue<void>((resolve, reject) => ({ store: nothing, resolve, reject })) : undefined,
    onCommit: (listener) => subscribe(commitListeners, listener),
    onRecords: (listener) => subscribe(recordListeners, listener),
    refuse(why) {
      refused = why
    },
    async idle() {
      while (running !== undefined) await running
      session?.release()
      session = undefined
    },
  }
}

const nothing: Store = async () => ({ commits: [], records: false })

function subscribe<T>(listeners: Set<T>, listener: T): () => void {
  listeners.add(listener)
  return () => void listeners.delete(listener)
}

async function readHead(session: Session): Promise<Head> {
  const text = 'SELECT epoch, seq, content_hash FROM ledger_state'
  const row = (await session.prepared('ledger state', text, [])).rows[0]!
  return {
    position: { epoch: Number(row.epoch), seq: Number(row.seq) },
    contentHash: row.content_hash as string,
  }
}

type Done = {
  readonly job: Job
  readonly committed: Committed<Decision>
  readonly logged: LoggedCommit | undefined
  /** This command alone has failed. */
  readonly failed: Failed | undefined
}

/** What a decision threw. */
type Failed = { readonly error: unknown }

function decide(job: Job, facts: Snapshot): { decision: Decision; failed: Failed | undefined } {
  try {
    return { decision: job.command.decide(facts), failed: undefined }
  } catch (error) {
    return { decision: { changes: [], records: [] }, failed: { error } }
  }
}

/** One transaction as it grows, command by command. */
class Run {
  readonly done: Done[] = []
  readonly #at: number
  readonly #records: string[] = []
  head: Head
  changed = false

  constructor(head: Head, at: number) {
    this.head = head
    this.#at = at
  }

  /** `facts`: of the first command. Those of the next are asked for with the changes of the one before it. */
  async commands(session: Session, batch: readonly Job[], facts: Snapshot): Promise<void> {
    let read: Snapshot | undefined = facts
    for (const [i, job] of batch.entries()) {
      const { decision, failed } = decide(job, { ...read!, position: this.head.position })
      const next = batch[i + 1]
      const [moved, after] = await Promise.all([
        decision.changes.length > 0 ? applyChanges(session, decision.changes) : undefined,
        next === undefined ? undefined : readFolded(session, next.command),
      ])
      read = after
      for (const line of decision.records) this.#records.push(line)
      const logged = moved && nextCommit(this.head, this.#at, encodeParts(decision.changes), moved)
      if (logged !== undefined) {
        this.head = logged
        this.changed = true
      }
      const committed = { decision, position: this.head.position, changed: logged !== undefined }
      this.done.push({ job, committed, logged, failed })
    }
  }

  get written(): Written {
    return {
      commits: this.done.flatMap(({ logged }) => logged ?? []),
      groups: recordGroups(this.#records),
      movesRoles: this.done.some(({ committed }) => movesRoles(committed.decision.changes)),
    }
  }
}
