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

  /**
   * The log of changes, the audit outbox and the new head: durable with the rows, or not at all. What is large goes as
   * statements of its own, ahead, because bytes alone are sent as they are, and in a list as hexadecimal text.
   */
  async store(session: Session): Promise<void> {
    const groups = outboxGroups(this.#records)
    const last = groups.pop()
    const ahead = groups.map((group) => session.prepared('outbox', OUTBOX_TEXT, [group.records, group.lines]))
    if (!this.changed) {
      if (last !== undefined) ahead.push(session.prepared('outbox', OUTBOX_TEXT, [last.records, last.lines]))
      await Promise.all(ahead)
      return
    }
    const rows = this.done.flatMap(({ logged }) =>
      logged === undefined ? [] : logged.parts.map((part, i) => rowOf(logged, part, i)),
    )
    const isLarge = (row: LogRow): boolean => row.changes.length > LARGE_PART
    for (const row of rows.filter(isLarge))
      ahead.push(session.prepared('log part', PART_TEXT, Object.values(row)))
    const small = rows.filter((row) => !isLarge(row))
    const { position, contentHash } = this.head
    ahead.push(
      session.prepared('store', STORE_TEXT, [
        last?.records ?? 0,
        last?.lines ?? null,
        small.map(({ seq }) => seq),
        small.map(({ part }) => part),
        small.map(({ epoch }) => epoch),
        small.map(({ parts }) => parts),
        small.map(({ at }) => at),
        small.map(({ content_hash }) => content_hash),
        small.map(({ changes }) => changes),
        position.epoch,
        position.seq,
        contentHash,
      ]),
    )
    await Promise.all(ahead)
  }
}

const LARGE_PART = 32 * 1024

/** Of the change log, in the order of its columns. */
type LogRow = {
  readonly seq: number
  readonly part: number
  readonly epoch: number
  readonly parts: number
  readonly at: number
  readonly content_hash: string
  readonly changes: Buffer
}

const rowOf = (
  { position, parts, at, contentHash }: LoggedCommit,
  changes: Uint8Array,
  part: number,
): LogRow => ({
  seq: position.seq,
  part,
  epoch: position.epoch,
  parts: parts.length,
  at,
  content_hash: contentHash,
  changes: bufferOf(changes),
})

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)

type Group = { readonly records: number; readonly lines: Buffer }

/** Lines as they are stored: one below the other, since a record never holds a line break. */
function outboxGroups(lines: readonly string[]): Group[] {
  const groups: Group[] = []
  let from = 0
  let size = 0
  for (let i = 0; i < lines.length; i++) {
    size += lines[i]!.length + 1
    if (size < limits.outboxGroupBytes && i < lines.length - 1) continue
    groups.push({ records: i + 1 - from, lines: bufferOf(utf8(lines.slice(from, i + 1).join('\n'))) })
    from = i + 1
    size = 0
  }
  return groups
}

const OUTBOX_TEXT = 'INSERT INTO audit_outbox (records, lines) VALUES ($1, $2)'

const LOG_COLUMNS = 'INSERT INTO change_log (seq, part, epoch, parts, at, content_hash, changes)'
const PART_TEXT = `${LOG_COLUMNS} VALUES ($1, $2, $3, $4, $5, $6, $7)`

/** One round trip for all three. */
const STORE_TEXT =
  'WITH outbox AS (INSERT INTO audit_outbox (records, lines) SELECT $1::integer, $2::bytea WHERE $2::bytea IS NOT NULL), ' +
  `log AS (${LOG_COLUMNS} SELECT * FROM ` +
  'unnest($3::bigint[], $4::integer[], $5::bigint[], $6::integer[], $7::bigint[], $8::text[], $9::bytea[])) ' +
  'UPDATE ledger_state SET epoch = $10, seq = $11, content_hash = $12'

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
