// Where Followers come in: who they are is settled here, and the streams know nothing of how. A Follower shows a certificate
// or a bearer of its own, and goes on in frames over the socket itself, or over a WebSocket where it can speak nothing else.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { constantTimeEqual, sha256 } from '#shared/base/native-crypto.ts'
import { type Refusal, refusalBody } from '#shared/enrolment/messages.ts'
import type { LinkName } from '#shared/enrolment/names.ts'
import { socketWire } from '#shared/node/socket-wire.ts'
import { acceptWebSocket } from '#shared/node/websocket-wire.ts'
import { encodeMessage } from '#shared/replication/messages.ts'
import type { Dial, Wire } from '#shared/replication/wire.ts'
import type { FollowerIdentity } from './publisher.ts'

export type FollowerBearer = { readonly name: string; readonly bearer: string }

export type Known = {
  readonly identity: FollowerIdentity
  /** Tells when the link has to end, and why; returns how to forget it. Absent: never. */
  readonly hold?: (end: (refusal: Refusal | undefined) => void) => () => void
}

/** Who asks for a link, or why he is sent away. */
export type Identified =
  | (Known & { readonly kind: 'known' })
  | { readonly kind: 'refused'; readonly status: string; readonly refusal?: Refusal }

export type Identify = (request: IncomingMessage, socket: Duplex, link: LinkName) => Identified

/** What serves the links. */
export type Streams = {
  readonly onStream: (identity: FollowerIdentity, wire: Wire) => Promise<void>
  readonly onAudit: (identity: FollowerIdentity, wire: Wire) => Promise<void>
}

export type EntranceOptions = Streams & {
  readonly identify: Identify
  readonly report: (message: string) => void
}

export type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

type Carrier = (asked: Parameters<Upgrade>, onWire: (wire: Wire) => void) => void

/** What makes a wire of a request that was let in, by the protocol that it asks for. */
const carriers = new Map<string | undefined, Carrier>([
  [
    'holdfast',
    ([, socket, head], onWire) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: holdfast\r\nConnection: Upgrade\r\n\r\n')
      onWire(socketWire(socket, head, SILENCE_MS))
    },
  ],
  ['websocket', (asked, onWire) => acceptWebSocket(asked, { silenceMs: SILENCE_MS }, onWire)],
])

/** A Follower notices a broken link first, so that it is the one that dials again. */
const SILENCE_MS = limits.linkSilenceMs * 2

/** Of one stream. */
export type Door = { readonly link: LinkName; readonly serve: EntranceOptions['onStream'] }

export type Path = Parameters<Dial>[0]

export const doorsOf = ({ onStream, onAudit }: Streams): Readonly<Record<Path, Door>> => ({
  '/replication/stream': { link: 'changes', serve: onStream },
  '/replication/audit': { link: 'audit', serve: onAudit },
})

export function createEntrance(options: EntranceOptions): Upgrade {
  const doors: Readonly<Record<string, Door>> = doorsOf(options)
  return (...asked) => {
    const [request, socket] = asked
    const door = doors[request.url ?? '']
    const carrier = carriers.get(request.headers.upgrade?.toLowerCase())
    if (door === undefined || carrier === undefined) return refuse(socket, '404 Not Found')
    const identified = options.identify(request, socket, door.link)
    if (identified.kind === 'refused') {
      const { status, refusal } = identified
      if (refusal !== undefined) options.report(`a link was refused: ${refusal.code}, ${refusal.message}`)
      return refuse(socket, status, refusal)
    }
    carrier(asked, (wire) => {
      serveLink(identified, door, wire).catch((error: unknown) => {
        const why = error instanceof Error ? error.message : String(error)
        options.report(`the link of ${identified.identity.name} ended: ${why}`)
        wire.close('the link has failed')
      })
    })
  }
}

/** Until the wire ends, or who is at its other end is put out. */
export async function serveLink({ identity, hold }: Known, door: Door, wire: Wire): Promise<void> {
  const forget = hold?.((refusal) => end(wire, door.link, refusal))
  try {
    await door.serve(identity, wire)
  } finally {
    forget?.()
  }
}

/** The last word is not waited for: whoever does not hear it is told when it dials again. */
function end(wire: Wire, link: LinkName, refusal: Refusal | undefined): void {
  if (link === 'changes' && refusal !== undefined) {
    const message = { type: 'error', code: 'CERT_REVOKED', message: refusal.message } as const
    wire.send(encodeMessage(message)).catch(() => undefined)
  }
  setImmediate(() => wire.close('the certificate is not good any more'))
}

function refuse(socket: Duplex, status: string, refusal?: Refusal): void {
  const body = refusal === undefined ? '' : refusalBody(refusal)
  const type = refusal === undefined ? '' : 'Content-Type: application/json\r\n'
  socket.on('error', () => undefined)
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\n${type}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

/** The first that knows whom it is asked for; the last one always answers. */
export const firstOf =
  (first: (request: IncomingMessage) => Identified | undefined, last: Identify): Identify =>
  (...asked) =>
    first(asked[0]) ?? last(...asked)

export function byBearer(followers: readonly FollowerBearer[]): Identify {
  const digests = followers.map(({ name, bearer }) => ({ name, digest: sha256(utf8(bearer)) }))
  return (request) => {
    const identity = identityOf(request.headers.authorization, digests)
    return identity === undefined
      ? { kind: 'refused', status: '401 Unauthorized' }
      : { kind: 'known', identity }
  }
}

/** `Bearer <name>.<secret>`; every digest is compared, so that time does not tell which name is known. */
function identityOf(
  header: string | undefined,
  digests: readonly { readonly name: string; readonly digest: Uint8Array }[],
): FollowerIdentity | undefined {
  const given = /^Bearer ([^.]+)\.(\S+)$/.exec(header ?? '')
  if (given === null) return undefined
  const digest = sha256(utf8(given[2]!))
  let found: FollowerIdentity | undefined
  for (const known of digests) {
    const fits = constantTimeEqual(known.digest, digest)
    if (fits && known.name === given[1]) found = { name: known.name, set: 'full' }
  }
  return found
}
