// The engine that makes dynamic secrets, asked over HTTP (http-api 14).

import { limits } from '../base/limits.ts'
import { boundedText } from './bounded-text.ts'
import type { SecretAnswer, SecretOrder } from './node.ts'

/** `report`: for what the operator must see; it is told neither keys nor secrets. */
export function secretEngineAt(
  url: string | undefined,
  report: (message: string) => void,
): ((order: SecretOrder) => Promise<SecretAnswer>) | undefined {
  if (url === undefined) return undefined
  const secrets = `${url.replace(/\/+$/, '')}/secrets`
  let waiting = 0
  const failed = (status: 502 | 503 | 504, why: string): SecretAnswer => {
    report(`the secret engine made no secret: ${why}`)
    return { kind: 'failed', status }
  }
  return async (order) => {
    if (waiting >= limits.secretEngineRequests) return failed(503, `${waiting} requests wait for it`)
    waiting++
    try {
      return await ask(secrets, order, failed)
    } catch (error) {
      const late = error instanceof Error && error.name === 'TimeoutError'
      return late
        ? failed(504, `no answer within ${limits.secretEngineMs} ms`)
        : failed(502, `it cannot be asked: ${reasonOf(error)}`)
    } finally {
      waiting--
    }
  }
}

async function ask(
  url: string,
  { requestId, body }: SecretOrder,
  failed: (status: 502, why: string) => SecretAnswer,
): Promise<SecretAnswer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Request-ID': requestId },
    body: JSON.stringify(body),
    // Whoever it sends us to is not the one that the operator trusts with the keys.
    redirect: 'manual',
    signal: AbortSignal.timeout(limits.secretEngineMs),
  })
  if (response.status < 200 || (response.status >= 300 && response.status < 400))
    return failed(502, 'its answer leads elsewhere')
  const text = await boundedText(response, limits.secretEngineBytes)
  if (text === undefined) return failed(502, 'its answer is too large, or no text')
  return { kind: response.ok ? 'made' : 'refused', text }
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? error.cause.message : error.message
}
