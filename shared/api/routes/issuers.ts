// Issuers of dynamic secrets: what they are told to make secrets with, and who may (http-api 14).
import { issuerEvent, issuerVariableEvent } from '../../audit/event.ts'
import { need } from '../../authz/decide.ts'
import { fromUtf8, utf8 } from '../../base/bytes.ts'
import type { Json } from '../../base/json.ts'
import { limits } from '../../base/limits.ts'
import { jsonInstant } from '../../base/time.ts'
import { isIssuerName, issuerPolicy, issuersPolicy } from '../../id/dynamic.ts'
import { accountOf, identifierOf, makeId } from '../../id/resource-id.ts'
import { put, remove } from '../../ledger/change.ts'
import { type Access, accessQuery } from '../../ledger/reads/access.ts'
import { type IssuerRow, issuedVariablesBatch, issuerQuery, issuersQuery } from '../../ledger/reads/issuer.ts'
import { holdsQuery } from '../../ledger/reads/listing.ts'
import { type Keyring, recordId } from '../../secret/keyring.ts'
import { actorOf } from '../actor.ts'
import {
  type Fault,
  type IssuerData,
  issuerUpdateOf,
  issuerValues,
  type NewIssuer,
  newIssuerOf,
} from '../issuer-input.ts'
import { factsAfter, type Made, madeBatch, madeChanges, madeRecord } from '../made.ts'
import { answer, json, type Outcome, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import { textOf } from '../request.ts'
import { type AnyRoute, type Caller, type Context, route } from '../route.ts'
import type { ApiSettings } from '../settings.ts'

type Operation = Parameters<typeof issuerEvent>[1]['operation']
type Which = { readonly account: string; readonly issuer: string | undefined }

function refused(operation: Operation, which: Which, caller: Caller, { outcome, error }: Fault): Outcome {
  return recorded(outcome, issuerEvent(actorOf(caller), { operation, ...which, error }))
}

const done = (operation: Operation, which: Which, caller: Caller) =>
  issuerEvent(actorOf(caller), { operation, ...which })

const forbidden: Fault = { outcome: problems.forbidden(), error: 'Forbidden' }
const notFound: Fault = { outcome: problems.notFound('Issuer not found'), error: 'Issuer not found' }

/** As it is shown: a secret key never is. */
function issuerJson({ policy, type, max_ttl, sealed, created_at, modified_at }: IssuerRow, keyring: Keyring) {
  return {
    id: nameOf(policy),
    account: accountOf(policy),
    max_ttl,
    type,
    data: { ...openedData(policy, sealed, keyring), secret_access_key: '*****' },
    created_at: jsonInstant(created_at),
    modified_at: jsonInstant(modified_at),
  }
}

const nameOf = (policy: string): string => identifierOf(policy).slice('conjur/issuers/'.length)

const openedData = (policy: string, sealed: Uint8Array, keyring: Keyring): IssuerData =>
  JSON.parse(fromUtf8(keyring.open(recordId('issuers', policy), sealed)) ?? '')

const sealedData = (policy: string, data: IssuerData, keyring: Keyring): Uint8Array =>
  keyring.seal(recordId('issuers', policy), utf8(JSON.stringify(data)))

/** To the policy of all issuers: before it is there, what it would be to those who hold the admin, its owner. */
const accessBatch = (account: string) => ({
  access: accessQuery(issuersPolicy(account)),
  admin: holdsQuery(makeId(account, 'user', 'admin')),
})

const mayWithAll = (
  { access, admin }: { readonly access: Access; readonly admin: boolean },
  privilege: string,
): boolean =>
  need(access.exists ? access : { exists: true, owns: admin, privileges: new Set() }, privilege) === 'allowed'

/** Root is told of the policy of all issuers if nobody was; that one is told of the issuer's own. */
function madeFor(account: string, issuer: string): { readonly home: Made; readonly own: Made } {
  const issuers = issuersPolicy(account)
  const policy = issuerPolicy(account, issuer)
  const delegation = `${policy}/delegation`
  const consumers = makeId(account, 'group', `${identifierOf(delegation)}/consumers`)
  return {
    home: {
      policy: makeId(account, 'policy', 'root'),
      records: [madeRecord(issuers, makeId(account, 'user', 'admin'), true)],
    },
    own: {
      policy: issuers,
      records: [
        madeRecord(policy, issuers, true),
        madeRecord(delegation, policy, true),
        madeRecord(consumers, delegation, true),
      ],
      permits: ['read', 'use'].map((privilege) => ({ role: consumers, privilege, resource: policy })),
    },
  }
}

/** All of them are switched by one setting. */
const offered = ({ dynamicSecretsEnabled }: ApiSettings): boolean => dynamicSecretsEnabled

const create = route({
  id: 'createIssuer',
  method: 'POST',
  path: '/issuers/:account',
  docs: {
    does: 'Make an issuer of dynamic secrets',
    takes: 'form',
    fields: { id: 'Its name', max_ttl: 'Seconds', type: 'aws', data: 'access_key_id and secret_access_key' },
    gives: 'json',
    answers: [201, 400, 403, 404, 405, 409, 422, 500],
  },
  offered,
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input(request) {
    const values = issuerValues(request)
    const { id } = values
    // Only a name is looked up and written down.
    const issuer = typeof id === 'string' && isIssuerName(id) ? id : undefined
    return { account: request.params.account!, issuer, checked: newIssuerOf(values) }
  },
  facts({ account, issuer = '' }) {
    const { home, own } = madeFor(account, issuer)
    return {
      ...madeBatch({ ...own, records: [...home.records!, ...own.records!] }),
      ...accessBatch(account),
      issuer: issuerQuery(issuerPolicy(account, issuer)),
      ...issuedVariablesBatch(account, issuer),
    }
  },
  decide(facts, { checked, ...which }, context) {
    const { caller } = context
    if (!mayWithAll(facts, 'create')) return refused('add', which, caller, forbidden)
    if ('fault' in checked) return refused('add', which, caller, checked.fault)
    const { id } = checked.value
    if (facts.issuer !== undefined) {
      const fault = { outcome: problems.exists('issuer', id), error: `issuer "${id}" already exists` }
      return refused('add', which, caller, fault)
    }
    if (facts.issuedResources.length > 0) {
      const fault = { outcome: answer(500), error: 'Found variables associated with the issuer id' }
      return refused('add', which, caller, fault)
    }
    const { home, own } = madeFor(which.account, id)
    const first = madeChanges(home, facts, context)
    const second = madeChanges(own, factsAfter(first, facts), context)
    const row = newRow(which.account, checked.value, context)
    return answer(201, json(issuerJson(row, context.keyring)), {
      changes: [...first, ...second, put('issuers', row)],
      audit: [done('add', which, caller)],
    })
  },
})

function newRow(
  account: string,
  { id, type, maxTtl, data }: NewIssuer,
  { keyring, now }: Context,
): IssuerRow {
  const policy = issuerPolicy(account, id)
  const sealed = sealedData(policy, data, keyring)
  return { policy, type, max_ttl: maxTtl, sealed, created_at: now, modified_at: now }
}

/** Members by which a list is sorted; numbers by size, all others by their texts. */
const SORTS = ['id', 'account', 'max_ttl', 'type', 'created_at', 'modified_at'] as const

const list = route({
  id: 'listIssuers',
  method: 'GET',
  path: '/issuers/:account',
  docs: {
    does: 'Issuers, their keys masked',
    query: { sort: 'Member to sort by' },
    gives: 'json',
    answers: [200, 400, 403, 404],
  },
  offered,
  access: 'token',
  effect: 'read',
  input: ({ params, query }) => ({ account: params.account!, sort: textOf(query, 'sort') ?? 'id' }),
  facts: ({ account }) => ({ ...accessBatch(account), issuers: issuersQuery(account) }),
  decide(facts, { account, sort }, { caller, keyring }) {
    const which = { account, issuer: '*' }
    if (!mayWithAll(facts, 'update')) return refused('list', which, caller, forbidden)
    const by = SORTS.find((name) => name === sort)
    if (by === undefined) {
      const error = `Issuers cannot be sorted by '${sort}', only by ${SORTS.join(', ')}`
      return refused('list', which, caller, { outcome: problems.badRequest(error), error })
    }
    const issuers = facts.issuers.map((row) => issuerJson(row, keyring))
    issuers.sort((a, b) => (a[by] < b[by] ? -1 : a[by] > b[by] ? 1 : 0))
    return answer(200, json({ issuers }), { audit: [done('list', which, caller)] })
  },
})

type OneInput = { readonly account: string; readonly issuer: string }

const oneOf = ({ account, issuer }: Readonly<Record<string, string>>): OneInput => ({
  account: account!,
  issuer: issuer!,
})

const oneBatch = ({ account, issuer }: OneInput) => {
  const policy = issuerPolicy(account, issuer)
  return { own: accessQuery(policy), issuer: issuerQuery(policy) }
}

type OneFacts = { readonly own: Access; readonly issuer: IssuerRow | undefined }

/** The issuer, or why the caller may not do this with it. */
function needed({ own, issuer }: OneFacts, privilege: string): { readonly row: IssuerRow } | Fault {
  const verdict = need(own, privilege)
  if (verdict === 'forbidden') return forbidden
  return verdict === 'not_found' || issuer === undefined ? notFound : { row: issuer }
}

const show = route({
  id: 'getIssuer',
  method: 'GET',
  path: '/issuers/:account/:issuer',
  docs: {
    does: 'An issuer, its key masked',
    query: { projection: 'minimal: only max_ttl' },
    gives: 'json',
    answers: [200, 403, 404, 422],
  },
  offered,
  access: 'token',
  effect: 'read',
  input: ({ params, query }) => ({ ...oneOf(params), projection: textOf(query, 'projection') }),
  facts: oneBatch,
  decide(facts, { projection, ...which }, { caller, keyring }) {
    const found = needed(facts, 'read')
    if (!('row' in found)) return refused('fetch', which, caller, found)
    if (projection !== undefined && projection !== 'minimal') {
      const error = `Invalid value for parameter 'projection': ${projection}`
      return refused('fetch', which, caller, { outcome: problems.argument(error), error })
    }
    const shown: Json =
      projection === undefined ? issuerJson(found.row, keyring) : { max_ttl: found.row.max_ttl }
    return answer(200, json(shown), { audit: [done('fetch', which, caller)] })
  },
})

const update = route({
  id: 'updateIssuer',
  method: 'PATCH',
  path: '/issuers/:account/:issuer',
  docs: {
    does: 'Give an issuer a longer max_ttl or other keys',
    takes: 'form',
    fields: { max_ttl: 'Seconds', data: 'access_key_id and secret_access_key' },
    gives: 'json',
    answers: [200, 400, 403, 404, 405, 422],
  },
  offered,
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input: (request) => ({
    ...oneOf(request.params),
    checked: issuerUpdateOf(issuerValues(request)),
  }),
  facts: oneBatch,
  decide(facts, { checked, ...which }, { caller, keyring, now }) {
    const found = needed(facts, 'update')
    if (!('row' in found)) return refused('update', which, caller, found)
    if ('fault' in checked) return refused('update', which, caller, checked.fault)
    const { maxTtl, data } = checked.value
    const held = found.row
    // Variables were accepted with times to live up to the one that is held.
    if (maxTtl !== undefined && maxTtl < held.max_ttl) {
      const error = 'The new max_ttl must be equal or higher than the current max_ttl'
      return refused('update', which, caller, { outcome: problems.badRequest(error), error })
    }
    const nothing = maxTtl === undefined && data === undefined
    const row: IssuerRow = nothing
      ? held
      : {
          ...held,
          max_ttl: maxTtl ?? held.max_ttl,
          sealed: data === undefined ? held.sealed : sealedData(held.policy, data, keyring),
          modified_at: now,
        }
    return answer(200, json(issuerJson(row, keyring)), {
      changes: nothing ? [] : [put('issuers', row)],
      audit: [done('update', which, caller)],
    })
  },
})

function deletion({ account, issuer }: OneInput): Made {
  const own = issuerPolicy(account, issuer)
  const remover = { privilege: 'update', of: [own] }
  return { policy: issuersPolicy(account), deletes: [own], remover }
}

const destroy = route({
  id: 'deleteIssuer',
  method: 'DELETE',
  path: '/issuers/:account/:issuer',
  docs: {
    does: 'Remove an issuer and the variables that name it',
    query: { keep_secrets: 'true: the variables stay' },
    answers: [204, 403, 404, 405],
  },
  offered,
  access: 'token',
  effect: 'write',
  input: ({ params, query }) => ({
    ...oneOf(params),
    keepSecrets: textOf(query, 'keep_secrets')?.toLowerCase() === 'true',
  }),
  facts: (input) => ({
    ...madeBatch(deletion(input)),
    ...oneBatch(input),
    ...issuedVariablesBatch(input.account, input.issuer),
  }),
  decide(facts, { keepSecrets, ...which }, context) {
    const { caller } = context
    const found = needed(facts, 'update')
    if (!('row' in found)) return refused('remove', which, caller, found)
    const { issuedResources, issuedPermissions, issuedAnnotations, issuedSecrets } = facts
    const variables = keepSecrets
      ? []
      : [...issuedResources, ...issuedPermissions, ...issuedAnnotations, ...issuedSecrets]
    // Of a variable that belongs to the issuer's own group both say the same.
    const changes = [
      ...madeChanges(deletion(which), facts, context),
      ...variables.map(({ table, key }) => remove(table, key as never)),
    ]
    const removed = keepSecrets ? [] : issuedResources.map(({ key }) => key.id as string)
    return answer(204, undefined, {
      changes,
      audit: [
        done('remove', which, caller),
        ...removed.map((resource) => issuerVariableEvent(actorOf(caller), { ...which, resource })),
      ],
    })
  },
})

export const issuerRoutes: readonly AnyRoute[] = [create, list, show, update, destroy]
