// `holdfast quickstart`: a Leader and a Follower on this machine, a team's policy, and the first secret read.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync, readFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { aborted } from '#shared/node/clock.ts'
import { readPrivateFile, writePrivateFile } from '#shared/node/files.ts'
import { ask, authenticate, type Session, send } from '../client.ts'
import { CommandError } from '../output.ts'
import { stopSignal } from './nodes.ts'

const main = new URL('../holdfast.js', import.meta.url).pathname
const example = new URL('../example/acme.yml', import.meta.url).pathname
const account = 'acme'
const host = 'host/production/shop/web-1'
const hostId = `${account}:${host.replace('/', ':')}`
const secrets: readonly (readonly [string, string])[] = [
  ['production/database/url', 'postgres://db.internal/shop'],
  ['production/database/username', 'shop'],
  ['production/database/password', 'correct horse battery staple'],
  ['production/shop/payment-key', 'pk_live_example'],
]

type Flags = {
  readonly dataDir: string
  readonly leaderPort: string
  readonly followerPort: string
  readonly once?: boolean
}

export function addQuickstart(program: Command): void {
  program
    .command('quickstart')
    .description('run a Leader and a Follower here, load an example, read a secret; stays up until Ctrl-C')
    .option('--data-dir <folder>', 'where keys and data are kept', './data')
    .option('--leader-port <port>', 'port of the Leader', '8080')
    .option('--follower-port <port>', 'port of the Follower', '8081')
    .option('--once', 'end after the steps')
    .action((flags: Flags) => quickstart(flags))
}

async function quickstart(flags: Flags): Promise<void> {
  const stop = stopSignal()
  const place = placeOf(flags)
  for (const port of [flags.leaderPort, flags.followerPort]) await mustBeFree(Number(port))
  await mkdir(place.directory, { recursive: true, mode: 0o700 })
  const again = existsSync(place.hostKeyFile)
  await keepFile(place.dataKeyFile, () => toBase64(randomBytes(32)))
  await keepFile(place.bearerFile, () => toHex(randomBytes(32)))
  say(again ? `Starting again on the data in ${place.directory}` : `Starting in ${place.directory}`)
  const leader = start('leader', place)
  const nodes = [leader]
  try {
    await healthy(place.leaderUrl, leader, place.leaderLog)
    const follower = start('follower', place)
    nodes.push(follower)
    await healthy(place.followerUrl, follower, place.followerLog)
    if (!again) await fill(place)
    await readAtFollower(place)
    if (flags.once) return
    say(`\nLeader ${place.leaderUrl} and Follower ${place.followerUrl} stay up. Ctrl-C stops both.`)
    await Promise.race([aborted(stop), ...nodes.map((node) => once(node, 'exit'))])
    if (!stop.aborted)
      throw new CommandError('node_ended', `a node ended: see the logs in ${place.directory}`)
  } finally {
    for (const node of nodes.reverse()) await end(node)
    say('Both are stopped; the data stays.')
  }
}

type Place = ReturnType<typeof placeOf>

function placeOf(flags: Flags) {
  const directory = resolve(flags.dataDir)
  return {
    directory,
    leaderPort: flags.leaderPort,
    followerPort: flags.followerPort,
    leaderUrl: `http://127.0.0.1:${flags.leaderPort}`,
    followerUrl: `http://127.0.0.1:${flags.followerPort}`,
    dataKeyFile: join(directory, 'data.key'),
    bearerFile: join(directory, 'edge-1.bearer'),
    hostKeyFile: join(directory, 'web-1.key'),
    adminKeyFile: join(directory, 'leader', 'admin.key'),
    leaderLog: join(directory, 'leader.log'),
    followerLog: join(directory, 'edge-1.log'),
  }
}

async function keepFile(file: string, make: () => string): Promise<void> {
  if ((await readPrivateFile(file)) === undefined) await writePrivateFile(file, `${make()}\n`)
}

function start(program: 'leader' | 'follower', place: Place): ChildProcess {
  const own: Record<string, string> =
    program === 'leader'
      ? {
          HOLDFAST_NAME: 'leader-1',
          HOLDFAST_PORT: place.leaderPort,
          HOLDFAST_URL: place.leaderUrl,
          HOLDFAST_DATA_DIR: join(place.directory, 'leader'),
          HOLDFAST_FOLLOWERS: `edge-1=${place.bearerFile}`,
        }
      : {
          HOLDFAST_NAME: 'edge-1',
          HOLDFAST_PORT: place.followerPort,
          HOLDFAST_DATA_DIR: join(place.directory, 'edge-1'),
          HOLDFAST_LEADER_URL: place.leaderUrl,
          HOLDFAST_BEARER_FILE: place.bearerFile,
        }
  const log = openSync(program === 'leader' ? place.leaderLog : place.followerLog, 'a', 0o600)
  return spawn(process.execPath, [main, program], {
    // Ctrl-C reaches this process alone; it ends the nodes in order.
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, HOLDFAST_ACCOUNT: account, HOLDFAST_DATA_KEY_FILE: place.dataKeyFile, ...own },
  })
}

async function healthy(url: string, node: ChildProcess, log: string): Promise<void> {
  for (;;) {
    if (node.exitCode !== null) {
      const last = readFileSync(log, 'utf8').trim().split('\n').slice(-3).join('\n')
      throw new CommandError('node_ended', `${url} did not start:\n${last}`)
    }
    const answered = await send(`${url}/health`).catch(() => undefined)
    if (answered?.status === 200) return
    await new Promise((done) => setTimeout(done, 50))
  }
}

async function end(node: ChildProcess): Promise<void> {
  if (node.exitCode !== null || node.signalCode !== null) return
  const ended = once(node, 'exit')
  node.kill('SIGTERM')
  await ended
}

function mustBeFree(port: number): Promise<void> {
  return new Promise((done, fail) => {
    const server = createServer()
    server.once('error', () =>
      fail(
        new CommandError(
          'port_in_use',
          `port ${port} is in use: choose others with --leader-port and --follower-port`,
        ),
      ),
    )
    server.listen(port, '127.0.0.1', () => server.close(() => done()))
  })
}

const say = (text: string): void => void process.stdout.write(`${text}\n`)

function step(what: string, ...lines: readonly string[]): void {
  say(`\n# ${what}\n${lines.join('\n')}`)
}

/** curl that puts an access token into `$token`. */
const tokenLine = (url: string, login: string, keyFile: string): string =>
  `token=$(curl -sf -H 'Accept-Encoding: base64' --data-binary "$(cat ${keyFile})" ${url}/authn/${account}/${encodeURIComponent(login)}/authenticate)`
const AUTHORIZATION = `-H "Authorization: Token token=\\"$token\\""`

async function fill(place: Place): Promise<void> {
  const admin: Session = {
    url: place.leaderUrl,
    account,
    login: 'admin',
    key: (await readFile(place.adminKeyFile, 'utf8')).trim(),
  }
  step('Authenticate as admin at the Leader', tokenLine(place.leaderUrl, 'admin', place.adminKeyFile))
  await authenticate(admin)

  step(
    'Load the policy of a team',
    `curl -sf ${AUTHORIZATION} --data-binary @${example} ${place.leaderUrl}/policies/${account}/policy/root`,
  )
  const loaded = JSON.parse(
    await ask(admin, 'POST', `/policies/${account}/policy/root`, await readFile(example)),
  ) as {
    created_roles: Record<string, { api_key: string }>
  }
  await writePrivateFile(place.hostKeyFile, `${loaded.created_roles[hostId]!.api_key}\n`)
  say(
    `-> ${Object.keys(loaded.created_roles).length} users and hosts were created; the key of ${hostId} is kept in ${place.hostKeyFile}`,
  )

  step(
    'Set secrets',
    ...secrets.map(
      ([id, value]) =>
        `curl -sf ${AUTHORIZATION} --data-binary '${value}' ${place.leaderUrl}/secrets/${account}/variable/${encodeURIComponent(id)}`,
    ),
  )
  for (const [id, value] of secrets) {
    await ask(admin, 'POST', `/secrets/${account}/variable/${encodeURIComponent(id)}`, value)
  }
}

async function readAtFollower(place: Place): Promise<void> {
  const key = (await readFile(place.hostKeyFile, 'utf8')).trim()
  const session: Session = { url: place.followerUrl, account, login: host, key }
  step(`Authenticate ${host} at the Follower`, tokenLine(place.followerUrl, host, place.hostKeyFile))
  await caughtUp(session)
  const [id] = secrets[2]!
  const path = `/secrets/${account}/variable/${encodeURIComponent(id)}`
  step('Read a secret at the Follower', `curl -sf ${AUTHORIZATION} ${place.followerUrl}${path}`)
  say(`-> ${await ask(session, 'GET', path)}`)
}

/** A moment passes between the Leader's answer and the Follower's copy. */
async function caughtUp(session: Session): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const id = encodeURIComponent(secrets.at(-1)![0])
    try {
      await ask(session, 'GET', `/secrets/${account}/variable/${id}`)
      return
    } catch (error) {
      if (attempt === 100) throw error
      await new Promise((done) => setTimeout(done, 50))
    }
  }
}
