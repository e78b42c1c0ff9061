// What every client is run with, and how its programs are started.
import { spawn } from 'node:child_process'
import { settled as settledWorld } from '../conformance/api/world.ts'
import { Client as Api } from '../support/nodes.ts'

export type Run = {
  /** Its own, empty, removed afterwards. */
  readonly directory: string
  readonly env: NodeJS.ProcessEnv
  /** Of every call: `ok NAME`, or `fail NAME: why`. */
  readonly note: (line: string) => void
}

export type Client = {
  readonly name: string
  /** Commands that must succeed for the client to be runnable. */
  readonly needs: readonly (readonly string[])[]
  /** Fetches what a registry may not have; resolves with why it cannot be had, in the registry's words. */
  readonly fetch?: (run: Run) => Promise<string | undefined>
  /** Resolves with the client's version. */
  readonly run: (run: Run) => Promise<string>
}

export type Output = { readonly code: number; readonly out: string; readonly err: string }

export function execute(
  command: readonly string[],
  options: {
    readonly cwd: string
    readonly env: NodeJS.ProcessEnv
    readonly onLine?: (line: string) => void
  },
): Promise<Output> {
  const { cwd, env, onLine } = options
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    let err = ''
    let seen = 0
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString()
      for (let end = out.indexOf('\n', seen); end >= 0; end = out.indexOf('\n', seen)) {
        onLine?.(out.slice(seen, end))
        seen = end + 1
      }
    })
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString()
    })
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 1, out, err }))
  })
}

/** Throws with the end of what it said. */
export async function prepared(
  command: readonly string[],
  options: Parameters<typeof execute>[1],
): Promise<Output> {
  const output = await execute(command, options)
  if (output.code === 0) return output
  throw new Error(`${command.join(' ')}: ${`${output.out}\n${output.err}`.trim().slice(-600)}`)
}

/** A program of ours that calls a library, and prints a line for every call. */
export async function calls(command: readonly string[], { directory, env, note }: Run): Promise<void> {
  const { code, out, err } = await execute(command, { cwd: directory, env, onLine: note })
  // It says itself what has failed; one that says nothing of it has ended otherwise.
  if (code !== 0 && !/^fail /m.test(out)) throw new Error(`ended with ${code}: ${err.trim().slice(-600)}`)
}

/** The Leader's admin. */
export const adminOf = (env: NodeJS.ProcessEnv): Promise<Api> =>
  new Api(env.CONJUR_APPLIANCE_URL!, env.CONJUR_ACCOUNT!).login('admin', env.CONJUR_ADMIN_KEY!)

/** Resolves when the Follower has everything that the Leader has acknowledged. */
export async function settled(env: NodeJS.ProcessEnv): Promise<void> {
  await settledWorld({
    machine: { follower: { url: env.CONJUR_FOLLOWER_URL! } },
    admin: await adminOf(env),
  })
}

export const nodesOf = (env: NodeJS.ProcessEnv): readonly (readonly [name: string, url: string])[] => [
  ['Leader', env.CONJUR_APPLIANCE_URL!],
  ['Follower', env.CONJUR_FOLLOWER_URL!],
]
