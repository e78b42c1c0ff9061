// Dynamic secrets: what the engine is asked for, and what is made of its answer (http-api 14).
import { fromUtf8 } from '../base/bytes.ts'
import { isObject, type Json, parseJson } from '../base/json.ts'
import type { DynamicSource } from '../ledger/reads/issuer.ts'
import { recordId } from '../secret/keyring.ts'
import type { NodeIo, SecretAnswer } from './node.ts'
import { answer, type Outcome } from './outcome.ts'
import { problems } from './problems.ts'
import type { Caller } from './route.ts'

/** The engine's JSON as it wrote it, or why there is none. */
export type DynamicSecret = { readonly json: string } | { readonly error: string; readonly outcome: Outcome }

const unprocessable = (error: string): DynamicSecret => ({ error, outcome: problems.unprocessable(error) })

/** For a caller who may execute the variable. */
export async function dynamicSecret(
  variable: string,
  source: DynamicSource | undefined,
  { keyring, askEngine }: Pick<NodeIo, 'keyring' | 'askEngine'>,
  { role, requestId }: Caller,
): Promise<DynamicSecret> {
  const issuer = source?.issuer
  if (source === undefined || issuer === undefined)
    return unprocessable(`Issuer assigned to ${variable} was not found`)
  if (askEngine === undefined) return unprocessable('No ephemeral secret engine configured for Conjur')
  const sealed = keyring.open(recordId('issuers', issuer.policy), issuer.sealed)
  const data = parseJson(fromUtf8(sealed) ?? '')
  const body: Json = {
    type: issuer.type,
    method: source.annotations.get('method') ?? null,
    role: role ?? null,
    issuer: { max_ttl: issuer.max_ttl, data: data ?? null },
    secret: Object.fromEntries([...source.annotations].map(([name, value]) => [memberName(name), value])),
  }
  return secretOf(await askEngine({ requestId, body }), data)
}

/** The engine knows `dynamic/role-arn` as `role_arn`. */
const memberName = (annotation: string): string => annotation.replaceAll('-', '_').toLowerCase()

function secretOf(answered: SecretAnswer, data: Json | undefined): DynamicSecret {
  if (answered.kind === 'failed')
    return { error: 'The secret engine did not answer', outcome: answer(answered.status) }
  const value = parseJson(answered.text)
  if (answered.kind === 'made' && value !== undefined) return { json: answered.text }
  if (answered.kind === 'refused' && isObject(value)) return unprocessable(refusal(value, data))
  return { error: 'The secret engine did not answer with JSON', outcome: answer(502) }
}

const WORDS_MAX = 500

/** What the engine says of it; it may quote the keys it was given, and nobody may read them here. */
function refusal(said: Readonly<Record<string, unknown>>, data: Json | undefined): string {
  const keys = isObject(data) ? Object.values(data).filter((value) => typeof value === 'string') : []
  const words = (name: string): string => {
    const value = said[name]
    const text = typeof value === 'string' || typeof value === 'number' ? String(value) : ''
    const shown = keys.reduce((rest, key) => rest.replaceAll(key, '*****'), text)
    return shown.replaceAll('\0', '').slice(0, WORDS_MAX).toWellFormed()
  }
  return `Failed to create the dynamic secret. Code: ${words('code')}, Message: ${words('message')}, description: ${words('description')}`
}
