// Secret values: read, batch read, write, expire (http-api 12).
import { fetchEvent, updateEvent } from '../../audit/event.ts'
import { need } from '../../authz/decide.ts'
import { fromUtf8, toBase64, utf8 } from '../../base/bytes.ts'
import { DomainError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { DYNAMIC_PATH, isDynamic } from '../../id/dynamic.ts'
import { isKind } from '../../id/kinds.ts'
import { makeId } from '../../id/resource-id.ts'
import { type Change, put, remove } from '../../ledger/change.ts'
import { type Access, accessQuery } from '../../ledger/reads/access.ts'
import { type DynamicSource, dynamicSourcesQuery } from '../../ledger/reads/issuer.ts'
import {
  batchAccessQuery,
  batchValuesQuery,
  type StoredSecret,
  secretQuery,
  versionsQuery,
} from '../../ledger/reads/secret.ts'
import type { FactsOf } from '../../ledger/store.ts'
import { type Keyring, recordId } from '../../secret/keyring.ts'
import { actorOf } from '../actor.ts'
import { type DynamicSecret, dynamicSecret } from '../dynamic-secrets.ts'
import type { NodeIo } from '../node.ts'
import { answer, json, type Outcome, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import { textOf } from '../request.ts'
import { type AnyRoute, type Caller, type Context, route } from '../route.ts'

const emptyOrNotFound = (id: string): string => `CONJ00076E Variable ${id} is empty or not found.`

const getSecret = route({
  id: 'getSecret',
  method: 'GET',
  path: '/secrets/:account/variable/:id*',
  docs: {
    does: 'The value of a variable',
    query: { version: 'An older one' },
    gives: 'bytes',
    answers: [200, 403, 404, 422, 502],
  },
  access: 'token',
  effect: 'read',
  input: ({ params, query }, { dynamicSecretsEnabled }) => {
    const version = query.size === 0 ? undefined : textOf(query, 'version')
    return {
      id: makeId(params.account!, 'variable', params.id!),
      version,
      number: versionNumber(version),
      dynamic: dynamicSecretsEnabled && params.id!.startsWith(DYNAMIC_PATH),
    }
  },
  facts: ({ id, number, dynamic }) => (dynamic ? dynamicBatch(id) : storedBatch(id, number)),
  prove(facts, { id }, io, caller): Promise<DynamicSecret> | undefined {
    if (!('sources' in facts) || need(accessIn(facts), 'execute') !== 'allowed') return undefined
    return dynamicSecret(id, facts.sources.get(id), io, caller)
  },
  decide(facts, { id, version, number }, { caller, keyring }, made) {
    const actor = actorOf(caller)
    const refused = (outcome: Outcome, error: string): Outcome =>
      recorded(outcome, fetchEvent(actor, { resource: id, version, error }))
    const verdict = need(accessIn(facts), 'execute')
    if (verdict === 'not_found') return refused(problems.notFound(emptyOrNotFound(id)), 'Forbidden')
    if (verdict === 'forbidden') return refused(problems.forbidden(), 'Forbidden')
    if (made !== undefined) {
      if ('error' in made) return refused(made.outcome, made.error)
      const body = { kind: 'bytes', bytes: utf8(made.json), type: 'application/json' } as const
      return answer(200, body, { headers: attachment, audit: [fetchEvent(actor, { resource: id })] })
    }
    const secret = 'stored' in facts ? facts.stored.secret : undefined
    if (version !== undefined && number === undefined) {
      const message = "invalid type for parameter 'version'"
      return refused(problems.argument(message), message)
    }
    if (secret === undefined) return refused(problems.notFound(emptyOrNotFound(id)), emptyOrNotFound(id))
    const bytes = keyring.open(recordId('secrets', id, secret.version), secret.sealed)
    return answer(
      200,
      { kind: 'bytes', bytes, type: secret.mimeType ?? 'application/octet-stream' },
      { headers: attachment, audit: [fetchEvent(actor, { resource: id, version })] },
    )
  },
})

const storedBatch = (id: string, version: number | undefined) => ({ stored: secretQuery(id, version) })

const dynamicBatch = (id: string) => ({ access: accessQuery(id), sources: dynamicSourcesQuery([id]) })

const accessIn = (
  facts: FactsOf<ReturnType<typeof storedBatch> | ReturnType<typeof dynamicBatch>>,
): Access => ('stored' in facts ? facts.stored.access : facts.access)

const attachment = { 'Content-Disposition': 'attachment' } as const

/** Undefined for the newest, and for what is no whole number. Versions count from 1: there is none of another number. */
function versionNumber(text: string | undefined): number | undefined {
  if (text === undefined || !/^-?\d+$/.test(text)) return undefined
  return Number.isSafeInteger(Number(text)) ? Number(text) : 0
}

const postSecret = route({
  id: 'postSecret',
  method: 'POST',
  path: '/secrets/:account/:kind/:id*',
  docs: { does: 'Give a variable a new value', takes: 'bytes', answers: [201, 403, 404, 405, 422] },
  access: 'token',
  effect: 'write',
  bodyLimit: limits.secretBytes,
  input: ({ params, body }) => ({
    kind: params.kind!,
    id: makeId(params.account!, params.kind!, params.id!),
    value: body,
  }),
  facts: ({ id }) => ({ stored: secretQuery(id, undefined), versions: versionsQuery(id) }),
  decide({ stored: { access, secret: current }, versions }, { kind, id, value }, context) {
    if (kind !== 'variable' && kind !== 'public_key') return problems.noRoute()
    const actor = actorOf(context.caller)
    const refused = (outcome: Outcome, error: string): Outcome =>
      recorded(outcome, updateEvent(actor, { resource: id, error }))
    const verdict = need(access, 'update')
    if (verdict === 'not_found') return refused(problems.recordNotFound(id), 'Forbidden')
    if (verdict === 'forbidden') return refused(problems.forbidden(), 'Forbidden')
    if (context.settings.dynamicSecretsEnabled && isDynamic(id))
      return refused(problems.notAllowed(NOT_STATIC), NOT_STATIC)
    if (isBlank(value))
      return refused(problems.argument("'value' may not be empty"), "'value' may not be empty")
    if (kind === 'public_key' && !isPublicKey(value)) {
      return refused(problems.unprocessable('Invalid public key format'), 'Invalid public key format')
    }
    const changes = newVersion(id, value, current, versions, context)
    return answer(201, undefined, { changes, audit: [updateEvent(actor, { resource: id })] })
  },
})

const NOT_STATIC = 'adding a static secret to a dynamic secret variable is not allowed'

const isBlank = (value: Uint8Array): boolean =>
  value.every((byte) => byte === 32 || (byte >= 9 && byte <= 13))

const isPublicKey = (value: Uint8Array): boolean =>
  /^(ssh-(rsa|dss|ed25519|ecdsa\S*)|ecdsa-sha2-\S+|sk-\S+) +[A-Za-z0-9+/=]+( .*)?$/.test(
    (fromUtf8(value) ?? '').trim(),
  )

/** No change when the value is the current one; otherwise the next version, and the oldest beyond the limit removed. */
function newVersion(
  id: string,
  value: Uint8Array,
  current: StoredSecret | undefined,
  versions: readonly { version: number }[],
  { keyring, settings }: Context,
): Change[] {
  if (current !== undefined) {
    const held = keyring.open(recordId('secrets', id, current.version), current.sealed)
    if (held.length === value.length && held.every((byte, i) => byte === value[i])) return []
  }
  const version = (current?.version ?? 0) + 1
  const sealed = keyring.seal(recordId('secrets', id, version), value)
  const tooMany = Math.max(0, versions.length + 1 - settings.secretVersions)
  return [
    put('secrets', { resource: id, version, sealed, expires_at: null }),
    ...versions.slice(0, tooMany).map((old) => remove('secrets', { resource: id, version: old.version })),
  ]
}

const expireSecret = route({
  id: 'expireSecret',
  method: 'POST',
  path: '/secrets/:account/:kind/:id*',
  selector: 'expirations',
  docs: { does: 'Let the value expire now', answers: [201, 403, 404, 405, 422] },
  access: 'token',
  effect: 'write',
  input: ({ params }) => ({
    kind: params.kind!,
    id: makeId(params.account!, params.kind!, params.id!),
  }),
  facts: ({ id }) => ({ stored: secretQuery(id, undefined), versions: versionsQuery(id) }),
  decide({ stored: { access, secret }, versions }, { kind, id }, { caller }) {
    if (!isKind(kind)) return problems.noRoute()
    if (kind !== 'variable') return problems.argument(`Invalid secret kind: ${kind}`)
    const actor = actorOf(caller)
    const verdict = need(access, 'update')
    if (verdict !== 'allowed') {
      const outcome = verdict === 'forbidden' ? problems.forbidden() : problems.recordNotFound(id)
      return recorded(outcome, updateEvent(actor, { resource: id, error: 'Forbidden' }))
    }
    const expires = versions.find((v) => v.version === secret?.version)?.expiresAt ?? null
    const changes =
      secret === undefined || expires === null
        ? []
        : [put('secrets', { resource: id, version: secret.version, sealed: secret.sealed, expires_at: null })]
    return answer(201, undefined, { changes, audit: [updateEvent(actor, { resource: id })] })
  },
})

type BatchInput = {
  readonly ids: readonly string[]
  /** Those whose values are made when they are read. */
  readonly dynamic: ReadonlySet<string>
  readonly dynamicMax: number
  readonly base64: boolean
}

const storedValuesBatch = (ids: readonly string[]) => ({
  access: batchAccessQuery(ids),
  values: batchValuesQuery(ids),
})

const allValuesBatch = (ids: readonly string[], dynamic: ReadonlySet<string>) => ({
  ...storedValuesBatch(ids),
  sources: dynamicSourcesQuery([...dynamic]),
})

type StoredValues = ReturnType<typeof storedValuesBatch>

const batchSecrets = route({
  id: 'batchSecrets',
  method: 'GET',
  path: '/secrets',
  docs: {
    does: 'Values of many variables',
    query: { variable_ids: 'Full ids, each percent-encoded, separated by commas' },
    gives: 'json',
    answers: [200, 403, 404, 406, 422, 502],
  },
  access: 'token',
  effect: 'read',
  input: ({ query, header }, { dynamicSecretsEnabled, dynamicSecretsPerRequestMax }): BatchInput => {
    const ids = (textOf(query, 'variable_ids') ?? '').split(',')
    if (ids.includes('')) throw new DomainError('argument_error', 'variable_ids')
    return {
      ids: [...new Set(ids)],
      dynamic: new Set(dynamicSecretsEnabled ? ids.filter(isDynamic) : []),
      dynamicMax: dynamicSecretsPerRequestMax,
      base64: header('accept-encoding')?.toLowerCase() === 'base64',
    }
  },
  facts: ({ ids, dynamic }): StoredValues | ReturnType<typeof allValuesBatch> =>
    dynamic.size === 0 ? storedValuesBatch(ids) : allValuesBatch(ids, dynamic),
  prove(facts, input, io, caller): Promise<DynamicSecrets> | undefined {
    if (!('sources' in facts) || batchFault(facts, input) !== undefined) return undefined
    return dynamicSecrets(input.dynamic, facts.sources, io, caller)
  },
  decide(facts, input, { caller, keyring }, made) {
    const { ids, base64 } = input
    const actor = actorOf(caller)
    const refused = ({ id, outcome, error }: BatchFault): Outcome =>
      recorded(outcome, fetchEvent(actor, { resource: id, error }))
    const fault = batchFault(facts, input)
    if (fault !== undefined) return refused(fault)
    const body: Record<string, string> = {}
    for (const id of ids) {
      const secret = made?.get(id)
      if (secret !== undefined && 'error' in secret) return refused({ id, ...secret })
      const plain = secret === undefined ? opened(id, facts.values.get(id)!, keyring) : utf8(secret.json)
      const text = base64 ? base64Lines(plain) : fromUtf8(plain)
      if (text === undefined)
        return refused({ id, outcome: problems.notAcceptable(NOT_TEXT), error: NOT_TEXT })
      body[id] = text
    }
    return answer(200, json(body), {
      headers: base64 ? { 'Content-Encoding': 'base64' } : {},
      audit: ids.map((id) => fetchEvent(actor, { resource: id })),
    })
  },
})

type BatchFault = { readonly id: string; readonly outcome: Outcome; readonly error: string }

/** Why nothing is answered, and for which variable; before any value is opened or made. */
function batchFault(
  { access, values }: FactsOf<StoredValues>,
  { ids, dynamic, dynamicMax }: BatchInput,
): BatchFault | undefined {
  const forbidden = ids.find((id) => access.found.has(id) && !access.executable.has(id))
  if (forbidden !== undefined) return { id: forbidden, outcome: problems.forbidden(), error: 'Forbidden' }
  const made = [...dynamic].filter((id) => access.found.has(id))
  if (made.length > dynamicMax) {
    const error = `Number of dynamic secrets requested exceeds the maximum allowed in a single request (${dynamicMax})`
    return { id: made[dynamicMax]!, outcome: problems.unprocessable(error), error }
  }
  const absent =
    ids.find((id) => !access.found.has(id)) ?? ids.find((id) => !values.has(id) && !dynamic.has(id))
  if (absent === undefined) return undefined
  const error = emptyOrNotFound(absent)
  return { id: absent, outcome: problems.notFound(error), error }
}

const opened = (id: string, { version, sealed }: BatchValue, keyring: Keyring): Uint8Array =>
  keyring.open(recordId('secrets', id, version), sealed)

type BatchValue = Pick<StoredSecret, 'version' | 'sealed'>
type DynamicSecrets = ReadonlyMap<string, DynamicSecret>

async function dynamicSecrets(
  ids: ReadonlySet<string>,
  sources: ReadonlyMap<string, DynamicSource>,
  io: NodeIo,
  caller: Caller,
): Promise<DynamicSecrets> {
  const made = [...ids].map(
    async (id): Promise<[string, DynamicSecret]> => [
      id,
      await dynamicSecret(id, sources.get(id), io, caller),
    ],
  )
  return new Map(await Promise.all(made))
}

const NOT_TEXT =
  "CONJ00074E Issue encoding secret into JSON format, try including 'Accept-Encoding: base64' header in request."

/** 60 columns, each line with its newline, as the reference writes them. */
function base64Lines(bytes: Uint8Array): string {
  return toBase64(bytes).replace(/.{1,60}/g, '$&\n')
}

export const secretRoutes: readonly AnyRoute[] = [expireSecret, getSecret, postSecret, batchSecrets]
