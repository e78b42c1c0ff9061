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
      let plan = await planned(database, command)
      const lane = plan.decision.changes.length > 0 ? command.lane : undefined
      if (lane !== undefined) await turns.enter(lane)
      try {
        if (await outdated(database, plan)) plan = await planned(database, command)
        let committed: Committed<D> | undefined
        await turns.turn(async (head, at) => {
          const stored = await store(database, epoch, command, plan, head, at)
          committed = stored.committed
          return { commits: stored.commits, records: stored.records }
        })
        return committed!
      } finally {
        if (lane !== undefined) turns.leave(lane)
      }
    },
    rehearse: (trial) => rehearse(database, trial),
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
  const facts = await readFolded(session, command)
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
  const { rows } = await session.query(SINCE, [
    position.seq,
    limits.partTargetBytes,
    limits.commitsLookedThrough,
  ])
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
  database: Database,
  epoch: number,
  command: Command<D>,
  given: Plan<D>,
  head: Head,
  at: number,
): Promise<StoredPlan<D>> {
  const session = await database.session()
  const stage: Stage = { committing: false }
  try {
    await beginGuarded(session, epoch)
    const plan = (await outdated(session, given)) ? await planned(session, command) : given
    const { decision, parts, groups } = plan
    const moved = decision.changes.length > 0 ? await applyChanges(session, decision.changes) : undefined
    const commit = moved && nextCommit(head, at, parts, moved)
    const commits = commit === undefined ? [] : [commit]
    await storeAndCommit(session, { commits, groups, movesRoles: movesRoles(decision.changes) }, stage)
    session.release()
    const { position } = commit ?? head
    return {
      committed: { decision, position, changed: commit !== undefined },
      commits,
      records: groups.length > 0,
    }
  } catch (error) {
    session.release(true)
    throw storingError(error, stage.committing)
  }
}
