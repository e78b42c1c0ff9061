// Real nodes as processes, started the way an operator starts them: `holdfast leader`, `holdfast follower`.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import type { Certificates } from './certificates.ts'

const main = new URL('../../control-plane/cli/holdfast.js', import.meta.url).pathname

export type Env = Readonly<Record<string, string>>

/** One program of the cluster. Its log is kept for the message of a failed test. */
export class NodeProcess {
  readonly url: string
  readonly #command: readonly string[]
  readonly env: Env
  readonly #wrap: readonly string[]
  readonly #program: readonly string[]
  #child: ChildProcess | undefined
  #log = ''

  /** `wrap`: a command that runs the program, such as `taskset -c 1`; `program`: what takes the command, ours or another. */
  constructor(
    command: readonly string[],
    env: Env,
    port: number,
    wrap: readonly string[] = [],
    scheme: 'http' | 'https' = 'http',
    program: readonly string[] = [process.execPath, main],
  ) {
    this.#command = command
    this.#program = program
    this.env = env
    this.#wrap = wrap
    this.url = `${scheme}://127.0.0.1:${port}`
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  get log(): string {
    return this.#log
  }

  start(): void {
    const line = [...this.#wrap, ...this.#program, ...this.#command]
    const child = spawn(line[0]!, line.slice(1), {
      env: { ...process.env, ...this.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const keep = (chunk: Buffer): void => {
      this.#log = (this.#log + chunk.toString()).slice(-20_000)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    this.#child = child
  }

  /** Resolves when `GET path` answers 200; rejects with the log when the program ends first. */
  async ready(path = '/health', withinMs = 60_000): Promise<void> {
    const giveUpAt = Date.now() + withinMs
    while (Date.now() < giveUpAt) {
      if (this.#child?.exitCode != null) {
        throw new Error(`${this.#command[0]} ended with ${this.#child.exitCode}:\n${this.#log}`)
      }
      if ((await statusOf(`${this.url}${path}`)) === 200) return
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    throw new Error(`${this.#command[0]} was not ready within ${withinMs} ms:\n${this.#log}`)
  }

  /** Resolves when it answers anything: a Follower without a copy is not well. */
  async answered(): Promise<void> {
    while ((await statusOf(`${this.url}/health`)) === undefined)
      await new Promise((resolve) => setTimeout(resolve, 5))
  }

  /** Resolves with the exit code when the program ends by itself. */
  async ended(): Promise<number | null> {
    const child = this.#child!
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
    return child.exitCode
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }
}

/** Undefined while nobody listens: refused or reset. */
async function statusOf(url: string): Promise<number | undefined> {
  try {
    const response = await fetch(url)
    await response.arrayBuffer()
    return response.status
  } catch {
    return undefined
  }
}

export type OneMachine = {
  readonly directory: string
  readonly account: string
  readonly leader: NodeProcess
  readonly follower: NodeProcess
  readonly dataKeyFile: string
  /** After the Leader's first start. */
  adminKey(): string
  /** Of the installation's root, who may make accounts. */
  accountsKey(): string
  /** Connection of the Leader's embedded Postgres. */
  databaseUrl(): string
  /** Process id of the Leader's Postgres. */
  postgresPid(): number
  stop(): Promise<void>
}

export type MachineOptions = {
  readonly wrapFollower?: readonly string[]
  /** Of both. */
  readonly env?: Env
  readonly leaderEnv?: Env
  readonly followerEnv?: Env
  /** Who dials, where the Follower is a Worker; default: the object. */
  readonly edgeLink?: 'leader' | 'object'
  /** Followers that the Leader knows, at the same address and with the same bearer; default: edge-1. */
  readonly followerNames?: readonly string[]
  /** Both speak HTTPS; who asks them must trust it (NODE_EXTRA_CA_CERTS). */
  readonly tls?: Certificates
}

/** A Leader and a Follower in a folder of their own; not started yet. */
export async function oneMachine(options: MachineOptions = {}): Promise<OneMachine> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-'))
  const account = 'acme'
  const dataKeyFile = join(directory, 'data.key')
  const bearerFile = join(directory, 'edge-1.bearer')
  writeFileSync(dataKeyFile, `${toBase64(randomBytes(32))}\n`, { mode: 0o600 })
  writeFileSync(bearerFile, `${toHex(randomBytes(32))}\n`, { mode: 0o600 })
  const leaderData = join(directory, 'leader')
  const followerData = join(directory, 'edge-1')
  mkdirSync(leaderData, { mode: 0o700 })
  mkdirSync(followerData, { mode: 0o700 })
  const [leaderPort, followerPort, nobodysPort] = await freePorts(3)
  const scheme = options.tls === undefined ? 'http' : 'https'
  const common = {
    HOLDFAST_ACCOUNT: account,
    HOLDFAST_DATA_KEY_FILE: dataKeyFile,
    HOLDFAST_HOST: '127.0.0.1',
    HOLDFAST_REMOTE_HEALTH: [
      `leader-1=${scheme}://127.0.0.1:${leaderPort}`,
      `edge-1=${scheme}://127.0.0.1:${followerPort}`,
      `gone-1=${scheme}://127.0.0.1:${nobodysPort}`,
    ].join(),
    ...tlsEnv(directory, options.tls),
    ...options.env,
  }
  const isDialled = options.edgeLink === 'leader'
  const names = options.followerNames ?? ['edge-1']
  const leader = new NodeProcess(
    ['leader'],
    {
      ...common,
      HOLDFAST_NAME: 'leader-1',
      HOLDFAST_DATA_DIR: leaderData,
      HOLDFAST_PORT: String(leaderPort),
      ...(isDialled
        ? {
            HOLDFAST_EDGE_FOLLOWERS: names
              .map((name) => `${name}=http://127.0.0.1:${followerPort}#${bearerFile}`)
              .join(),
            HOLDFAST_EDGE_HEARTBEAT: '1',
          }
        : { HOLDFAST_FOLLOWERS: names.map((name) => `${name}=${bearerFile}`).join() }),
      ...options.leaderEnv,
    },
    leaderPort!,
    [],
    scheme,
  )
  const followerEnv = {
    ...common,
    HOLDFAST_NAME: 'edge-1',
    HOLDFAST_DATA_DIR: followerData,
    HOLDFAST_PORT: String(followerPort),
    HOLDFAST_LEADER_URL: leader.url,
    HOLDFAST_BEARER_FILE: bearerFile,
    HOLDFAST_SERVER_THREADS: '1',
    ...(options.tls === undefined ? {} : { HOLDFAST_LEADER_CA_FILE: join(directory, 'ca.pem') }),
    ...options.followerEnv,
  }
  const isWorker = process.env.HOLDFAST_TEST_FOLLOWER === 'worker'
  const follower = isWorker
    ? (await import('./edge.ts')).edgeFollower(
        { ...followerEnv, HOLDFAST_LINK: isDialled ? 'leader' : 'object' },
        followerPort!,
        options.wrapFollower,
      )
    : new NodeProcess(['follower'], followerEnv, followerPort!, options.wrapFollower, scheme)
  return {
    directory,
    account,
    leader,
    follower,
    dataKeyFile,
    adminKey: () => readFileSync(join(leaderData, 'admin.key'), 'utf8').trim(),
    accountsKey: () => readFileSync(join(leaderData, 'accounts.key'), 'utf8').trim(),
    databaseUrl: () => readFileSync(join(leaderData, 'postgres.url'), 'utf8').trim(),
    postgresPid: () => {
      const file = join(leaderData, 'postgres', 'postmaster.pid')
      if (!existsSync(file)) throw new Error(`no Postgres is running: ${file} is absent`)
      return Number(readFileSync(file, 'utf8').split('\n')[0])
    },
    async stop() {
      // At SIGTERM workerd waits for the Leader's WebSockets to end.
      await follower.kill(isWorker ? 'SIGKILL' : 'SIGTERM')
      await leader.kill('SIGTERM')
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

function tlsEnv(directory: string, tls: Certificates | undefined): Env {
  if (tls === undefined) return {}
  const file = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  file('ca.pem', tls.ca)
  return {
    HOLDFAST_TLS_CERT_FILE: file('server.pem', tls.cert),
    HOLDFAST_TLS_KEY_FILE: file('server.key', tls.key),
  }
}

const FIRST_PORT = 10_000
/** Above it the system itself gives ports to whoever asks for any: one of those may be taken before it is used. */
const LAST_PORT = 32_000
let lastGiven = randomInt(FIRST_PORT, LAST_PORT)

/** Ports that nobody listens at, each given once by this process. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = lastGiven === LAST_PORT ? FIRST_PORT : lastGiven + 1
    lastGiven = port
    if (await isFree(port)) ports.push(port)
  }
  return ports
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    // Somebody has it.
    return false
  }
  await once(server.close(), 'close')
  return true
}

/** The Conjur HTTP API as a client uses it. */
export class Client {
  readonly url: string
  readonly account: string
  #token: string | undefined
  constructor(url: string, account: string, token?: string) {
    this.url = url
    this.account = account
    this.#token = token
  }

  async login(login: string, apiKey: string): Promise<this> {
    const path = `/authn/${this.account}/${encodeURIComponent(login)}/authenticate`
    const response = await fetch(this.url + path, {
      method: 'POST',
      body: apiKey,
      headers: { 'Accept-Encoding': 'base64' },
    })
    if (response.status !== 200)
      throw new Error(`authenticate ${login}: ${response.status} ${await response.text()}`)
    this.#token = await response.text()
    return this
  }

  get authorization(): string {
    return `Token token="${this.#token ?? ''}"`
  }

  at(url: string): Client {
    return new Client(url, this.account, this.#token)
  }

  request(
    method: string,
    path: string,
    init: { body?: string | Uint8Array; headers?: Env } = {},
  ): Promise<Response> {
    return fetch(this.url + path, {
      method,
      headers: { Authorization: this.authorization, ...init.headers },
      ...(init.body === undefined ? {} : { body: init.body as BodyInit }),
    })
  }

  loadPolicy(branch: string, text: string, method: 'POST' | 'PUT' | 'PATCH' = 'POST'): Promise<Response> {
    return this.request(method, `/policies/${this.account}/policy/${encodeURIComponent(branch)}`, {
      body: text,
    })
  }

  setSecret(id: string, value: string | Uint8Array, headers: Env = {}): Promise<Response> {
    return this.request('POST', `/secrets/${this.account}/variable/${encodeURIComponent(id)}`, {
      body: value,
      headers,
    })
  }

  getSecret(id: string, headers: Env = {}): Promise<Response> {
    return this.request('GET', `/secrets/${this.account}/variable/${encodeURIComponent(id)}`, { headers })
  }
}
