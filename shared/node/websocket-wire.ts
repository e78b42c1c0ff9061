// A Wire over a WebSocket, for nodes at the edge that can speak nothing else. Its messages are binary, and each carries any
// piece of the same stream of frames that a socket would.
import type { IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'
import { WebSocket, WebSocketServer } from 'ws'
import { concat } from '../base/bytes.ts'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Wire } from '../replication/wire.ts'
import { socketWire } from './socket-wire.ts'

/** RFC 6455 7.4.1. What is too large is 1009, what is compressed or malformed 1002: the library says both. */
const NORMAL = 1000
const UNSUPPORTED_DATA = 1003

/** Sealed values do not compress, and a compressed stream costs each connection memory at both ends. */
const bounds = {
  perMessageDeflate: false,
  maxPayload: limits.webSocketTakesBytes,
  closeTimeout: limits.webSocketCloseMs,
} as const

export type WebSocketWireOptions = {
  /** A link on which nothing arrives for so long, not even the answer to a ping, is ended. */
  readonly silenceMs: number
  /** Pings are sent this often; who sleeps at the other end is not woken by them. Undefined: none are. */
  readonly pingMs?: number | undefined
}

/** Takes a request to go on as a WebSocket. Calls nothing when it is malformed: then it is answered with 400, 405 or 426. */
export function acceptWebSocket(
  [request, socket, head]: readonly [IncomingMessage, Duplex, Buffer],
  options: WebSocketWireOptions,
  onWire: (wire: Wire) => void,
): void {
  door.handleUpgrade(request, socket, head, (webSocket) => onWire(webSocketWire(webSocket, options)))
}

const door = new WebSocketServer({ ...bounds, noServer: true, clientTracking: false })

export type WebSocketDial = WebSocketWireOptions & {
  readonly headers: Readonly<Record<string, string>>
  /** Certificates that the other end's is checked against, PEM; undefined: the system's. */
  readonly ca?: string | undefined
}

/** Rejects when it is aborted, with what broke, or with a `NotTaken`. A redirection is not followed: the bearer is for nobody else. */
export function dialWebSocket(url: URL, options: WebSocketDial, signal: AbortSignal): Promise<Wire> {
  const { headers, ca } = options
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new Error('it is not dialled any more'))
    const webSocket = new WebSocket(url, {
      ...bounds,
      headers,
      ...(ca === undefined ? {} : { ca }),
      handshakeTimeout: limits.linkSilenceMs,
    })
    const abort = (): void => webSocket.terminate()
    signal.addEventListener('abort', abort, { once: true })
    webSocket.once('open', () => {
      signal.removeEventListener('abort', abort)
      webSocket.off('error', reject)
      resolve(webSocketWire(webSocket, options))
    })
    webSocket.once('unexpected-response', (_request, response) => {
      void bodyOf(response).then((body) => {
        reject(new NotTaken(response.statusCode ?? 0, body))
        webSocket.terminate()
      })
    })
    webSocket.on('error', reject)
    webSocket.on('close', () => signal.removeEventListener('abort', abort))
  })
}

/** The other end answered, and not with a WebSocket. */
export class NotTaken extends Error {
  readonly status: number
  /** JSON of what it said; undefined when it is none. */
  readonly said: unknown
  constructor(status: number, body: string) {
    const said = parseJson(body)
    const error = isObject(said) && isObject(said.error) ? said.error.message : undefined
    super(`it was answered with ${status}${typeof error === 'string' ? `: ${error.slice(0, 300)}` : ''}`)
    this.status = status
    this.said = said
  }
}

/** The beginning of it says enough. Never rejects. */
async function bodyOf(response: IncomingMessage): Promise<string> {
  let text = ''
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      text += part.toString()
      if (text.length > limits.bodyBytes) break
    }
  } catch {
    // What has come of the answer says enough.
  }
  return text
}

function webSocketWire(webSocket: WebSocket, { silenceMs, pingMs }: WebSocketWireOptions): Wire {
  if (pingMs !== undefined) {
    const pinging = setInterval(() => webSocket.readyState === WebSocket.OPEN && webSocket.ping(), pingMs)
    webSocket.once('close', () => clearInterval(pinging))
  }
  return socketWire(streamOf(webSocket), new Uint8Array(), silenceMs, (heard) => {
    webSocket.on('ping', heard)
    webSocket.on('pong', heard)
  })
}

/** The bytes of its messages. Destroyed without an error it says goodbye; what it cannot take it names with a code. */
function streamOf(webSocket: WebSocket): Duplex {
  const stream = new Duplex({
    read: () => webSocket.resume(),
    write: (bytes: Buffer, _encoding, done) => sendPieces(webSocket, bytes, done),
    // What has come together meanwhile goes as one message: each would wake who sleeps.
    writev: (chunks, done) =>
      sendPieces(webSocket, concat(...chunks.map(({ chunk }) => chunk as Buffer)), done),
    destroy(error, done) {
      if (error instanceof Unsupported) webSocket.close(UNSUPPORTED_DATA, error.message)
      // Closed, or whoever read it has stopped.
      else if (error === null || error.name === 'AbortError') webSocket.close(NORMAL)
      // After an error that the library has found it is saying so itself.
      else if (webSocket.readyState === WebSocket.OPEN) webSocket.terminate()
      // What still comes before the other end's goodbye is read and dropped.
      webSocket.resume()
      done(error)
    },
  })
  webSocket.on('message', (data, isBinary) => {
    if (!isBinary) stream.destroy(new Unsupported('messages must be binary'))
    else if (!stream.destroyed && !stream.push(data)) webSocket.pause()
  })
  webSocket.on('error', (error) => stream.destroy(error))
  webSocket.on('close', (code) => {
    if (code === NORMAL) stream.push(null)
    else stream.destroy(new Error(`the connection ended with code ${code}`))
  })
  return stream
}

class Unsupported extends Error {}

/** `done` when the last piece is with the socket. */
function sendPieces(webSocket: WebSocket, bytes: Uint8Array, done: (error?: Error | null) => void): void {
  const size = limits.webSocketMessageBytes
  let from = 0
  for (; bytes.length - from > size; from += size) webSocket.send(bytes.subarray(from, from + size), ignore)
  webSocket.send(bytes.subarray(from), done)
}

/** Of one piece: when it fails the last one does. */
const ignore = (): void => undefined
