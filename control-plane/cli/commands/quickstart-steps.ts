// What both forms of `holdfast quickstart` do: programs that are started and ended, steps that are shown as lines to paste.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { readPrivateFile, writePrivateFile } from '#shared/node/files.ts'
import { ask, authenticate, type Session, send } from '../client.ts'
import { CommandError } from '../output.ts'

export const main = new URL('../holdfast.js', import.meta.url).pathname
const example = new URL('../example/acme.yml', import.meta.url).pathname
export const account = 'acme'
const host = 'host/production/shop/web-1'
const hostId = `${account}:${host.replace('/', ':')}`
const secrets: readonly (readonly [string, string])[] = [
  ['production/database/url', 'postgres://db.internal/shop'],
  ['production/database/username', 'shop'],
  ['production/database/password', 'correct horse battery staple'],
  ['production/shop/payment-key', 'pk_live_example'],
]
export const PASSWORD = secrets[2]![0]

/** What the flags ask for. */
export type Wanted = {
  readonly directory: string
  readonly leaderPort: string
  readonly followerPort: string
  readonly once?: boolean
}

/** Where writes and reads go, and the files with the keys of who asks. */
export type Site = {
  readonly leaderUrl: string
  readonly followerUrl: string
  readonly adminKeyFile: string
  readonly hostKeyFile: string
}

export async function keepFile(file: string, make: () => string): Promise<void> {
  if ((await readPrivateFile(file)) === undefined) await writePrivateFile(file, `${make()}\n`)
}

/** In a process group of its own: Ctrl-C reaches quickstart alone, which ends its programs in order. */
export function start(
  command: string,
  words: readonly string[],
  log: string,
  env: NodeJS.ProcessEnv,
): ChildProcess {
  const file = openSync(log, 'a', 0o600)
  return spawn(command, words, { detached: true, stdio: ['ignore', file, file], env })
}

export const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode !== null || signalCode !== null

/** Resolves when somebody answers there and is well. Throws what `mustRun` does, and after two minutes what was answered last. */
export const healthy = (url: string, mustRun: () => void): Promise<void> =>
  patiently(async () => {
    mustRun()
    const { status } = await send(`${url}/health`)
    if (status !== 200) throw new CommandError('unhealthy', `${url}/health answers ${status}`)
  }, isGone)

/** To ask again is of no use. */
export const isGone = (error: unknown): boolean =>
  error instanceof CommandError && error.code === 'node_ended'

const GIVE_UP_MS = 120_000

/** For what may be asked again. Throws the last error after two minutes, and at once where that is the `end` of it. */
export async function patiently<T>(
  asked: () => Promise<T>,
  end: (error: unknown) => boolean = () => false,
): Promise<T> {
  const giveUpAt = performance.now() + GIVE_UP_MS
  for (;;) {
    try {
      return await asked()
    } catch (error) {
      if (end(error) || performance.now() > giveUpAt) throw error
      await moment()
    }
  }
}

/** Throws `node_ended` with the last lines of its log. */
export function mustRun(node: ChildProcess, what: string, log: string): void {
  if (!hasEnded(node)) return
  const last = readFileSync(log, 'utf8').trim().split('\n').slice(-3).join('\n')
  throw new CommandError('node_ended', `${what} did not start:\n${last}`)
}

export const moment = (): Promise<void> => new Promise((done) => setTimeout(done, 50))

export async function end(node: ChildProcess): Promise<void> {
  if (hasEnded(node)) return
  const ended = once(node, 'exit')
  node.kill('SIGTERM')
  await ended
}

/** Whether this machine lets somebody listen there now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(false))
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)))
  })
}

export async function mustBeFree(port: number): Promise<void> {
  if (await isFree(port)) return
  throw new CommandError(
    'port_in_use',
    `port ${port} is in use: choose others with --leader-port and --follower-port`,
  )
}

export const say = (text: string): void => void process.stdout.write(`${text}\n`)

export function step(what: string, ...lines: readonly string[]): void {
  say(`\n# ${what}\n${lines.join('\n')}`)
}

/** curl that puts an access token into `$token`. */
const tokenLine = (url: string, login: string, keyFile: string): string =>
  `token=$(curl -sf -H 'Accept-Encoding: base64' --data-binary "$(cat ${keyFile})" ${url}/authn/${account}/${encodeURIComponent(login)}/authenticate)`
const AUTHORIZATION = `-H "Authorization: Token token=\\"$token\\""`

export const secretPath = (id: string): string => `/secrets/${account}/variable/${encodeURIComponent(id)}`
const setLine = (url: string, id: string, value: string): string =>
  `curl -sf ${AUTHORIZATION} --data-binary '${value}' ${url}${secretPath(id)}`
const readLine = (url: string, id: string): string => `curl -sf ${AUTHORIZATION} ${url}${secretPath(id)}`

/** The lines with which a person writes or reads the database's password. */
export const writeLines = ({ leaderUrl, adminKeyFile }: Site, value: string): string[] => [
  tokenLine(leaderUrl, 'admin', adminKeyFile),
  setLine(leaderUrl, PASSWORD, value),
]
export const readLines = ({ followerUrl, hostKeyFile }: Site): string[] => [
  tokenLine(followerUrl, host, hostKeyFile),
  readLine(followerUrl, PASSWORD),
]

export async function adminOf({ leaderUrl: url, adminKeyFile }: Site): Promise<Session> {
  return { url, account, login: 'admin', key: (await readFile(adminKeyFile, 'utf8')).trim() }
}

export async function hostOf({ followerUrl: url, hostKeyFile }: Site): Promise<Session> {
  return { url, account, login: host, key: (await readFile(hostKeyFile, 'utf8')).trim() }
}

/** The policy of a team and its secrets. */
export async function fill(site: Site): Promise<void> {
  const { leaderUrl, adminKeyFile, hostKeyFile } = site
  const admin = await adminOf(site)
  step('Authenticate as admin at the Leader', tokenLine(leaderUrl, 'admin', adminKeyFile))
  await authenticate(admin)

  step(
    'Load the policy of a team',
    `curl -sf ${AUTHORIZATION} --data-binary @${example} ${leaderUrl}/policies/${account}/policy/root`,
  )
  const loaded = JSON.parse(
    await ask(admin, 'POST', `/policies/${account}/policy/root`, await readFile(example)),
  ) as {
    created_roles: Record<string, { api_key: string }>
  }
  await writePrivateFile(hostKeyFile, `${loaded.created_roles[hostId]!.api_key}\n`)
  say(
    `-> ${Object.keys(loaded.created_roles).length} users and hosts were created; the key of ${hostId} is kept in ${hostKeyFile}`,
  )

  step('Set secrets', ...secrets.map(([id, value]) => setLine(leaderUrl, id, value)))
  for (const [id, value] of secrets) await ask(admin, 'POST', secretPath(id), value)
}

export async function readAtFollower(site: Site): Promise<void> {
  const session = await hostOf(site)
  const [authenticating, reading] = readLines(site)
  step(`Authenticate ${host} at the Follower`, authenticating!)
  await caughtUp(session)
  step('Read a secret at the Follower', reading!)
  say(`-> ${await ask(session, 'GET', secretPath(PASSWORD))}`)
}

/** A moment passes between the Leader's answer and the Follower's copy. */
async function caughtUp(session: Session): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await ask(session, 'GET', secretPath(secrets.at(-1)![0]))
      return
    } catch (error) {
      if (attempt === 100) throw error
      await moment()
    }
  }
}
