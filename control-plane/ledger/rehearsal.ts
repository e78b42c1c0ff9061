// What a write would do: done in a transaction of its own, looked at, and rolled back (policy 9).
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Rehearsal, Rehearsed, Trial } from '#shared/ledger/store.ts'
import { applyChanges } from './apply.ts'
import type { Database } from './connection.ts'
import { beginAlone } from './epoch-guard.ts'
import { readFolded } from './reader.ts'

/** Writers wait meanwhile: rows that are locked and never changed must not bring one of them into a deadlock. */
export async function rehearse<R extends Rehearsal>(
  database: Database,
  trial: Trial<R>,
): Promise<Rehearsed<R>> {
  const session = await database.session()
  let broken = true
  try {
    await beginAlone(session, limits.policyLoadWaitMs)
    const facts = await readFolded(session, trial)
    const decision = trial.decide(facts)
    const watched = { statements: decision.watch, caller: trial.caller }
    const before = await readFolded(session, watched)
    await applyChanges(session, decision.changes)
    const after = await readFolded(session, watched)
    broken = false
    return { decision, position: facts.position, before: before.rows, after: after.rows }
  } catch (cause) {
    if (cause instanceof DomainError) throw cause
    throw new DomainError('unavailable', 'the database cannot try the write', { cause })
  } finally {
    await session.query('ROLLBACK').catch(() => {
      broken = true
    })
    session.release(broken)
  }
}
