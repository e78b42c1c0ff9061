// The door to identity providers on Node: the address that is connected to is the one that was judged, whatever the name
// resolves to the next time.
import { X509Certificate } from 'node:crypto'
import { lookup as lookUp } from 'node:dns'
import { Agent as HttpAgent, type IncomingMessage, request as overHttp, type RequestOptions } from 'node:http'
import { Agent as HttpsAgent, request as overHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { destinationOf, mayBeAsked, notAllowed } from '../authn/networks.ts'
import {
  type Outgoing,
  type OutgoingAnswer,
  OutgoingFailure,
  type OutgoingRequest,
} from '../authn/outgoing.ts'
import type { Range } from '../authz/address.ts'
import { concat, fromUtf8 } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'
import { pemsIn } from '../base/x509.ts'

/** `allowed`: networks that are not public and may be asked. */
export function outgoingThrough(allowed: readonly Range[]): Outgoing {
  // Of its own: those of the process may lead through a proxy, which would look names up again.
  const pool = {
    keepAlive: true,
    maxSockets: limits.providerConnectionsEach,
    maxTotalSockets: limits.providerConnections,
  }
  const agents = { http: new HttpAgent(pool), https: new HttpsAgent(pool) }
  const bounded = createBounds()
  return async (request) => {
    const { url, host } = destinationOf(request.url, allowed)
    const lookup = lookupFor(host, allowed)
    const ca = request.ca === undefined ? undefined : authoritiesIn(request.ca)
    const isSecure = url.protocol === 'https:'
    const options: RequestOptions = {
      method: request.method,
      headers: {
        ...request.headers,
        ...(request.body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(request.body)) }),
      },
      agent: isSecure ? agents.https : agents.http,
      lookup,
      signal: AbortSignal.timeout(limits.providerMs),
    }
    const send = (more: RequestOptions) =>
      isSecure
        ? overHttps(url, { ...options, ...more, ...(ca === undefined ? {} : { ca }) })
        : overHttp(url, { ...options, ...more })
    return await bounded(url.origin, () => ask(send, request))
  }
}

/** Of one origin so many questions at once: whoever floods one provider leaves the others alone. */
function createBounds(): <T>(origin: string, question: () => Promise<T>) => Promise<T> {
  const underWay = new Map<string, number>()
  return async (origin, question) => {
    const others = underWay.get(origin) ?? 0
    if (others >= limits.providerRequestsEach) throw new OutgoingFailure('failed', 'too many ask it at once')
    underWay.set(origin, others + 1)
    try {
      return await question()
    } finally {
      const left = underWay.get(origin)! - 1
      if (left === 0) underWay.delete(origin)
      else underWay.set(origin, left)
    }
  }
}

/** To connect to this host by. Throws `OutgoingFailure` for an address that is written out, which is not looked up. */
export function lookupFor(host: string, allowed: readonly Range[]): LookupFunction {
  if (isIP(host) !== 0 && !mayBeAsked(host, allowed)) throw notAllowed()
  return (name, options, callback) =>
    lookUp(name, { ...options, all: true }, (error, found) => {
      if (error !== null) return callback(error, [])
      const good = found.filter(({ address }) => mayBeAsked(address, allowed))
      if (good.length === 0) return callback(notAllowed(), [])
      return options.all ? callback(null, good) : callback(null, good[0]!.address, good[0]!.family)
    })
}

/** Throws `OutgoingFailure`: without this a text that is none would be trusted by nobody, and the reason be hidden. */
function authoritiesIn(pem: string): string[] {
  const found = pemsIn(pem)
  if (found.length === 0) throw new OutgoingFailure('failed', 'its ca-cert holds no certificate in PEM')
  found.forEach((text, i) => {
    try {
      new X509Certificate(text)
    } catch {
      throw new OutgoingFailure('failed', `certificate ${i + 1} of its ca-cert cannot be read`)
    }
  })
  return found
}

/** `send` is called once more when the other side ended a connection that had stood open, before it took the request. */
function ask(
  send: (more: RequestOptions) => ReturnType<typeof overHttp>,
  { body }: OutgoingRequest,
  mayRepeat = true,
): Promise<OutgoingAnswer> {
  return new Promise((resolve, reject) => {
    // The others that stood open may have been ended with it: the second time takes a new one.
    const sent = send(mayRepeat ? {} : { agent: false })
    let hasAnswered = false
    const fail = (error: Error): void => {
      const isStale = sent.reusedSocket && !hasAnswered && codeOf(error) === 'ECONNRESET'
      if (isStale && mayRepeat) resolve(ask(send, { body } as OutgoingRequest, false))
      else reject(failureOf(error))
    }
    sent.on('error', fail)
    sent.on('response', (response) => {
      hasAnswered = true
      textOf(response).then(
        (text) => resolve({ status: response.statusCode ?? 0, text }),
        (error: Error) => {
          sent.destroy()
          reject(failureOf(error))
        },
      )
    })
    // Whatever ended it, nobody waits for ever.
    sent.on('close', () => hasAnswered || fail(new Error('it ended the connection')))
    sent.end(body)
  })
}

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length
    if (length > limits.providerBytes) throw new OutgoingFailure('failed', 'its answer is too large')
    parts.push(part)
  }
  // Compressed ones were not asked for, and are none.
  const text = fromUtf8(concat(...parts))
  if (text === undefined) throw new OutgoingFailure('failed', 'its answer is no text')
  return text
}

/** The same error, in words that are for the audit. */
export function failureOf(error: Error): OutgoingFailure {
  if (error instanceof OutgoingFailure) return error
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return new OutgoingFailure('timeout', `no answer within ${limits.providerMs} ms`)
  // The words of others quote addresses.
  const code = codeOf(error)
  return new OutgoingFailure('failed', `it cannot be asked${code === undefined ? '' : ` (${code})`}`)
}

/** `ECONNREFUSED`, `DEPTH_ZERO_SELF_SIGNED_CERT`: nothing else looks like that. */
function codeOf(error: Error): string | undefined {
  const { code } = error as NodeJS.ErrnoException
  return typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code) ? code : undefined
}
