// Node's door to the API: from a socket to a RawRequest and back. It builds no Request and no Response object:
// that costs a tenth of all requests/s of a bare server, and the secret read is what people wait for.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, Server as TlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import { type Answer, bodyTooLarge, type RawRequest } from '../api/request.ts'
import type { Range } from '../authz/address.ts'
import { DomainError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { createPlainLane, type PlainLane } from './plain-lane.ts'
import { createProxyGate, type ProxyGate } from './proxy-header.ts'
import { proofOn } from './tls.ts'

export type Listening = {
  readonly port: number
  /** Stops accepting, lets running requests end, then resolves. */
  close(): Promise<void>
  /** For connections from now on. Only of a server that speaks TLS. */
  renew(tls: TlsFiles): void
}

/** Certificate chain and private key, PEM. */
export type TlsFiles = {
  readonly cert: string
  readonly key: string
  /** Authorities of clients: they are asked for a certificate, and may have none. */
  readonly clients?: string
  /** Clients are asked for a certificate, and may have any or none: who signed it is looked at by whom it matters to. */
  readonly anyClient?: boolean
}

export type ListenOptions = {
  readonly host: string
  readonly port: number
  readonly handle: (request: RawRequest) => Promise<Answer>
  /** For connections that ask for another protocol; without it they are refused. */
  readonly onUpgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
  /** PEM: the server speaks TLS, and nothing else. */
  readonly tls?: TlsFiles | undefined
  /** Several threads of one process may listen at the same port. */
  readonly shared?: boolean
  /** Balancers, whose connections begin with a PROXY header. */
  readonly balancers?: readonly Range[]
  /** Most connections at once; beyond it they are closed. */
  readonly connections?: number
}

export async function listen(options: ListenOptions): Promise<Listening> {
  const { tls } = options
  const bounds = {
    maxHeaderSize: limits.headerBytes,
    keepAliveTimeout: limits.keepAliveMs,
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    noDelay: true,
  }
  const gate = createProxyGate(options.balancers ?? [])
  const { peerOf } = gate
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    // `handle` answers everything; what fails here is the socket.
    serve(options, peerOf(request.socket), request, response).catch(() => response.destroy())
  }
  const server =
    tls === undefined
      ? createServer(bounds, onRequest)
      : createTlsServer({ ...bounds, ...TLS_BOUNDS, ...tlsOptions(tls) }, onRequest)
  const upgraded = new Set<Duplex>()
  server.on('upgrade', (request, socket, head) => {
    upgraded.add(socket)
    socket.on('close', () => upgraded.delete(socket))
    if (options.onUpgrade) options.onUpgrade(request, socket, head)
    else socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
  })
  // Of TLS the connection whose handshake is done.
  const event = tls === undefined ? 'connection' : 'secureConnection'
  const [toHttp] = server.listeners(event) as [(socket: Socket) => void]
  const handOver = (socket: Socket): void => toHttp.call(server, socket)
  const lane = createPlainLane({ handle: options.handle, handOver, peerOf })
  server.removeListener(event, toHttp)
  server.on(event, lane.take)
  if (options.balancers !== undefined && options.balancers.length > 0) putBefore(server, gate)
  if (options.connections !== undefined) server.maxConnections = options.connections
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: options.host, port: options.port, reusePort: options.shared ?? false }, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () => close(server, lane, upgraded),
    renew: (renewed) => {
      if (server instanceof TlsServer) server.setSecureContext({ ...TLS_BOUNDS, ...tlsOptions(renewed) })
    },
  }
}

/**
 * Clients with certificates are nodes of ours, of this version. Whoever shows no certificate, or a wrong one, is told why by
 * what he asks for, not by a broken handshake.
 */
const tlsOptions = ({ cert, key, clients, anyClient = false }: TlsFiles): TlsOptions =>
  clients === undefined
    ? { cert, key, requestCert: anyClient, rejectUnauthorized: false }
    : { cert, key, ca: clients, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.3' }

/** Every connection passes the gate first, before TLS and HTTP. */
function putBefore(server: Server, gate: ProxyGate): void {
  const listeners = server.listeners('connection') as ((socket: Socket) => void)[]
  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) =>
    gate.admit(socket, () => {
      for (const listener of listeners) listener.call(server, socket)
    }),
  )
}

const TLS_BOUNDS = { minVersion: 'TLSv1.2', handshakeTimeout: limits.headersMs } as const

/** Lets running requests end; a client that keeps asking on its connection does not keep the node up. */
function close(server: Server, lane: PlainLane, upgraded: ReadonlySet<Duplex>): Promise<void> {
  // Nobody but their owners knows when such a connection has said all: its other end goes on where it was cut.
  for (const socket of upgraded) socket.destroy()
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      server.closeAllConnections()
      lane.destroy()
    }, limits.drainMs)
    server.close(() => {
      clearTimeout(timer)
      resolve()
    })
    server.closeIdleConnections()
    lane.close()
  })
}

async function serve(
  options: ListenOptions,
  peer: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const answer = await options.handle(rawOf(request, peer))
  send(request, response, answer)
}

function rawOf(request: IncomingMessage, peer: string): RawRequest {
  const url = request.url ?? '/'
  const question = url.indexOf('?')
  return {
    method: request.method ?? 'GET',
    path: question < 0 ? url : url.slice(0, question),
    query: question < 0 ? '' : url.slice(question + 1),
    header: (name) => headerText(request.headers[name]),
    body: (limitBytes) => readBody(request, limitBytes),
    peer,
    ...proofOn(request.socket),
  }
}

const headerText = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value.join(', ') : value

function readBody(request: IncomingMessage, limitBytes: number): Promise<Uint8Array> {
  const declared = Number(request.headers['content-length'] ?? 0)
  if (declared > limitBytes) {
    discard(request)
    return Promise.reject(bodyTooLarge(limitBytes))
  }
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    let length = 0
    request.on('data', (part: Buffer) => {
      length += part.length
      if (length <= limitBytes) return void parts.push(part)
      request.removeAllListeners('data')
      discard(request)
      reject(bodyTooLarge(limitBytes))
    })
    request.on('end', () => resolve(parts.length === 1 ? parts[0]! : Buffer.concat(parts)))
    request.on('error', reject)
    request.on('close', () => {
      if (!request.readableEnded)
        reject(new DomainError('bad_request', 'the connection was closed within the body'))
    })
  })
}

/** A client that is still sending does not see the answer before it has sent: the rest is read and dropped, so far. */
function discard(request: IncomingMessage): void {
  let length = 0
  request.on('data', (part: Buffer) => {
    length += part.length
    if (length > limits.discardBytes) request.destroy()
  })
}

/** Bodies up to this size go out as text with the head: one write instead of a gathered one. */
const JOINED_BYTES = 16 * 1024

function send(request: IncomingMessage, response: ServerResponse, { status, headers, body }: Answer): void {
  const length = body === undefined ? 0 : typeof body === 'string' ? Buffer.byteLength(body) : body.length
  const all: Record<string, string | number> = headers
  if (status !== 204) all['Content-Length'] = length
  response.writeHead(status, all)
  if (body === undefined || request.method === 'HEAD') response.end()
  else if (typeof body === 'string' || body.length > JOINED_BYTES) response.end(body)
  else response.end(Buffer.from(body.buffer, body.byteOffset, body.length).toString('latin1'), 'latin1')
}
