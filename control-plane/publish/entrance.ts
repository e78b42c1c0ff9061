// Where Followers come in: who they are is settled here, and the streams know nothing of how. In this version a
// Follower shows a bearer of its own; certificates will take its place without touching the streams.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { constantTimeEqual, sha256 } from '#shared/base/native-crypto.ts'
import { socketWire } from '#shared/node/socket-wire.ts'
import type { Wire } from '#shared/replication/wire.ts'
import type { FollowerIdentity } from './publisher.ts'

export type FollowerBearer = { readonly name: string; readonly bearer: string }

export type EntranceOptions = {
  readonly followers: readonly FollowerBearer[]
  readonly onStream: (identity: FollowerIdentity, wire: Wire) => Promise<void>
  readonly onAudit: (identity: FollowerIdentity, wire: Wire) => Promise<void>
  readonly report: (message: string) => void
}

export type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

export const UPGRADE = 'holdfast'

export function createEntrance(options: EntranceOptions): Upgrade {
  const digests = options.followers.map(({ name, bearer }) => ({ name, digest: sha256(utf8(bearer)) }))
  const doors: Record<string, EntranceOptions['onStream']> = {
    '/replication/stream': options.onStream,
    '/replication/audit': options.onAudit,
  }
  return (request, socket, head) => {
    const door = doors[request.url ?? '']
    const identity = identityOf(request.headers.authorization, digests)
    if (door === undefined || request.headers.upgrade !== UPGRADE) return refuse(socket, '404 Not Found')
    if (identity === undefined) return refuse(socket, '401 Unauthorized')
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${UPGRADE}\r\nConnection: Upgrade\r\n\r\n`)
    const wire = socketWire(socket, head, limits.linkSilenceMs * 2)
    door(identity, wire).catch((error: unknown) => {
      options.report(
        `the link of ${identity.name} ended: ${error instanceof Error ? error.message : String(error)}`,
      )
      wire.close('the link has failed')
    })
  }
}

function refuse(socket: Duplex, status: string): void {
  socket.on('error', () => undefined)
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
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
