// The one writer of the Leader (architecture P2). Many commands share one commit; each has a position of its own.
//
// There are no savepoints: a decision is pure, and rows are touched only after it. If the database refuses a
// batch, nothing of it is stored and its commands run again one by one, so that only the faulty one fails.
import { utf8 } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { type Change, encodeChanges } from '#shared/ledger/change.ts'
import { ContentHash } from '#shared/ledger/digest.ts'
import type { Position } from '#shared/ledger/position.ts'
import type { Command, Committed, Decision, Ledger, Snapshot } from '#shared/ledger/store.ts'
import { applyChanges, type Moved } from './apply.ts'
import type { LoggedCommit } from './change-log.ts'
import { type Database, type HeldSession, isRefusal, type Session } from './connection.ts'
import { beginGuarded } from './epoch-guard.ts'
import { createLanes } from './lanes.ts'
import { readCommits } from './log.ts'
import { readFolded } from './reader.ts'
import { rehearse } from './rehearsal.ts'

type Job = {
  readonly command: Command<Decision>
  readonly resolve: (committed: Committed<Decision>) => void
  readonly reject: (error: unknown) => void
}

/** Where the ledger stands: the newest commit and the content after it. */
export type Head = { readonly position: Position; readonly contentHash: string }

export type Writer = Ledger & {
  head(): Head
  /** Called for every commit once it is durable, in order. */
  onCommit(listener: (commit: LoggedCommit) => void): () => void
  /** Called when audit lines of writes are durable. */
  onRecords(listener: () => void): () => void
  /** Resolves when no command is left. */
  idle(): Promise<void>
}

export type WriterOptions = {
  readonly database: Database
  readonly epoch: number
  readonly clock: Clock
}

/** What one batch may have committed unheard is read whole: it was in memory before. */
const UNHEARD_BYTES = Number.POSITIVE_INFINITY

export async function createWriter({ database, epoch, clock }: WriterOptions): Promise<Writer> {
  let head = await readHead(database)
  const lanes = createLanes()
  const commitListeners = new Set<(commit: LoggedCommit) => void>()
  const recordListeners = new Set<() => void>()
  const waiting: Job[] = []
  let running: Promise<void> | undefined
  let session: HeldSession | undefined

  /** A new connection may follow a commit whose outcome nobody heard: the database says where the ledger stands. */
  async function openSession(): Promise<HeldSession> {
    const opened = await database.session()
    try {
      const found = await readHead(opened)
      const unheard =
        found.position.seq > head.position.seq ? await readCommits(opened, head.position, UNHEARD_BYTES) : []
      head = found
      tell(unheard, true)
      return opened
    } catch (error) {
      opened.release(true)
      throw error
    }
  }

  async function drain(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting.splice(0, limits.commandsPerCommit)
      if (await runBatch(batch)) continue
      // One of them was refused by the database: alone, each gets its own answer.
      for (const job of batch) await runBatch([job])
    }
    running = undefined
  }

  /** False when the batch was rolled back and should run one by one. */
  async function runBatch(batch: readonly Job[]): Promise<boolean> {
    const stage: { committing: boolean } = { committing: false }
    let done: readonly Done[]
    try {
      session ??= await openSession()
      done = await inTransaction(session, batch, stage)
    } catch (error) {
      session?.release(true)
      session = undefined
      return settleFailure(batch, error, stage.committing)
    }
    answer(done)
    return true
  }

  async function inTransaction(
    s: Session,
    batch: readonly Job[],
    stage: { committing: boolean },
  ): Promise<Done[]> {
    // What does not need the reply before it is sent with it: three ways there and back for one command, not six.
    const [, facts] = await Promise.all([beginGuarded(s, epoch), readFolded(s, batch[0]!.command)])
    const run = new Run({ ...head, position: { epoch, seq: head.position.seq } }, clock.wall())
    await run.commands(s, batch, facts)
    stage.committing = true
    const [stored, committed] = await Promise.allSettled([run.store(s), s.query('COMMIT')])
    if (stored.status === 'rejected') {
      // A transaction with a refused statement cannot commit: COMMIT behind it rolled back.
      stage.committing = !isRefusal(stored.reason)
      throw stored.reason
    }
    if (committed.status === 'rejected') throw committed.reason
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
    const answer = committing
      ? new DomainError('unavailable', 'outcome unknown: the database was lost while it committed', {
          cause: error,
        })
      : error instanceof DomainError
        ? error
        : new DomainError('unavailable', 'nothing was stored: the database refused the write', {
            cause: error,
          })
    for (const job of batch) job.reject(answer)
    return true
  }

  function enqueue(command: Command<Decision>): Promise<Committed<Decision>> {
    if (waiting.length >= limits.commandsWaiting) {
      return Promise.reject(new DomainError('unavailable', 'too many writes are waiting; try again'))
    }
    return new Promise((resolve, reject) => {
      waiting.push({ command, resolve, reject })
      running ??= Promise.resolve().then(drain)
    })
  }

  return {
    async submit<D extends Decision>(command: Command<D>): Promise<Committed<D>> {
      const { lane } = command
      if (lane !== undefined) await lanes.enter(lane)
      try {
        return (await enqueue(command)) as Committed<D>
      } finally {
        if (lane !== undefined) lanes.leave(lane)
      }
    },
    rehearse: (trial) => rehearse(database, trial),
    head: () => head,
    onCommit: (listener) => subscribe(commitListeners, listener),
    onRecords: (listener) => subscribe(recordListeners, listener),
    async idle() {
      while (running !== undefined) await running
      session?.release()
      session = undefined
    },
  }
}

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
  #hash: ContentHash
  #position: Position
  changed = false

  constructor(head: Head, at: number) {
    this.#position = head.position
    this.#hash = ContentHash.parse(head.contentHash)
    this.#at = at
  }

  get head(): Head {
    return { position: this.#position, contentHash: this.#hash.toString() }
  }

  /** `facts`: of the first command. Those of the next are asked for with the changes of the one before it. */
  async commands(session: Session, batch: readonly Job[], facts: Snapshot): Promise<void> {
    let read: Snapshot | undefined = facts
    for (const [i, job] of batch.entries()) {
      const { decision, failed } = decide(job, { ...read!, position: this.#position })
      const next = batch[i + 1]
      const [moved, after] = await Promise.all([
        decision.changes.length > 0 ? applyChanges(session, decision.changes) : undefined,
        next === undefined ? undefined : readFolded(session, next.command),
      ])
      read = after
      for (const line of decision.records) this.#records.push(line)
      const logged = moved === undefined ? undefined : this.#log(decision.changes, moved)
      const committed = { decision, position: this.#position, changed: logged !== undefined }
      this.done.push({ job, committed, logged, failed })
    }
  }

  #log(changes: readonly Change[], { added, removed }: Moved): LoggedCommit {
    this.changed = true
    this.#hash = this.#hash.change(added, removed)
    this.#position = { epoch: this.#position.epoch, seq: this.#position.seq + 1 }
    const parts = encodeParts(changes)
    const bytes = parts.reduce((sum, part) => sum + part.length, 0)
    return { position: this.#position, at: this.#at, contentHash: this.#hash.toString(), parts, bytes }
  }

  /** The log of changes, the audit outbox and the new head: durable with the rows, or not at all. */
  async store(session: Session): Promise<void> {
    if (!this.changed) {
      if (this.#records.length > 0) await session.prepared('outbox', OUTBOX_TEXT, [this.#records])
      return
    }
    const rows = this.done.flatMap(({ logged }) =>
      logged === undefined ? [] : logged.parts.map((part, i) => ({ logged, part, i })),
    )
    const { position, contentHash } = this.head
    await session.prepared('store', STORE_TEXT, [
      this.#records,
      rows.map(({ logged }) => logged.position.seq),
      rows.map(({ i }) => i),
      rows.map(({ logged }) => logged.position.epoch),
      rows.map(({ logged }) => logged.parts.length),
      rows.map(({ logged }) => logged.at),
      rows.map(({ logged }) => logged.contentHash),
      rows.map(({ part }) => Buffer.from(part.buffer, part.byteOffset, part.length)),
      position.epoch,
      position.seq,
      contentHash,
    ])
  }
}

const OUTBOX_TEXT =
  'INSERT INTO audit_outbox (line) SELECT line FROM unnest($1::text[]) WITH ORDINALITY AS u(line, n) ORDER BY n'

/** One round trip for all three. */
const STORE_TEXT =
  `WITH outbox AS (${OUTBOX_TEXT}), log AS (` +
  'INSERT INTO change_log (seq, part, epoch, parts, at, content_hash, changes) SELECT * FROM ' +
  'unnest($2::bigint[], $3::integer[], $4::bigint[], $5::integer[], $6::bigint[], $7::text[], $8::bytea[])) ' +
  'UPDATE ledger_state SET epoch = $9, seq = $10, content_hash = $11'

/** Parts of about `limits.partTargetBytes`, so that a Follower never has to hold a large commit as one message. */
function encodeParts(changes: readonly Change[]): Uint8Array[] {
  const parts: Uint8Array[] = []
  let pending: Change[] = []
  let size = 0
  const flush = (): void => {
    parts.push(utf8(encodeChanges(pending)))
    pending = []
    size = 0
  }
  for (const change of changes) {
    pending.push(change)
    size += roughBytes(change)
    if (size >= limits.partTargetBytes) flush()
  }
  if (pending.length > 0) flush()
  return parts
}

function roughBytes(change: Change): number {
  let bytes = 16
  for (const value of Object.values(change.op === 'put' ? change.row : change.key)) {
    bytes += value === null ? 4 : typeof value === 'number' ? 12 : Math.ceil((value.length * 4) / 3) + 4
  }
  return bytes
}
