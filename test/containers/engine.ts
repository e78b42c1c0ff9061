// A container engine that is at hand: Docker, or Podman as root in a network namespace of its own, so that nothing touches
// the machine's networks.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram } from '../support/programs.ts'

export type Said = { readonly code: number; readonly out: string; readonly err: string }

/** Runs a program to its end; what it says on the way is kept. Rejects when there is no such program. */
export function attempt(
  command: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  input?: string,
): Promise<Said> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), { env, stdio: ['pipe', 'pipe', 'pipe'] })
    const said = { out: '', err: '' }
    child.stdout.on('data', (chunk: Buffer) => {
      said.out += chunk.toString()
    })
    child.stderr.on('data', (chunk: Buffer) => {
      said.err = (said.err + chunk.toString()).slice(-8_000)
    })
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 1, ...said }))
    // It may end without having read all of it.
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
  })
}

/** Resolves with what it said; throws with its last words. */
export async function done(
  command: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  input?: string,
): Promise<string> {
  const { code, out, err } = await attempt(command, env, input)
  if (code === 0) return out.trim()
  throw new Error(`${command.slice(0, 6).join(' ')} ended with ${code}: ${(err || out).slice(-3_000)}`)
}

export type Engine = {
  readonly name: 'docker' | 'podman'
  readonly env: NodeJS.ProcessEnv
  /** Before a command that runs containers. */
  readonly command: readonly string[]
  readonly compose: readonly string[]
  /** Network of the build, by which it reaches registries. */
  readonly buildFlags: readonly string[]
  readonly isOursAlone: boolean
  close(): Promise<void>
}

const works = async (command: readonly string[], env = process.env): Promise<boolean> =>
  attempt(command, env).then(
    ({ code }) => code === 0,
    () => false,
  )

/** An engine, or why there is none. */
export async function findEngine(folder: string): Promise<Engine | string> {
  if (await works(['docker', 'info'])) {
    if (!(await works(['docker', 'compose', 'version']))) return 'docker has no "docker compose" here'
    const command = ['docker']
    return {
      name: 'docker',
      env: process.env,
      command,
      compose: ['docker', 'compose'],
      buildFlags: [],
      isOursAlone: false,
      close: async () => undefined,
    }
  }
  if (findProgram('podman', undefined) === undefined) return 'there is no docker and no podman here'
  if (process.getuid?.() !== 0) return 'podman is run as root here, for a network of its own'
  return podman(folder)
}

/** What Podman must be told where there is no systemd, and where limits cannot be raised. */
const CONFIG = `[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
`

async function podman(folder: string): Promise<Engine | string> {
  const config = join(folder, 'containers.conf')
  writeFileSync(config, CONFIG)
  const env = { ...process.env, CONTAINERS_CONF: config }
  if (!(await works(['podman', 'info'], env))) return 'podman does not work here'
  const compose = await podmanCompose(folder)
  if (compose === undefined) return 'podman-compose cannot be had from PyPI'
  const space = `holdfast-${process.pid}`
  await done(['ip', 'netns', 'add', space])
  await done(['ip', '-n', space, 'link', 'set', 'lo', 'up'])
  // Not `ip netns exec`, which would hide the control groups.
  const inside = ['nsenter', `--net=/run/netns/${space}`]
  return {
    name: 'podman',
    env,
    command: [...inside, 'podman'],
    compose: [...inside, compose],
    buildFlags: ['--format', 'docker', '--network', 'host'],
    isOursAlone: true,
    async close() {
      await done(['ip', 'netns', 'delete', space])
    },
  }
}

/** Debian's own (1.0.3) knows no addresses of networks. */
async function podmanCompose(folder: string): Promise<string | undefined> {
  const home = join(folder, 'podman-compose')
  const fetched =
    (await works(['python3', '-m', 'venv', home])) &&
    (await works([join(home, 'bin/pip'), 'install', '--quiet', 'podman-compose==1.5.0']))
  return fetched ? join(home, 'bin/podman-compose') : undefined
}
