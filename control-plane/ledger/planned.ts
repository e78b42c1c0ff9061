// A ledger for writes that take long to decide. Facts are read and the decision is made while others write; when its
// turn comes, only what the database has to do is left to be done.
//
// A decision is a function of its facts, so it stands as long as no table that they were read from has changed. If one
// has, it is made again, in the worst case within the turn.
import { fromUtf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { decodeChanges } from '#shared/ledger/change.ts'
import type { Position } from '#shared/ledger/position.ts'
import type { Command, Committed, Decision, Ledger } from '#shared/ledger/store.ts'
import { type TableName, tableNames } from '#shared/ledger/tables.ts'
import { applyChanges } from './apply.ts'
import type { LoggedCommit } from './change-log.ts'
import type { Database, Session } from './connection.ts'
import { beginGuarded } from './epoch-guard.ts'
import { foldedText, readFolded } from './reader.ts'
import { rehearse } from './rehearsal.ts'
import {
  encodeParts,
  type Head,
  movesRoles,
  nextCommit,
  type RecordGroup,
  recordGroups,
  type Stage,
  storeAndCommit,
  storingError,
} from './storing.ts'
import type { Turns } from './writer.ts'

export type PlannedOptions = {
  readonly database: Database
  readonly epoch: number
  readonly turns: Turns
}

/** As the writer's own `Ledger`, with which it takes turns. */
export function createPlannedLedger({ database, epoch, turns }: PlannedOptions): Ledger {
  return {
    async submit<D extends Decision>(command: Command<D>): Promise<Committed<D>> {
      // One connection from the beginning: in its turn, for which everybody else waits, it must wait for none.
      const session = await database.session()
      let broken = true
      try {
        const committed = await submitOn(session, epoch, turns, command)
        broken = false
        return committed
      } finally {
        // Closing the connection rolls back, whatever state it is in.
        session.release(broken)
      }
    },
    rehearse: (trial) => rehearse(database, trial),
  }
}

async function submitOn<D extends Decision>(
  session: Session,
  epoch: number,
  turns: Turns,
  command: Command<D>,
): Promise<Committed<D>> {
  let plan = await planned(session, command)
  const lane = plan.decision.changes.length > 0 ? command.lane : undefined
  if (lane !== undefined) await turns.enter(lane)
  try {
    if (await outdated(session, plan)) plan = await planned(session, command)
    let committed: Committed<D> | undefined
    await turns.turn(async (head, at) => {
      const stored = await store(session, epoch, command, plan, head, at)
      committed = stored.committed
      return { commits: stored.commits, records: stored.records }
    })
    return committed!
  } finally {
    if (lane !== undefined) turns.leave(lane)
  }
}

/** What the database answered; its errors as the sender of a write is told of them, and no others. */
async function answered<T>(asked: Promise<T>, stage: Stage = { committing: false }): Promise<T> {
  try {
    return await asked
  } catch (error) {
    throw storingError(error, stage.committing)
  }
}

/** A decision with everything that can be made ready before its turn. */
type Plan<D extends Decision> = {
  /** Of the facts. */
  readonly position: Position
  readonly tables: ReadonlySet<TableName>
  readonly decision: D
  readonly parts: readonly Uint8Array[]
  readonly groups: readonly RecordGroup[]
}

async function planned<D extends Decision>(session: Session, command: Command<D>): Promise<Plan<D>> {
  const facts = await answered(readFolded(session, command))
  const decision = command.decide(facts)
  return {
    position: facts.position,
    tables: tablesIn(foldedText(command.statements)),
    decision,
    parts: encodeParts(decision.changes),
    groups: recordGroups(decision.records),
  }
}

const tablesIn = (sql: string): ReadonlySet<TableName> =>
  new Set(tableNames.filter((table) => new RegExp(`\\b${table}\\b`).test(sql)))

const SINCE =
  'SELECT s.epoch, s.seq AS head, l.seq, CASE WHEN octet_length(l.changes) <= $2 THEN l.changes END AS changes ' +
  'FROM ledger_state s LEFT JOIN change_log l ON l.seq > $1 ORDER BY l.seq LIMIT $3'

/** Whether a table that the facts came from has changed since, as far as can be told at little cost. */
async function outdated(session: Session, { position, tables }: Plan<Decision>): Promise<boolean> {
  const { rows } = await answered(
    session.query(SINCE, [position.seq, limits.partTargetBytes, limits.commitsLookedThrough]),
  )
  const { epoch, head } = rows[0]!
  if (Number(epoch) !== position.epoch || Number(rows.at(-1)!.seq ?? position.seq) !== Number(head))
    return true
  return rows.some(
    ({ seq, changes }) => seq !== null && (changes === null || touches(changes as Uint8Array, tables)),
  )
}

const touches = (changes: Uint8Array, tables: ReadonlySet<TableName>): boolean =>
  decodeChanges(fromUtf8(changes) ?? '').some(({ table }) => tables.has(table))

type StoredPlan<D extends Decision> = {
  readonly committed: Committed<D>
  readonly commits: readonly LoggedCommit[]
  readonly records: boolean
}

async function store<D extends Decision>(
  session: Session,
  epoch: number,
  command: Command<D>,
  given: Plan<D>,
  head: Head,
  at: number,
): Promise<StoredPlan<D>> {
  await answered(beginGuarded(session, epoch))
  const plan = (await outdated(session, given)) ? await planned(session, command) : given
  const { decision, parts, groups } = plan
  const { changes } = decision
  const moved = changes.length > 0 ? await answered(applyChanges(session, changes)) : undefined
  const commit = moved && nextCommit(head, at, parts, moved)
  const commits = commit === undefined ? [] : [commit]
  const stage: Stage = { committing: false }
  await answered(storeAndCommit(session, { commits, groups, movesRoles: movesRoles(changes) }, stage), stage)
  const { position } = commit ?? head
  return {
    committed: { decision, position, changed: commit !== undefined },
    commits,
    records: groups.length > 0,
  }
}
