// The door to identity providers on Node: the address that is connected to is the one that was judged, whatever the name
// resolves to the next time.
import { lookup as lookUp } from 'node:dns'
import { request as overHttp, type RequestOptions } from 'node:http'
import { request as overHttps } from 'node:https'
import type { LookupFunction } from 'node:net'
import { isIP } from 'node:net'
import { mayBeAsked } from '../authn/networks.ts'
import {
  type Outgoing,
  type OutgoingAnswer,
  OutgoingFailure,
  type OutgoingRequest,
} from '../authn/outgoing.ts'
import type { Range } from '../authz/address.ts'
import { concat, fromUtf8 } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'

/** `allowed`: networks that are not public and may be asked. */
export function outgoingThrough(allowed: readonly Range[]): Outgoing {
  return async (request) => {
    const url = URL.parse(request.url)
    if (url === null || !/^https?:$/.test(url.protocol))
      throw new OutgoingFailure('failed', 'its address is no http or https URL')
    return ask(url, request, lookupFor(url.hostname.replace(/^\[|\]$/g, ''), allowed))
  }
}

/** To connect to this host by. Throws `OutgoingFailure` for an address that is written out, which is not looked up. */
export function lookupFor(host: string, allowed: readonly Range[]): LookupFunction {
  if (isIP(host) !== 0 && !mayBeAsked(host, allowed)) throw notAllowed(host)
  return (name, options, callback) =>
    lookUp(name, { ...options, all: true }, (error, found) => {
      if (error !== null) return callback(error, [])
      const good = found.filter(({ address }) => mayBeAsked(address, allowed))
      if (good.length === 0) return callback(notAllowed(name), [])
      return options.all ? callback(null, good) : callback(null, good[0]!.address, good[0]!.family)
    })
}

const notAllowed = (host: string): OutgoingFailure =>
  new OutgoingFailure(
    'not_allowed',
    `${host} is no public address: authn_private_networks says which others may be asked`,
  )

function ask(
  url: URL,
  { method, headers, body, ca }: OutgoingRequest,
  lookup: LookupFunction,
): Promise<OutgoingAnswer> {
  return new Promise((resolve, reject) => {
    const options: RequestOptions = {
      method,
      headers: {
        ...headers,
        ...(body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }),
      },
      lookup,
      signal: AbortSignal.timeout(limits.providerMs),
    }
    const sent =
      url.protocol === 'https:'
        ? overHttps(url, { ...options, ...(ca === undefined ? {} : { ca }) })
        : overHttp(url, options)
    sent.on('error', (error) => reject(failureOf(error)))
    sent.on('response', (response) => {
      const parts: Uint8Array[] = []
      let length = 0
      response.on('data', (part: Buffer) => {
        length += part.length
        if (length > limits.providerBytes)
          sent.destroy(new OutgoingFailure('failed', 'its answer is too large'))
        else parts.push(part)
      })
      response.on('error', (error) => reject(failureOf(error)))
      response.on('end', () => {
        const text = fromUtf8(concat(...parts))
        if (text === undefined) reject(new OutgoingFailure('failed', 'its answer is no text'))
        else resolve({ status: response.statusCode ?? 0, text })
      })
    })
    sent.end(body)
  })
}

/** The same error, in words that are for the audit. */
export function failureOf(error: Error): OutgoingFailure {
  if (error instanceof OutgoingFailure) return error
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return new OutgoingFailure('timeout', `no answer within ${limits.providerMs} ms`)
  return new OutgoingFailure('failed', `it cannot be asked: ${error.message}`)
}
