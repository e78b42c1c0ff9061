// A Leader that takes nodes in, and Followers that know nothing but their seed, as processes; commands as people give them.
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toBase64 } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { Client, type Env, freePorts, NodeProcess } from './nodes.ts'

const main = new URL('../../control-plane/cli/holdfast.js', import.meta.url).pathname

export type Ran = { readonly code: number | null; readonly out: string; readonly err: string }

export type Joiner = { readonly name: string; readonly folder: string; readonly node: NodeProcess }

export type JoiningMachine = {
  readonly directory: string
  readonly leader: NodeProcess
  readonly leaderFolder: string
  /** host:port of the Leader's node port. */
  readonly nodeAddress: string
  admin(): Promise<Client>
  /** `holdfast …` as the admin of the Leader. */
  run(args: readonly string[], input?: string): Promise<Ran>
  /** A seed, as `holdfast seed …` prints it; fails when it does not. */
  seed(...args: readonly string[]): Promise<string>
  /** Not started, and its folder is empty. */
  follower(name: string, env?: Env): Promise<Joiner>
  /** The same disk under another process. */
  clone(of: Joiner): Promise<Joiner>
  folder(name: string): string
  stop(): Promise<void>
}

/** Started, with a variable `pw` of this value. */
export async function servingMachine(pw: string): Promise<readonly [JoiningMachine, Client]> {
  const machine = await joiningMachine()
  machine.leader.start()
  await machine.leader.ready()
  const admin = await machine.admin()
  await admin.loadPolicy('root', '- !variable pw')
  await admin.setSecret('pw', pw)
  return [machine, admin]
}

export async function joiningMachine(leaderEnv: Env = {}): Promise<JoiningMachine> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-join-'))
  const dataKeyFile = join(directory, 'data.key')
  writeFileSync(dataKeyFile, `${toBase64(randomBytes(32))}\n`, { mode: 0o600 })
  const folder = (name: string): string => {
    const path = join(directory, name)
    mkdirSync(path, { mode: 0o700 })
    return path
  }
  const leaderFolder = folder('leader')
  const [port, nodePort] = await freePorts(2)
  const common = { HOLDFAST_ACCOUNT: 'acme', HOLDFAST_DATA_KEY_FILE: dataKeyFile, HOLDFAST_HOST: '127.0.0.1' }
  const leader = new NodeProcess(
    ['leader'],
    {
      ...common,
      HOLDFAST_DATA_DIR: leaderFolder,
      HOLDFAST_PORT: String(port),
      HOLDFAST_NODE_PORT: String(nodePort),
      ...leaderEnv,
    },
    port!,
  )
  const started: Joiner[] = []
  const keyFile = join(leaderFolder, 'admin.key')
  const session = { HOLDFAST_URL: leader.url, HOLDFAST_ACCOUNT: 'acme', HOLDFAST_API_KEY_FILE: keyFile }
  const run = (args: readonly string[], input = ''): Promise<Ran> => runCommand(args, input, session)
  async function joiner(name: string, at: string, env: Env): Promise<Joiner> {
    const [own] = await freePorts(1)
    const vars = {
      ...common,
      HOLDFAST_DATA_DIR: at,
      HOLDFAST_PORT: String(own),
      HOLDFAST_SERVER_THREADS: '1',
      ...env,
    }
    const made = { name, folder: at, node: new NodeProcess(['follower'], vars, own!) }
    started.push(made)
    return made
  }
  return {
    directory,
    leader,
    leaderFolder,
    nodeAddress: `127.0.0.1:${nodePort}`,
    admin: () => new Client(leader.url, 'acme').login('admin', readFileSync(keyFile, 'utf8').trim()),
    run,
    async seed(...args) {
      const { code, out, err } = await run(['seed', ...args])
      if (code !== 0) throw new Error(`no seed: ${err}`)
      return out
    },
    follower: (name, env = {}) => joiner(name, folder(name), env),
    async clone(of) {
      const at = `${of.folder}-clone`
      cpSync(of.folder, at, { recursive: true })
      return joiner(of.name, at, {})
    },
    folder,
    async stop() {
      await Promise.all(started.map(({ node }) => node.kill('SIGTERM')))
      await leader.kill('SIGTERM')
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

export function runCommand(args: readonly string[], input: string, env: Env): Promise<Ran> {
  const child = spawn(process.execPath, [main, ...args], { env: { ...process.env, ...env } })
  let out = ''
  let err = ''
  child.stdout.on('data', (text) => {
    out += String(text)
  })
  child.stderr.on('data', (text) => {
    err += String(text)
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })))
}
