// The PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt 2.2): who a balancer's connection is really from. A balancer
// sends it before anything else; from all others it is not looked for, so that nobody can say to be somebody else.
import type { Socket } from 'node:net'
import ipaddr from 'ipaddr.js'
import { inRanges, parseAddress, type Range } from '../authz/address.ts'
import { limits } from '../base/limits.ts'

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const HEAD_BYTES = 16
const LOCAL = 0x20
const PROXY = 0x21
/** Family and protocol → bytes of one address; the client's comes first. */
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [0x11, 4],
  [0x21, 16],
])

export type ProxyHeader =
  | { readonly kind: 'unfinished' }
  | { readonly kind: 'malformed' }
  /** `client` undefined: the balancer itself, or one whose address it does not know. */
  | { readonly kind: 'read'; readonly bytes: number; readonly client: string | undefined }

const malformed: ProxyHeader = { kind: 'malformed' }

export function parseProxyHeader(given: Buffer): ProxyHeader {
  const begun = Math.min(given.length, SIGNATURE.length)
  if (!given.subarray(0, begun).equals(SIGNATURE.subarray(0, begun))) return malformed
  if (given.length < HEAD_BYTES) return { kind: 'unfinished' }
  const command = given[12]!
  const bytes = HEAD_BYTES + given.readUInt16BE(14)
  if ((command !== LOCAL && command !== PROXY) || bytes > limits.proxyHeaderBytes) return malformed
  if (given.length < bytes) return { kind: 'unfinished' }
  const size = ADDRESS_BYTES.get(given[13]!)
  if (command === LOCAL || size === undefined) return { kind: 'read', bytes, client: undefined }
  // Both addresses and both ports.
  if (bytes < HEAD_BYTES + 2 * size + 4) return malformed
  const address = ipaddr.fromByteArray([...given.subarray(HEAD_BYTES, HEAD_BYTES + size)])
  return { kind: 'read', bytes, client: ipaddr.process(address.toString()).toString() }
}

export type ProxyGate = {
  /** Calls `enter` when the header of a balancer's connection has been read, and at once for all others. */
  admit(socket: Socket, enter: () => void): void
  /** The client behind a socket, also behind the TLS over it. */
  peerOf(socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): string
}

export function createProxyGate(balancers: readonly Range[]): ProxyGate {
  /** By address and port of the balancer's end, while the connection is open: TLS is another socket with the same ends. */
  const clients = new Map<string, string>()
  const endOf = ({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): string =>
    `${remoteAddress} ${remotePort}`

  function admit(socket: Socket, enter: () => void): void {
    const direct = parseAddress(socket.remoteAddress ?? '')
    if (direct === undefined || !inRanges(direct, balancers)) {
      enter()
      return
    }
    readHeader(socket, (client) => {
      if (client !== undefined) {
        const end = endOf(socket)
        clients.set(end, client)
        socket.once('close', () => clients.delete(end))
      }
      enter()
    })
  }

  return { admit, peerOf: (socket) => clients.get(endOf(socket)) ?? socket.remoteAddress ?? '' }
}

/** A connection whose header is malformed or late is destroyed. What follows the header is put back. */
function readHeader(socket: Socket, done: (client: string | undefined) => void): void {
  let held = Buffer.alloc(0)
  const fail = (): void => void socket.destroy()
  const timer = setTimeout(fail, limits.proxyHeaderMs)
  const forget = (): void => clearTimeout(timer)
  const onData = (chunk: Buffer): void => {
    held = Buffer.concat([held, chunk])
    const header = parseProxyHeader(held)
    if (header.kind === 'malformed') fail()
    if (header.kind !== 'read') return
    forget()
    socket.removeListener('data', onData)
    socket.removeListener('end', fail)
    socket.removeListener('error', fail)
    socket.removeListener('close', forget)
    socket.pause()
    if (held.length > header.bytes) socket.unshift(held.subarray(header.bytes))
    done(header.client)
    // Who takes the bytes listens by now; over TLS nobody does, and the TLS socket has taken them already.
    process.nextTick(() => socket.listenerCount('data') > 0 && socket.resume())
  }
  socket.on('data', onData)
  socket.on('end', fail)
  socket.on('error', fail)
  socket.on('close', forget)
}
