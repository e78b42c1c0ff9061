// Tokens for programs on this machine that may open a socket: no credential but the file's owner (http-api 4, authn-local).
//
// One JSON line in, `{"account":"acme","sub":"host/x","exp":1767600480,"cidr":["10.0.0.0/8"]}` with `exp` and `cidr`
// optional; one token line out, or an empty line when the request is none.
import { createServer, type Socket } from 'node:net'
import { normaliseCidr } from '../authz/address.ts'
import { DomainError } from '../base/errors.ts'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Clock } from '../base/time.ts'
import { roleOfLogin } from '../id/login.ts'
import type { Restriction, Tokens } from '../token/access-token.ts'
import { listenPrivately } from './private-socket.ts'

export type TokenSocket = { close(): Promise<void> }

type TokenSocketOptions = {
  readonly path: string
  readonly tokens: Pick<Tokens, 'issue'>
  /** Seconds that a token lives without `exp`; no token lives longer than `limits.tokenTtlSecondsMax`. */
  readonly ttlSeconds: number
  readonly now: () => number
}

type TokenSocketSettings = {
  readonly token_socket?: string | undefined
  readonly host_authorization_token_ttl: number
}

/** The socket that the settings name; undefined when they name none. Throws `settings_invalid` when its path is taken. */
export async function tokenSocketOf(
  { token_socket: path, host_authorization_token_ttl: ttlSeconds }: TokenSocketSettings,
  tokens: Pick<Tokens, 'issue'>,
  clock: Clock,
): Promise<TokenSocket | undefined> {
  if (path === undefined) return undefined
  return await openTokenSocket({ path, tokens, ttlSeconds, now: () => clock.wall() })
}

async function openTokenSocket(options: TokenSocketOptions): Promise<TokenSocket> {
  const { path } = options
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    serve(options, socket)
  })
  server.maxConnections = limits.tokenSocketConnections
  await listenPrivately(server, path, (what, cause) => taken(path, what, cause))
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

function serve(options: TokenSocketOptions, socket: Socket): void {
  let text = ''
  let answering = Promise.resolve()
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    const lines = text.split('\n')
    text = lines.pop()!
    // Nobody needs so long a line, or so many at once.
    if (text.length > limits.bodyBytes || lines.length > limits.tokenSocketLines) return void socket.destroy()
    for (const line of lines) {
      answering = answering.then(async () => {
        const token = await tokenFor(options, line)
        if (socket.writable) socket.write(`${token ?? ''}\n`)
      })
    }
  })
}

async function tokenFor(options: TokenSocketOptions, line: string): Promise<string | undefined> {
  const asked = parseJson(line)
  if (!isObject(asked)) return undefined
  const { account, sub, exp, cidr } = asked
  if (typeof account !== 'string' || account === '' || /[:/]/.test(account)) return undefined
  if (typeof sub !== 'string' || sub === '') return undefined
  const now = options.now()
  const iat = Math.floor(now / 1000)
  if (exp !== undefined && !(Number.isSafeInteger(exp) && (exp as number) > iat)) return undefined
  const life = exp === undefined ? options.ttlSeconds : (exp as number) - iat
  const restriction = cidr === undefined ? {} : restrictionOf(cidr)
  if (restriction === undefined) return undefined
  const ttl = Math.min(life, limits.tokenTtlSecondsMax)
  return options.tokens.issue(roleOfLogin(account, sub), ttl, now, restriction)
}

function restrictionOf(cidr: unknown): Restriction | undefined {
  if (!Array.isArray(cidr)) return undefined
  const ranges = cidr.map((range) => (typeof range === 'string' ? normaliseCidr(range) : undefined))
  return ranges.every((range) => typeof range === 'string') ? { cidr: ranges } : undefined
}

const taken = (path: string, what: string, cause?: unknown): DomainError =>
  new DomainError('settings_invalid', `token_socket: ${path} ${what}`, { target: 'token_socket', cause })
