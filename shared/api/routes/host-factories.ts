// Host factories: tokens, and the hosts that are made with them (http-api 14).
import { type AuditEvent, policyEvent } from '../../audit/event.ts'
import { normaliseCidr, originAllowed } from '../../authz/address.ts'
import { need } from '../../authz/decide.ts'
import { utf8 } from '../../base/bytes.ts'
import { DomainError } from '../../base/errors.ts'
import { isObject, type Json } from '../../base/json.ts'
import { limits } from '../../base/limits.ts'
import { sha256Hex } from '../../base/native-crypto.ts'
import { jsonInstant, secondsInstant } from '../../base/time.ts'
import { accountOf, makeId, splitId } from '../../id/resource-id.ts'
import { type Change, put, remove } from '../../ledger/change.ts'
import { accessQuery, factoryAccessQuery } from '../../ledger/reads/access.ts'
import { factoryLayersQuery, factoryTokenQuery } from '../../ledger/reads/host-factory.ts'
import { type Details, detailsQuery, type IdSource } from '../../ledger/reads/resource.ts'
import { searchWords } from '../../ledger/search.ts'
import { recordId } from '../../secret/keyring.ts'
import { drawApiKey } from '../../token/api-key.ts'
import { tokenOfHeader } from '../../token/header.ts'
import { answer, json, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import { listOf, parametersOf, type Query, textOf } from '../request.ts'
import { resourcesJson } from '../resource-json.ts'
import { type AnyRoute, type Context, route } from '../route.ts'
import type { ApiSettings } from '../settings.ts'

/** All of them are switched by one setting. */
const offered = ({ hostFactoriesEnabled }: ApiSettings): boolean => hostFactoriesEnabled

const createTokens = route({
  id: 'createHostFactoryTokens',
  method: 'POST',
  path: '/host_factory_tokens',
  docs: {
    does: 'Tokens with which hosts can be made',
    takes: 'form',
    fields: {
      host_factory: 'Full id',
      expiration: 'ISO 8601',
      count: 'How many',
      cidr: 'Where they may be used from',
    },
    gives: 'json',
    answers: [200, 403, 404, 405, 422],
  },
  offered,
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input: (request) => {
    const query = parametersOf(request)
    return { query, factory: textOf(query, 'host_factory') ?? '' }
  },
  facts: ({ factory }) => ({ access: accessQuery(factory) }),
  decide({ access }, { query, factory }, { now, random, keyring }) {
    if (factory === '') return problems.argument('host_factory')
    const verdict = need(access, 'execute')
    if (verdict === 'not_found') return problems.recordNotFound(factory)
    const { kind } = splitId(factory)
    if (kind !== 'host_factory') return problems.argument(`Invalid resource kind: ${kind}`)
    if (verdict === 'forbidden') return problems.forbidden()
    const { expiresAt, count, cidr } = tokenParameters(query, now)
    const tokens = Array.from({ length: count }, () => drawApiKey(random))
    const changes = tokens.map((token) => {
      const id = sha256Hex(token)
      const sealed = keyring.seal(recordId('host_factory_tokens', id), utf8(token))
      return put('host_factory_tokens', {
        id,
        sealed,
        factory,
        cidr: JSON.stringify(cidr),
        expires_at: expiresAt,
      })
    })
    const body = tokens.map((token) => ({ expiration: secondsInstant(expiresAt), cidr, token }))
    return answer(200, json(body), { changes })
  },
})

const ISO_8601 = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[-+]\d\d:?\d\d)?)?$/

/** Milliseconds. Without a zone it is UTC wherever this node stands; NaN for what is no time. */
function instantOf(text: string): number {
  const parts = ISO_8601.exec(text)
  if (parts === null) return Number.NaN
  const isLocal = parts[1] !== undefined && parts[4] === undefined
  return Date.parse(isLocal ? `${text}Z` : text)
}

/** Throws in the order of the specification: expiration, count, form of the time, past, addresses. */
function tokenParameters(query: Query, now: number): { expiresAt: number; count: number; cidr: string[] } {
  const expiration = textOf(query, 'expiration') ?? ''
  if (expiration === '') throw new DomainError('argument_error', 'expiration')
  const countText = textOf(query, 'count') ?? '1'
  const count = /^\d{1,4}$/.test(countText) ? Number(countText) : 0
  if (count < 1 || count > limits.factoryTokensPerCall) {
    throw new DomainError('argument_error', `Invalid value for parameter 'count': ${countText}`)
  }
  const expiresAt = instantOf(expiration)
  if (Number.isNaN(expiresAt)) {
    throw new DomainError('argument_error', `Input is invalid ISO8601 datetime string: ${expiration}`)
  }
  if (expiresAt <= now) {
    throw new DomainError(
      'argument_error',
      `Value for parameter expiration must be in the future: ${expiration}`,
    )
  }
  const cidr = listOf(query, 'cidr').map((range) => {
    const normal = normaliseCidr(range)
    if (typeof normal !== 'string') throw new DomainError('unprocessable_entity', normal.message)
    return normal
  })
  return { expiresAt, count, cidr }
}

const revokeToken = route({
  id: 'revokeHostFactoryToken',
  method: 'DELETE',
  path: '/host_factory_tokens/:token',
  docs: { does: 'Revoke a host factory token', answers: [204, 403, 404, 405] },
  offered,
  access: 'token',
  effect: 'write',
  input: ({ params }) => ({ token: params.token!, id: sha256Hex(params.token!) }),
  facts: ({ id }) => ({ token: factoryTokenQuery(id), access: factoryAccessQuery(id) }),
  decide({ token, access }, { token: text, id }) {
    const missing = problems.recordNotFound(`*:host_factory_token:${text}`)
    if (token === undefined) return missing
    const verdict = need(access, 'update')
    if (verdict !== 'allowed') return verdict === 'forbidden' ? problems.forbidden() : missing
    return answer(204, undefined, { changes: [remove('host_factory_tokens', { id })] })
  },
})

const createHost = route({
  id: 'createHost',
  method: 'POST',
  path: '/host_factories/hosts',
  docs: {
    does: 'Make a host, or give it a new key, with a host factory token',
    takes: 'form',
    fields: { id: 'Its id', annotations: 'Name and value of each' },
    gives: 'json',
    answers: [201, 401, 403, 404, 405, 422],
  },
  offered,
  access: 'open',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input: (request) => {
    const query = parametersOf(request)
    const token = tokenOfHeader(request.header('authorization')) ?? ''
    return { tokenId: sha256Hex(token), id: textOf(query, 'id') ?? '', annotations: annotationsOf(query) }
  },
  facts: ({ tokenId, id }) => {
    const host = hostSource(tokenId, id)
    return {
      token: factoryTokenQuery(tokenId),
      joins: factoryLayersQuery(tokenId),
      details: detailsQuery(host),
    }
  },
  decide({ token, joins, details }, { id, annotations }, context) {
    const { now, caller } = context
    if (token === undefined || token.expires_at <= now) return problems.unauthorized()
    if (!originAllowed(caller.clientIp, JSON.parse(token.cidr) as string[])) return problems.unauthorized()
    if (id === '') return problems.parameterMissing('id')
    if (/^\/?conjur\//.test(id)) return problems.argument(`Invalid id: ${id}`)
    if (utf8(id).length > limits.idBytes - 200)
      return problems.argument(`Invalid id: it is longer than ${limits.idBytes - 200} bytes`)
    if (annotations.some(([name]) => utf8(name).length > limits.nameBytes))
      return problems.argument(`Invalid annotation: its name is longer than ${limits.nameBytes} bytes`)
    const held = details.resources[0]
    if (held !== undefined && held.owner !== token.factory) return problems.forbidden()
    const host = makeId(accountOf(token.factory), 'host', id)
    return madeHost(host, token.factory, joins, annotations, details, context)
  },
})

/** The host, in the account of the token's factory: a factory is `account:host_factory:…`. */
function hostSource(tokenId: string, id: string): IdSource {
  return {
    sql:
      "SELECT substr(t.factory, 1, instr(t.factory, ':')) || 'host:' || ?2 AS id " +
      'FROM host_factory_tokens t WHERE t.id = ?1',
    params: [tokenId, id],
  }
}

function annotationsOf(query: Query): (readonly [string, string])[] {
  const annotations = query.get('annotations')
  return isObject(annotations) ? (Object.entries(annotations) as [string, string][]) : []
}

function madeHost(
  host: string,
  factory: string,
  layers: readonly string[],
  annotations: readonly (readonly [string, string])[],
  details: Details,
  { caller, now, random, keyring }: Context,
) {
  const key = drawApiKey(random)
  const sealed = keyring.seal(recordId('credentials', host), utf8(key))
  const held = details.resources[0]
  const actor = { user: factory, clientIp: caller.clientIp }
  const changes: Change[] = []
  const events: AuditEvent[] = []
  const credentials = {
    role: host,
    api_key: sealed,
    password: null,
    restricted_to: details.credentials[0]?.restricted_to ?? '[]',
    expires_at: null,
    rotated_at: now,
  }
  changes.push(put('credentials', credentials))
  if (held === undefined) {
    const words = searchWords(
      host,
      annotations.map(([name, value]) => ({ name, value })),
    )
    changes.push(
      put('roles', { id: host, policy: null, created_at: now }),
      put('resources', { id: host, owner: factory, policy: null, created_at: now, words }),
      put('memberships', { role: host, member: factory, ownership: 1, admin_option: 1, policy: null }),
      ...layers.map((layer) =>
        put('memberships', { role: layer, member: host, ownership: 0, admin_option: 0, policy: null }),
      ),
      ...annotations.map(([name, value]) =>
        put('annotations', { resource: host, name, value, policy: null }),
      ),
    )
    events.push(policyEvent(actor, { operation: 'add', subject: { kind: 'role', role: host } }))
  } else events.push(policyEvent(actor, { operation: 'change', subject: { kind: 'role', role: host } }))
  const body: Json =
    held === undefined ? newHostJson(host, factory, annotations, now) : resourcesJson(details, keyring)[0]!
  return recorded(
    answer(201, json({ ...(body as { [name: string]: Json }), api_key: key }), { changes }),
    ...events,
  )
}

function newHostJson(
  host: string,
  owner: string,
  annotations: readonly (readonly [string, string])[],
  now: number,
): Json {
  return {
    created_at: jsonInstant(now),
    id: host,
    owner,
    permissions: [],
    annotations: annotations.map(([name, value]) => ({ name, value })),
    restricted_to: [],
  }
}

export const hostFactoryRoutes: readonly AnyRoute[] = [createHost, createTokens, revokeToken]
