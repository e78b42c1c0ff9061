// Records that a route makes or removes by itself, by the rules of a policy load: as if their policy had been given
// a text that says so.
import { fromUtf8, utf8 } from '../base/bytes.ts'
import { identifierOf } from '../id/resource-id.ts'
import type { Change } from '../ledger/change.ts'
import { policyBatch, prefixesWithin, type Remover } from '../ledger/reads/policy.ts'
import type { FactsOf } from '../ledger/store.ts'
import type { RowOf } from '../ledger/tables.ts'
import { touchedBy } from '../policy/load.ts'
import { type PlanTools, plan } from '../policy/plan.ts'
import type { Resolved, ResolvedRecord } from '../policy/resolve.ts'
import { definedRows } from '../policy/rows.ts'
import { recordId } from '../secret/keyring.ts'
import { passwordName } from '../secret/password.ts'
import { drawApiKey } from '../token/api-key.ts'
import type { Context } from './route.ts'

/** What is to be, and the policy that will hold it. Nothing in it is relative. */
export type Made = {
  readonly policy: string
  /** Who may have its deletions; whoever may update the policy where it is absent. */
  readonly remover?: Remover
} & Partial<Resolved>

const nothing: Resolved = { records: [], grants: [], permits: [], revokes: [], denies: [], deletes: [] }

const modeOf = ({ deletes }: Made) => (deletes === undefined ? 'POST' : 'PATCH')

/** A record as a text declares it. `role`: whether it is a role too. */
export function madeRecord(
  id: string,
  owner: string,
  role: boolean,
  annotations: ResolvedRecord['annotations'] = [],
): ResolvedRecord {
  return { id, owner, role, resource: true, annotations, restrictedTo: [], publicKeys: [], layers: [] }
}

/** Every row that it can touch; `access` among them is the caller's to the policy. */
export function madeBatch(made: Made) {
  const read = { text: '', resolved: { ...nothing, ...made }, warnings: [] }
  const touched = touchedBy(read, made.policy, modeOf(made))
  return policyBatch({ ...touched, remover: made.remover ?? touched.remover })
}

type MadeFacts = FactsOf<ReturnType<typeof madeBatch>>

/** Throws `PolicyError` for a role or resource that is not there. */
export function madeChanges(made: Made, facts: MadeFacts, context: Context): readonly Change[] {
  const resolved = { ...nothing, ...made }
  const defined = definedRows(resolved, made.policy, context.now)
  return plan(modeOf(made), made.policy, resolved, defined, facts, planTools(context)).changes
}

/** The facts when these changes are done: what is made next may name what they made. */
export function factsAfter(changes: readonly Change[], facts: MadeFacts): MadeFacts {
  const rows = (table: 'roles' | 'resources'): object[] =>
    changes.flatMap((change) => (change.op === 'put' && change.table === table ? [change.row] : []))
  return {
    ...facts,
    roles: [...facts.roles, ...(rows('roles') as RowOf<'roles'>[])],
    resources: [...facts.resources, ...(rows('resources') as RowOf<'resources'>[])],
  }
}

/** Every row that goes with a branch: its own, those of all records inside it, and of what they own and define. */
export function emptiedBatch(branch: string) {
  const touched = touchedBy({ text: '', resolved: nothing, warnings: [] }, branch, 'PATCH')
  // The root never goes, and what hangs from it is everything.
  return policyBatch(identifierOf(branch) === 'root' ? touched : { ...touched, emptied: branch })
}

export function emptiedChanges(
  branch: string,
  facts: FactsOf<ReturnType<typeof emptiedBatch>>,
  context: Context,
): readonly Change[] {
  const prefixes = prefixesWithin(branch)
  const deletes = [...facts.doomedResources, ...facts.doomedRoles]
    .map(({ id }) => id)
    .filter((id) => id === branch || prefixes.some((prefix) => id.startsWith(prefix)))
  const resolved = { ...nothing, deletes }
  const defined = definedRows(resolved, branch, context.now)
  return plan('PATCH', branch, resolved, defined, facts, planTools(context)).changes
}

/** Seals and draws with the keys of this node. */
export function planTools({ random, keyring, settings }: Context): PlanTools {
  return {
    secretVersions: settings.secretVersions,
    passwordOf: (user) => settings.passwords[passwordName(identifierOf(user))],
    newApiKey(role) {
      const key = drawApiKey(random)
      return { key, sealed: keyring.seal(recordId('credentials', role), utf8(key)) }
    },
    sealSecret: (resource, version, value) =>
      keyring.seal(recordId('secrets', resource, version), utf8(value)),
    openSecret: (resource, version, sealed) =>
      fromUtf8(keyring.open(recordId('secrets', resource, version), sealed)) ?? '',
  }
}
