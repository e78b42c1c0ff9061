// Who asks: request id, client address, token (http-api 2, 3).
import { originAllowed } from '../authz/address.ts'
import { toHex } from '../base/bytes.ts'
import { tokenOfHeader } from '../token/header.ts'
import type { ApiNode } from './node.ts'
import { answer, type Outcome, text } from './outcome.ts'
import { decodePercent, type RawRequest } from './request.ts'
import type { Access, Caller } from './route.ts'

/** The caller, or the answer that refuses it. Synchronous when the token is remembered: the secret-read path. */
export function identify(
  access: Access,
  request: RawRequest,
  node: ApiNode,
  requestId: string,
  now: number,
): Caller | Outcome | Promise<Caller | Outcome> {
  const anonymous: Caller = {
    role: undefined,
    tokenIssuedAt: undefined,
    clientIp: node.clientAddress(request.peer, request.header('x-forwarded-for')),
    requestId,
  }
  if (access === 'open') return anonymous
  const encoded = tokenOfHeader(request.header('authorization'))
  if (encoded === undefined) return access === 'optional' ? anonymous : refused('Authorization missing')
  const verified = node.tokens.verify(encoded, now)
  const settle = (token: Awaited<typeof verified>): Caller | Outcome => {
    if (typeof token === 'string') return refused(token)
    if (!originAllowed(anonymous.clientIp, token.cidr)) return answer(403, text('IP address rejected'))
    return { ...anonymous, role: token.role, tokenIssuedAt: token.issuedAt }
  }
  return verified instanceof Promise ? verified.then(settle) : settle(verified)
}

const refused = (message: string): Outcome => answer(401, text(message))

export const isOutcome = (value: Caller | Outcome): value is Outcome => 'status' in value

const FORWARDED = 'x-ssl-client-certificate'

/**
 * PEM of the client's certificate (http-api 8.9): what the connection showed, or what a proxy says that ended the client's
 * TLS. Anybody can write such a header, so that of a peer that is no trusted proxy it is not looked at.
 */
export function clientCertificate(
  { peer, header, certificate }: RawRequest,
  { isProxy }: Pick<ApiNode, 'isProxy'>,
): string | undefined {
  const shown = certificate?.()
  if (shown !== undefined) return shown
  const escaped = isProxy(peer) ? header(FORWARDED) : undefined
  // Several headers arrive as one with commas, which stand in no escaped PEM: a proxy has added its own to the client's.
  if (escaped?.includes(',')) return undefined
  // Escaped as a form a space is a plus; as a URL a plus may be one of Base64.
  return escaped && decodePercent(/BEGIN\+CERT/.test(escaped) ? escaped.replaceAll('+', ' ') : escaped)
}

const REQUEST_ID_CHARS = 255

/** The client's own id without odd characters, or a new one. */
export function createRequestIds(
  random: (length: number) => Uint8Array,
): (given: string | undefined) => string {
  // Random once per process and counted from there: unique, and no random bytes are drawn on the read path.
  const prefix = toHex(random(10))
  let count = 0
  return (given) => {
    const clean = given?.replace(/[^\w.@-]/g, '').slice(0, REQUEST_ID_CHARS)
    return clean ? clean : `${prefix}${(++count).toString(16).padStart(12, '0')}`
  }
}
