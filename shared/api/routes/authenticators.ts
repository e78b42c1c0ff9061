// Authenticators as V2 makes, shows, switches and removes them (http-api 15).
import { type AuditEvent, type V2Operation, v2Event } from '../../audit/event.ts'
import {
  authenticatorOf,
  branchOf,
  fullName,
  isOn,
  managed,
  nameOfType,
  statusOf,
} from '../../authn/catalogue.ts'
import {
  type Definition,
  itemOf,
  type Place,
  placeOf,
  readDefinition,
  readEnabled,
} from '../../authn/definition.ts'
import { variableOf } from '../../authn/fields.ts'
import { allowed, need, visible } from '../../authz/decide.ts'
import { utf8 } from '../../base/bytes.ts'
import { DomainError } from '../../base/errors.ts'
import type { Json } from '../../base/json.ts'
import { limits } from '../../base/limits.ts'
import { loginOfRole } from '../../id/login.ts'
import { accountOf, identifierOf, kindOf, makeId, notFoundWords } from '../../id/resource-id.ts'
import { type Change, put } from '../../ledger/change.ts'
import { accessQuery } from '../../ledger/reads/access.ts'
import { authenticatorBatch, belowId, type IdSpan, onlyId } from '../../ledger/reads/authenticator.ts'
import { recordId } from '../../secret/keyring.ts'
import { actorOf } from '../actor.ts'
import { shownItems } from '../authenticator-json.ts'
import { type Made, madeBatch, madeChanges, madeRecord } from '../made.ts'
import { answer, type Outcome, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import { type RouteRequest, textOf } from '../request.ts'
import { type AnyRoute, type Caller, type Context, route } from '../route.ts'
import { v2Json, v2NotWanted, v2Object, wantsV2 } from '../v2.ts'
import { pageOf } from './resources.ts'

/** The value, or why the text that was given is none. */
type Read<T> = { readonly value: T } | { readonly fault: string }

function readBody<T>(request: RouteRequest, read: (body: Readonly<Record<string, unknown>>) => T): Read<T> {
  const body = v2Object(request)
  try {
    return { value: read(body) }
  } catch (error) {
    if (error instanceof DomainError && error.code === 'unprocessable_entity') return { fault: error.message }
    throw error
  }
}

type Deed = {
  readonly operation: V2Operation
  readonly path: string
  readonly name?: string
  readonly body?: Json
}

/** Records what was done, or why it was not. */
function told(caller: Caller, deed: Deed) {
  const done = (error?: string): AuditEvent =>
    v2Event(actorOf(caller), { type: 'authenticator', ...deed, error })
  const refused = (outcome: Outcome, error: string): Outcome => recorded(outcome, done(error))
  return { done, refused }
}

const notFoundIn = (account: string, name: string): string =>
  `Authenticator: ${name} not found in account '${account}'`

/** One authenticator of a path. */
type Target = {
  readonly wanted: boolean
  readonly path: string
  readonly account: string
  readonly name: string
  /** `authn-jwt/ci`, of whatever type. */
  readonly fullName: string
  readonly authenticator: string | undefined
  /** Undefined: there is none of such a type or name. */
  readonly place: Place | undefined
}

function targetOf(request: RouteRequest): Target {
  const { account, type, name } = request.params as { account: string; type: string; name: string }
  const authenticator = nameOfType(type)
  return {
    wanted: wantsV2(request),
    path: `/authenticators/${account}/${type}/${name}`,
    account,
    name,
    fullName: `${authenticator ?? `authn-${type}`}/${name}`,
    authenticator,
    place: authenticator === undefined ? undefined : placeOf(account, authenticator, name),
  }
}

/** Names of the variables that V2 shows. */
const variablesOf = (authenticators: readonly string[]): string[] => [
  ...new Set(authenticators.flatMap((name) => Object.keys(authenticatorOf(name)!.fields).map(variableOf))),
]

const oneBatch = ({ account, authenticator, place }: Target) =>
  authenticatorBatch({
    account,
    spans: place === undefined ? [] : [onlyId(place.webservice)],
    variables: authenticator === undefined ? [] : variablesOf([authenticator]),
    limit: undefined,
    offset: 0,
  })

const show = route({
  id: 'showAuthenticator',
  method: 'GET',
  path: '/authenticators/:account/:type/:name',
  docs: {
    does: 'An authenticator with the settings that the caller may read',
    gives: 'v2',
    answers: [200, 400, 404],
  },
  access: 'token',
  effect: 'read',
  input: targetOf,
  facts: oneBatch,
  decide(facts, { wanted, path, account, name }, context) {
    if (!wanted) return v2NotWanted()
    const { done, refused } = told(context.caller, { operation: 'get', path, name })
    const { items, fetched } = shownItems(facts, context)
    const [item] = items
    if (item === undefined) {
      const words = notFoundIn(account, name)
      return refused(problems.notFound(words), words)
    }
    return answer(200, v2Json(item), { audit: [...fetched, done()] })
  },
})

const list = route({
  id: 'listAuthenticators',
  method: 'GET',
  path: '/authenticators/:account',
  docs: {
    does: 'Authenticators that the caller sees',
    query: { type: 'Only this type', limit: 'Most authenticators', offset: 'Authenticators to pass over' },
    gives: 'v2',
    answers: [200, 400, 422],
  },
  access: 'token',
  effect: 'read',
  input(request, settings) {
    const account = request.params.account!
    const type = textOf(request.query, 'type') || undefined
    const asked = type === undefined ? managed : managed.filter((name) => name === nameOfType(type))
    return {
      wanted: wantsV2(request),
      path: `/authenticators/${account}`,
      account,
      spans: asked.map((name) => spanOf(account, name)),
      variables: variablesOf(asked),
      ...pageOf(request.query, false, settings),
    }
  },
  facts: authenticatorBatch,
  decide(facts, { wanted, path }, context) {
    if (!wanted) return v2NotWanted()
    const { items, fetched } = shownItems(facts, context)
    const { done } = told(context.caller, { operation: 'list', path })
    const body = { authenticators: items, count: facts.count }
    return answer(200, v2Json(body), { audit: [...fetched, done()] })
  },
})

function spanOf(account: string, authenticator: string): IdSpan {
  const all = makeId(account, 'webservice', branchOf(authenticator, undefined))
  return authenticatorOf(authenticator)!.services ? belowId(all) : onlyId(all)
}

type CreateInput = {
  readonly wanted: boolean
  readonly account: string
  readonly definition: Definition | undefined
  readonly fault: string
  readonly place: Place | undefined
  /** Role id. */
  readonly owner: string
  readonly made: Made
}

const nothingMade: Made = { policy: '' }

function createInput(request: RouteRequest): CreateInput {
  const account = request.params.account!
  const wanted = wantsV2(request)
  const read: Read<Definition> = wanted ? readBody(request, readDefinition) : { fault: '' }
  const input = { wanted, account, fault: '', owner: '', made: nothingMade, definition: undefined }
  if ('fault' in read) return { ...input, place: undefined, fault: read.fault }
  const definition = read.value
  const place = placeOf(account, definition.authenticator, definition.name)
  if (place === undefined) return { ...input, definition, place }
  const { owner: named } = definition
  const owner = named === undefined ? place.parent : makeId(account, named.kind, named.id)
  return { ...input, definition, place, owner, made: madeOf(place, definition, owner) }
}

/** Without services the type's own policy holds the records, and belongs to somebody already. */
function madeOf(place: Place, definition: Definition, owner: string): Made {
  const { services } = authenticatorOf(definition.authenticator)!
  const id = idBelow(place)
  const { webservice } = place
  const holder = services ? place.branch : owner
  const [operators, apps] = [id('group', 'operators'), id('group', 'apps')]
  const status = makeId(accountOf(webservice), 'webservice', statusOf(place.identifier))
  return {
    policy: place.parent,
    records: [
      ...(services ? [madeRecord(place.branch, owner, true)] : []),
      madeRecord(operators, holder, true),
      madeRecord(apps, holder, true),
      madeRecord(webservice, holder, false, definition.annotations),
      madeRecord(status, holder, false),
      ...[...definition.values.keys()].map((field) =>
        madeRecord(id('variable', variableOf(field)), holder, false),
      ),
    ],
    permits: [
      { role: apps, privilege: 'read', resource: webservice },
      { role: apps, privilege: 'authenticate', resource: webservice },
      { role: operators, privilege: 'read', resource: status },
    ],
  }
}

const idBelow =
  ({ webservice, identifier }: Place) =>
  (kind: string, name: string): string =>
    makeId(accountOf(webservice), kind, `${identifier}/${name}`)

const create = route({
  id: 'createAuthenticator',
  method: 'POST',
  path: '/authenticators/:account',
  docs: {
    does: 'Make an authenticator with its policy, groups and variables',
    takes: 'v2',
    fields: {
      type: 'jwt, oidc, aws, azure, gcp, ldap or k8s',
      name: 'Service id',
      enabled: 'Whether it is on',
      owner: 'kind and id',
      data: 'Its settings',
      annotations: 'Texts by name',
    },
    gives: 'v2',
    answers: [201, 400, 403, 404, 405, 409, 422],
  },
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input: createInput,
  facts: ({ made, owner }) => ({ ...madeBatch(made), owner: accessQuery(owner) }),
  decide(facts, input, context) {
    const { wanted, account, definition, place, made, owner } = input
    if (!wanted) return v2NotWanted()
    const path = `/authenticators/${account}`
    if (definition === undefined) {
      const { refused } = told(context.caller, { operation: 'create', path })
      return refused(problems.unprocessable(input.fault), input.fault)
    }
    const { name, enabled } = definition
    const body = { type: authenticatorOf(definition.authenticator)!.types[0]!, name, enabled }
    const { done, refused } = told(context.caller, { operation: 'create', path, name, body })
    if (place === undefined) {
      const words = notFoundIn(account, name)
      return refused(problems.notFound(words), words)
    }
    const verdict = need(facts.access, 'create')
    if (verdict === 'not_found')
      return refused(problems.recordNotFound(place.parent), notFoundWords(place.parent))
    if (verdict === 'forbidden') return refused(problems.forbidden(), 'Forbidden')
    const isRole = facts.roles.some(({ id }) => id === owner)
    if (!isRole || (definition.owner !== undefined && !visible(facts.owner)))
      return refused(problems.recordNotFound(owner), notFoundWords(owner))
    const ids = new Set(made.records!.map(({ id }) => id))
    if ([...facts.roles, ...facts.resources].some(({ id }) => ids.has(id)))
      return refused(problems.conflict(EXISTS), EXISTS)
    const changes = [...madeChanges(made, facts, context), ...settingChanges(place, definition, context)]
    return answer(201, v2Json(createdItem(input, definition, place, context)), { changes, audit: [done()] })
  },
})

const EXISTS = 'The authenticator already exists.'

/** Whoever made it is shown what he said. */
function createdItem(
  { owner }: CreateInput,
  definition: Definition,
  place: Place,
  { settings }: Context,
): Json {
  return itemOf({
    ...definition,
    enabled: isOn(fullName(place.identifier), definition.enabled, settings.authenticators),
    owner: { kind: kindOf(owner), id: identifierOf(owner) },
  })
}

/** The switch, and the first values of its variables. */
function settingChanges(place: Place, { enabled, values }: Definition, { keyring }: Context): Change[] {
  const id = idBelow(place)
  return [
    put('authenticators', { webservice: place.webservice, enabled: enabled ? 1 : 0 }),
    ...[...values]
      .filter(([, value]) => value !== '')
      .map(([field, value]) => {
        const resource = id('variable', variableOf(field))
        const sealed = keyring.seal(recordId('secrets', resource, 1), utf8(value))
        return put('secrets', { resource, version: 1, sealed, expires_at: null })
      }),
  ]
}

const update = route({
  id: 'updateAuthenticator',
  method: 'PATCH',
  path: '/authenticators/:account/:type/:name',
  docs: {
    does: 'Switch an authenticator on or off',
    takes: 'v2',
    fields: { enabled: 'true or false' },
    gives: 'v2',
    answers: [200, 400, 403, 404, 405, 422],
  },
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input(request) {
    const target = targetOf(request)
    const read: Read<boolean> = target.wanted ? readBody(request, readEnabled) : { fault: '' }
    return { ...target, read }
  },
  facts: (target) => ({ ...oneBatch(target), access: accessQuery(target.place?.webservice ?? '') }),
  decide(facts, target, context) {
    const { wanted, path, account, name, read, place } = target
    if (!wanted) return v2NotWanted()
    const { caller } = context
    if ('fault' in read) {
      const { refused } = told(caller, { operation: 'update', path, name })
      return refused(problems.unprocessable(read.fault), read.fault)
    }
    const enabled = read.value
    const operation = enabled ? 'enable' : 'update'
    const { done, refused } = told(caller, { operation, path, name, body: { enabled } })
    const [row] = facts.rows
    if (place === undefined || row === undefined) {
      const words = notFoundIn(account, target.fullName)
      return refused(problems.notFound(words), words)
    }
    if (!allowed(facts.access, 'update')) {
      const who = loginOfRole(caller.role!)
      const words = `CONJ00006E '${who}' does not have 'update' privilege on ${place.webservice}`
      return refused(problems.forbidden(), words)
    }
    const { items, fetched } = shownItems({ ...facts, rows: [{ ...row, switchedOn: enabled }] }, context)
    const changes =
      row.switchedOn === enabled
        ? []
        : [put('authenticators', { webservice: place.webservice, enabled: enabled ? 1 : 0 })]
    return answer(200, v2Json(items[0]!), { changes, audit: [...fetched, done()] })
  },
})

const destroy = route({
  id: 'deleteAuthenticator',
  method: 'DELETE',
  path: '/authenticators/:account/:type/:name',
  docs: {
    does: 'Remove an authenticator with all that belongs to it',
    gives: 'v2',
    answers: [204, 400, 403, 404, 405],
  },
  access: 'token',
  effect: 'write',
  input(request) {
    const target = targetOf(request)
    const { authenticator, place } = target
    const made: Made =
      place === undefined || authenticator === undefined
        ? nothingMade
        : {
            policy: place.parent,
            deletes: doomed(place, authenticator),
            remover: { privilege: 'delete', of: [place.branch, place.parent] },
          }
    return { ...target, made }
  },
  facts: ({ made, place }) => ({
    ...madeBatch(made),
    webservice: accessQuery(place?.webservice ?? ''),
    branch: accessQuery(place?.branch ?? ''),
  }),
  decide(facts, { wanted, path, account, name, made }, context) {
    if (!wanted) return v2NotWanted()
    const { done, refused } = told(context.caller, { operation: 'delete', path, name })
    const { webservice, branch, access: parent } = facts
    const may = allowed(branch, 'delete') || allowed(parent, 'delete')
    if (!webservice.exists || !(may || visible(webservice) || visible(branch))) {
      const words = notFoundIn(account, name)
      return refused(problems.notFound(words), words)
    }
    if (!may) return refused(problems.forbidden(), 'Unauthorized')
    return answer(204, undefined, { changes: madeChanges(made, facts, context), audit: [done()] })
  },
})

/** The branch takes with it what it owns; records of others in it are named here. */
function doomed(place: Place, authenticator: string): string[] {
  const { services, fields, status } = authenticatorOf(authenticator)!
  const id = idBelow(place)
  const variables = [...Object.keys(fields).map(variableOf), ...(status?.variables ?? [])]
  return [
    ...(services ? [place.branch] : []),
    place.webservice,
    id('webservice', 'status'),
    id('group', 'operators'),
    id('group', 'apps'),
    ...variables.map((name) => id('variable', name)),
  ]
}

export const authenticatorRoutes: readonly AnyRoute[] = [list, create, show, update, destroy]
