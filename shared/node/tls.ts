// What the other end of a TLS connection has shown.
import type { X509Certificate } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { RawRequest } from '../api/request.ts'
import type { Shown } from '../enrolment/names.ts'
import { presentedIn } from './certificates.ts'

/** Of a connection that asked for a certificate, and of any other: nothing. */
export function shownOn(socket: Duplex): Shown {
  if (!(socket instanceof TLSSocket)) return { kind: 'nothing' }
  const certificate: X509Certificate | undefined = socket.getPeerX509Certificate()
  if (certificate === undefined) return { kind: 'nothing' }
  if (!socket.authorized) return { kind: 'untrusted', why: wordsOf(socket.authorizationError) }
  const { serial, name, notAfter } = presentedIn(certificate)
  return { kind: 'trusted', serial, name, notAfter }
}

/** PEM of the other end's, who has proved to have its key; whoever signed it. Undefined where none was asked for or shown. */
const certificateOn = (socket: Duplex): string | undefined =>
  socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.toString() : undefined

/** What a request may ask of its connection. */
export const proofOn = (socket: Duplex): Pick<RawRequest, 'shown' | 'certificate'> =>
  socket instanceof TLSSocket
    ? { shown: () => shownOn(socket), certificate: () => certificateOn(socket) }
    : {}

const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_SIGNATURE_FAILURE',
])

const words: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'it has run out',
  CERT_NOT_YET_VALID: 'it is not valid yet: compare the clocks',
}

/** Of an error with this code: whoever signed the certificate of the other end is not known here. */
export const isOfUnknownAuthority = (code: string): boolean => UNKNOWN_AUTHORITY.has(code)

/** The types say an Error, the runtime gives its code. */
function wordsOf(error: unknown): string {
  const code = String(error)
  return isOfUnknownAuthority(code) ? 'another authority has signed it' : (words[code] ?? code)
}
