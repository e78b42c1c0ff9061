// The door of a control node on this machine, as the command line uses it.
import { request } from 'node:http'
import { userInfo } from 'node:os'
import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import { doorIn } from '#control-plane/operator/door.ts'
import { isObject, parseJson } from '#shared/base/json.ts'
import { CommandError, exitCodes } from './output.ts'

export type DoorFlags = { readonly dataDir?: string; readonly socket?: string; readonly json?: boolean }

/** Which node's door: the same flags for every command of this kind. */
export function withDoor(command: Command): Command {
  return command
    .option('--data-dir <folder>', 'data folder of a control node on this machine (HOLDFAST_DATA_DIR)')
    .option('--socket <file>', 'its operator.sock, when that is elsewhere')
    .option('--json', 'answer as JSON')
}

/** Who gives the order, as the operating system knows him; a container may know nothing but a number. */
export function operator(): string {
  try {
    return userInfo().username
  } catch {
    return `user ${process.getuid?.() ?? 'unknown'}`
  }
}

function socketOf({ socket, dataDir }: DoorFlags): string {
  if (socket !== undefined) return socket
  const folder = dataDir ?? process.env.HOLDFAST_DATA_DIR
  if (folder === undefined)
    throw new CommandError('usage', 'which node? give --data-dir or set HOLDFAST_DATA_DIR', exitCodes.usage)
  const found = doorIn(folder)
  if (found !== undefined) return found
  throw new CommandError(
    'unreachable',
    `there is no operator.sock in ${folder}: is a control node running with this data folder?`,
    exitCodes.unreachable,
  )
}

/** What became of an order. Errors: the node's own words and code. */
export async function order<T>(flags: DoorFlags, name: string, body: object): Promise<T> {
  const { status, answered } = await post(socketOf(flags), name, JSON.stringify(body))
  if (status === 200) return answered as T
  const { error } = isObject(answered) ? answered : {}
  const { code, message } = isObject(error) ? error : {}
  throw new CommandError(String(code ?? `http_${status}`), String(message ?? `the node answered ${status}`))
}

function post(
  socketPath: string,
  name: string,
  body: string,
): Promise<{ status: number; answered: unknown }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: `/${name}`, method: 'POST' }, (response) => {
      text(response).then(
        (said) => resolve({ status: response.statusCode ?? 0, answered: parseJson(said) }),
        reject,
      )
    })
    asked.on('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EACCES'
          ? 'it belongs to another user: use the one that runs the node'
          : `the node does not answer (${error.code ?? error.message}): is it running?`
      reject(new CommandError('unreachable', `${socketPath}: ${why}`, exitCodes.unreachable))
    })
    asked.end(body)
  })
}
