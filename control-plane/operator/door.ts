// Where an operator speaks to a control node: a UNIX socket in its data folder, which nobody but its owner may open. One
// order is one POST with a small JSON body; what became of it is the answer.
import { existsSync, lstatSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { z } from 'zod'
import { DomainError } from '#shared/base/errors.ts'
import { parseJson } from '#shared/base/json.ts'
import { limits } from '#shared/base/limits.ts'
import { errorFields, type Log } from '#shared/node/log.ts'
import { listenPrivately } from '#shared/node/private-socket.ts'
import { Refusal } from './refusal.ts'

/** In the data folder; where its path is too long for a socket, a link to one that is not. */
export const DOOR = 'operator.sock'

/** Longest path of a UNIX socket on every system that we run on, and its end. */
const SOCKET_PATH_CHARS = 100

/** One kind of order. `run` is given what `form` has let through; the signal ends with who asked. */
export type Act = {
  readonly form: z.ZodType
  run(input: never, signal: AbortSignal): Promise<unknown>
}

export type Door = { close(): Promise<void> }

/** Errors: `settings_invalid` when the path is taken. */
export async function openDoor(folder: string, acts: Readonly<Record<string, Act>>, log: Log): Promise<Door> {
  const named = join(folder, DOOR)
  const short = named.length > SOCKET_PATH_CHARS ? await mkdtemp(join(tmpdir(), 'holdfast-')) : undefined
  const path = short === undefined ? named : join(short, DOOR)
  const server = createServer((request, response) => {
    answer(acts, request, response, log).catch((error: unknown) => {
      log.error('an order could not be answered', errorFields(error))
      response.destroy()
    })
  })
  server.maxConnections = limits.operatorConnections
  await listenPrivately(
    server,
    path,
    (what, cause) =>
      new DomainError('settings_invalid', `data_dir: ${path} ${what}`, { target: 'data_dir', cause }),
  )
  if (short !== undefined) linkTo(path, named)
  return {
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
      if (short === undefined) return
      rmSync(named, { force: true })
      await rm(short, { recursive: true, force: true })
    },
  }
}

function linkTo(path: string, named: string): void {
  rmSync(named, { force: true })
  symlinkSync(path, named)
}

/** The socket of a node that uses this folder; undefined: none has opened one. */
export function doorIn(folder: string): string | undefined {
  const path = join(folder, DOOR)
  if (!existsSync(path)) return undefined
  return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : path
}

async function answer(
  acts: Readonly<Record<string, Act>>,
  request: IncomingMessage,
  response: ServerResponse,
  log: Log,
): Promise<void> {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  const say = (status: number, body: unknown): void => {
    response.writeHead(status, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify(body))
  }
  try {
    say(200, await resultOf(acts, request, gone.signal))
  } catch (error) {
    if (error instanceof Refusal) return say(409, { error: { code: error.code, message: error.message } })
    log.error('an order failed', errorFields(error))
    const message = error instanceof Error ? error.message : String(error)
    say(500, { error: { code: 'internal', message } })
  }
}

async function resultOf(
  acts: Readonly<Record<string, Act>>,
  request: IncomingMessage,
  signal: AbortSignal,
): Promise<unknown> {
  const name = (request.url ?? '').slice(1)
  const act = Object.hasOwn(acts, name) ? acts[name] : undefined
  if (act === undefined || request.method !== 'POST')
    throw new Refusal('bad_request', `this node knows no order ${name}: is it of the same version?`)
  const parsed = act.form.safeParse(parseJson(await bodyOf(request)))
  if (parsed.success) return act.run(parsed.data as never, signal)
  const { path, message } = parsed.error.issues[0]!
  throw new Refusal('bad_request', `${path.join('.')}: ${message}`)
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length
    if (bytes > limits.bodyBytes) throw new Refusal('bad_request', 'the order is too long')
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString('utf8')
}
