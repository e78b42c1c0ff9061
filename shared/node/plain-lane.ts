// The short way of the requests that workloads wait for: a GET without a body, or a POST with one of a known length, that
// arrived whole in one read. node:http spends more on the messages around a secret read than its database queries take.
// This reads such a request strictly (RFC 9112) and hands the socket of anything else to node:http, unread and for good:
// another method, another version, half a request, two requests at once, a header twice, a header that is about the
// connection. So it never has an opinion of its own on what is malformed.
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { type Answer, bodyTooLarge, type RawRequest } from '../api/request.ts'
import { limits } from '../base/limits.ts'
import { proofOn } from './tls.ts'

export type PlainLane = {
  /** Takes a new connection. */
  take(socket: Socket): void
  /** Ends connections that wait for a request, and the others after their answer. */
  close(): void
  /** Ends those that are left. */
  destroy(): void
}

export type PlainLaneOptions = {
  readonly handle: (request: RawRequest) => Promise<Answer>
  readonly handOver: (socket: Socket) => void
  /** Address of the client, which may be behind a balancer. */
  readonly peerOf: (socket: Socket) => string
}

export type PlainRequest = {
  readonly method: string
  readonly target: string
  /** Names are lower case. */
  readonly fields: ReadonlyMap<string, string>
  /** Where the body begins, which goes on to the end. */
  readonly bodyAt: number
}

export function createPlainLane({ handle, handOver, peerOf }: PlainLaneOptions): PlainLane {
  /** Connections of this lane → whether one waits for its answer. */
  const sockets = new Map<Socket, boolean>()
  let closing = false

  function take(socket: Socket): void {
    const ofConnection: OfConnection = { peer: peerOf(socket), ...proofOn(socket) }
    const isBusy = (): boolean => sockets.get(socket) === true

    const onData = (chunk: Buffer): void => {
      if (isBusy()) {
        putBack(socket, chunk)
        return
      }
      const request = chunk.length > limits.headerBytes ? undefined : parsePlain(chunk.toString('latin1'))
      if (request === undefined) {
        leave(chunk)
        return
      }
      sockets.set(socket, true)
      handle(rawOf(request, chunk, ofConnection))
        .then(reply)
        .catch(drop)
    }
    const reply = (answer: Answer): void => {
      const last = closing || socket.readableEnded
      const flushed = write(socket, answer, last)
      if (!sockets.has(socket)) return
      sockets.set(socket, false)
      if (last) socket.end()
      else if (!flushed) {
        // A client that does not read its answers is not read either.
        socket.pause()
        socket.once('drain', () => socket.resume())
      } else if (socket.isPaused()) socket.resume()
    }
    const drop = (): void => void socket.destroy()
    const onEnd = (): void => void (isBusy() || socket.end())
    const onTimeout = (): void => void (isBusy() || socket.destroy())
    const onClose = (): void => void sockets.delete(socket)
    const listeners = {
      data: onData,
      end: onEnd,
      timeout: onTimeout,
      close: onClose,
      error: drop,
    }
    const leave = (chunk: Buffer): void => {
      for (const [event, listener] of Object.entries(listeners)) socket.removeListener(event, listener)
      sockets.delete(socket)
      socket.setTimeout(0)
      putBack(socket, chunk)
      handOver(socket)
      process.nextTick(() => socket.resume())
    }

    sockets.set(socket, false)
    socket.setTimeout(limits.keepAliveMs)
    for (const [event, listener] of Object.entries(listeners)) socket.on(event, listener)
  }

  return {
    take,
    close() {
      closing = true
      for (const [socket, busy] of sockets) if (!busy) socket.destroy()
    },
    destroy() {
      for (const socket of sockets.keys()) socket.destroy()
    },
  }
}

function putBack(socket: Socket, chunk: Buffer): void {
  socket.pause()
  socket.unshift(chunk)
}

const REQUEST_LINE = /(GET|POST) (\/[\x21\x22\x24-\x7e]*) HTTP\/1\.1\r\n/y
const FIELD = /([\w!#$%&'*+.^`|~-]+):[ \t]*((?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?)[ \t]*\r\n/y

/** About the message or the connection rather than the resource: node:http knows what to do. */
const NOT_PLAIN = new Set([
  'transfer-encoding',
  'trailer',
  'te',
  'expect',
  'upgrade',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
])

/** No longer than the numbers of bodies that arrive in one read. */
const LENGTH = /^\d{1,6}$/

/** One whole request and nothing after it; undefined when it is anything else. `text`: its bytes as Latin-1. */
export function parsePlain(text: string): PlainRequest | undefined {
  REQUEST_LINE.lastIndex = 0
  const line = REQUEST_LINE.exec(text)
  if (line === null) return undefined
  const fields = new Map<string, string>()
  let at = REQUEST_LINE.lastIndex
  while (text.charCodeAt(at) !== 13) {
    FIELD.lastIndex = at
    const field = FIELD.exec(text)
    if (field === null) return undefined
    const name = field[1]!.toLowerCase()
    const value = field[2]!
    if (NOT_PLAIN.has(name) || fields.has(name)) return undefined
    if (name === 'connection' && value.toLowerCase() !== 'keep-alive') return undefined
    fields.set(name, value)
    at = FIELD.lastIndex
  }
  const [, method, target] = line as unknown as [string, string, string]
  const bodyAt = at + 2
  const length = fields.get('content-length')
  const isExpected = method === 'POST' ? LENGTH.test(length ?? '') : length === undefined
  const isWhole = text.charCodeAt(at + 1) === 10 && bodyAt + Number(length ?? 0) === text.length
  return isExpected && isWhole && fields.has('host') ? { method, target, fields, bodyAt } : undefined
}

type OfConnection = Pick<RawRequest, 'peer' | 'shown' | 'certificate'>

function rawOf(
  { method, target, fields, bodyAt }: PlainRequest,
  chunk: Buffer,
  ofConnection: OfConnection,
): RawRequest {
  const question = target.indexOf('?')
  return {
    ...ofConnection,
    method,
    path: question < 0 ? target : target.slice(0, question),
    query: question < 0 ? '' : target.slice(question + 1),
    header: (name) => fields.get(name),
    body: (limitBytes) => {
      const body = chunk.subarray(bodyAt)
      return body.length > limitBytes ? Promise.reject(bodyTooLarge(limitBytes)) : Promise.resolve(body)
    },
  }
}

const KEPT = `Connection: keep-alive\r\nKeep-Alive: timeout=${limits.keepAliveMs / 1000}\r\n`

/** Bodies up to this size go out as one text with the head. */
const JOINED_BYTES = 16 * 1024

/** False when the client has to read before more is written. */
function write(socket: Socket, { status, headers, body }: Answer, last: boolean): boolean {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`
  for (const name in headers) head += `${name}: ${fieldValue(headers[name]!)}\r\n`
  head += `${dateField()}${last ? 'Connection: close\r\n' : KEPT}`
  if (body === undefined || body.length === 0) {
    return socket.write(status === 204 ? `${head}\r\n` : `${head}Content-Length: 0\r\n\r\n`, 'latin1')
  }
  const bytes =
    typeof body === 'string' ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.length)
  head += `Content-Length: ${bytes.length}\r\n\r\n`
  if (bytes.length <= JOINED_BYTES) {
    return socket.write(head + bytes.toString('latin1'), 'latin1')
  }
  socket.cork()
  socket.write(head, 'latin1')
  const flushed = socket.write(bytes)
  socket.uncork()
  return flushed
}

/** Throws for what would end the field: the connection is dropped rather than answered with another's words. */
function fieldValue(value: string): string {
  if (/[^\t\x20-\x7e\x80-\xff]/.test(value))
    throw new Error('a header of an answer holds a control character')
  return value
}

let dateOfSecond = 0
let dateText = ''

function dateField(): string {
  const now = Date.now()
  if (now - dateOfSecond >= 1000 || now < dateOfSecond) {
    dateOfSecond = now - (now % 1000)
    dateText = `Date: ${new Date(now).toUTCString()}\r\n`
  }
  return dateText
}
