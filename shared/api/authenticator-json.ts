// Authenticators as V2 shows them, put together from the rows of one batch (http-api 15).
import { type AuditEvent, fetchEvent } from '../audit/event.ts'
import { authenticatorOf, fullName, isOn } from '../authn/catalogue.ts'
import { itemOf, type Owner } from '../authn/definition.ts'
import { variableOf } from '../authn/fields.ts'
import { fromUtf8 } from '../base/bytes.ts'
import type { Json } from '../base/json.ts'
import { accountOf, identifierOf, kindOf, makeId } from '../id/resource-id.ts'
import type { ShownAuthenticators, ShownRow, ShownVariable } from '../ledger/reads/authenticator.ts'
import { recordId } from '../secret/keyring.ts'
import { actorOf } from './actor.ts'
import type { Context } from './route.ts'

export type ShownItems = {
  readonly items: readonly Json[]
  /** A value that is shown is read like any other: each is recorded. */
  readonly fetched: readonly AuditEvent[]
}

/** In the order of the rows. */
export function shownItems(shown: ShownAuthenticators, context: Context): ShownItems {
  const { caller, settings } = context
  const fetched: AuditEvent[] = []
  const items = shown.rows.map((row) => {
    const full = fullName(identifierOf(row.id))
    const [authenticator = '', ...service] = full.split('/')
    const values = valuesOf(authenticator, shown.variables.get(row.id) ?? [], context)
    for (const { resource } of values.opened) fetched.push(fetchEvent(actorOf(caller), { resource }))
    return itemOf({
      authenticator,
      name: service.join('/') || 'default',
      enabled: isOn(full, row.switchedOn, settings.authenticators),
      owner: ownerOf(row, authenticator),
      values: values.shown,
      annotations: shown.annotations.get(row.id) ?? [],
    })
  })
  return { items, fetched }
}

/** What the branch of an authenticator owns belongs to the owner of the branch. */
function ownerOf({ id, owner, branchOwner }: ShownRow, authenticator: string): Owner {
  const ownBranch = authenticatorOf(authenticator)!.services
    ? makeId(accountOf(id), 'policy', identifierOf(id))
    : undefined
  const role = owner === ownBranch ? (branchOwner ?? owner) : owner
  return { kind: kindOf(role), id: identifierOf(role) }
}

/** Texts by field: blank where there is no value, absent where there is no variable or its value is no text. */
function valuesOf(authenticator: string, variables: readonly ShownVariable[], { keyring }: Context) {
  const held = new Map(variables.map((variable) => [variable.name, variable]))
  const shown = new Map<string, string>()
  const opened: { readonly resource: string }[] = []
  for (const field of Object.keys(authenticatorOf(authenticator)!.fields)) {
    const variable = held.get(variableOf(field))
    if (variable === undefined) continue
    const { id, version, sealed } = variable
    if (version === null || sealed === null) {
      shown.set(field, '')
      continue
    }
    const text = fromUtf8(keyring.open(recordId('secrets', id, version), sealed))
    if (text === undefined) continue
    shown.set(field, text)
    opened.push({ resource: id })
  }
  return { shown, opened }
}
