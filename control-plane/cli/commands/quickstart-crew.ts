// The programs of a cluster on one machine: found, started, started again when they end, and ended, whatever becomes of us.
import { type ChildProcess, execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { CommandError, exitCodes } from '../output.ts'
import { end, hasEnded, main, mustRun, say, start } from './quickstart-steps.ts'

export type Programs = Readonly<Record<'etcd' | 'etcdctl' | 'haproxy', string>>

/** Of this environment, or on the path. Throws `program_missing` with all that are. */
export function findPrograms(env: NodeJS.ProcessEnv): Programs {
  const wanted = { etcd: 'etcd-server', etcdctl: 'etcd-client', haproxy: 'haproxy' }
  const folders = [...(env.PATH ?? '').split(delimiter), '/usr/sbin']
  const find = (name: string): string | undefined =>
    [env[`HOLDFAST_${name.toUpperCase()}`] ?? '', ...folders.map((folder) => join(folder, name))].find(canRun)
  const missing = Object.keys(wanted).filter((name) => find(name) === undefined)
  if (missing.length > 0) {
    const packages = missing.map((name) => wanted[name as keyof Programs])
    const variables = missing.map((name) => `HOLDFAST_${name.toUpperCase()}`)
    throw new CommandError(
      'program_missing',
      `a cluster needs ${missing.join(' and ')}: install it (apt-get install ${packages.join(' ')}), or set ${variables.join(', ')} to where it is`,
      exitCodes.usage,
    )
  }
  return { etcd: find('etcd')!, etcdctl: find('etcdctl')!, haproxy: find('haproxy')! }
}

function canRun(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return file !== ''
  } catch {
    return false
  }
}

/** Programs read settings from files here: what was set for other nodes, or for another etcd, is not theirs. */
export const environment = (): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(HOLDFAST_|CONJUR_|ETCD)/.test(name)),
  ),
  ETCDCTL_API: '3',
})

export type Job = {
  readonly name: string
  readonly command: string
  readonly words: readonly string[]
  readonly log: string
}

const RESTART_MS = 20_000
const END_WITHIN_MS = 30_000

/** Rejects `failed` when a program ends that nobody starts again. */
export function createCrew() {
  const running = new Map<string, { readonly child: ChildProcess; readonly job: Job }>()
  const failed = Promise.withResolvers<never>()
  // It may come while nobody waits for it; whoever waits next hears of it all the same.
  failed.promise.catch(() => undefined)
  const expected = new WeakSet<ChildProcess>()
  let closing = false
  process.once('exit', () => {
    for (const name of running.keys()) signal(name, 'SIGKILL')
  })

  function signal(name: string, what: NodeJS.Signals): void {
    const { child } = running.get(name)!
    // Its whole group: what it has started goes with it.
    if (!hasEnded(child) && child.pid !== undefined) process.kill(-child.pid, what)
  }

  function run(job: Job, restarts: boolean): ChildProcess {
    if (closing) throw new CommandError('stopped', 'stopped before everything was started')
    const child = start(job.command, job.words, job.log, environment())
    child.once('error', failed.reject)
    running.set(job.name, { child, job })
    child.once('exit', () => {
      if (closing || expected.has(child)) return
      if (!restarts) return failed.reject(new CommandError('node_ended', `${job.name} ended: see ${job.log}`))
      say(
        `\n-> ${job.name} has ended. It is started again in ${RESTART_MS / 1000} s, as a service manager would`,
      )
      setTimeout(() => {
        if (!closing) run(job, restarts)
      }, RESTART_MS)
    })
    return child
  }

  async function stop(name: string): Promise<void> {
    const member = running.get(name)
    if (member === undefined) return
    expected.add(member.child)
    const late = setTimeout(() => signal(name, 'SIGKILL'), END_WITHIN_MS)
    await end(member.child)
    clearTimeout(late)
  }

  return {
    failed: failed.promise,
    run,
    signal,
    stop,
    pidOf: (name: string): number | undefined => running.get(name)?.child.pid,
    mustRun(name: string): void {
      const { child, job } = running.get(name)!
      mustRun(child, name, job.log)
    },
    /** What belongs together ends together. */
    async close(order: readonly (readonly string[])[]): Promise<void> {
      closing = true
      for (const names of order) await Promise.all(names.map(stop))
    },
  }
}

export type Crew = ReturnType<typeof createCrew>

/** `holdfast …` as a person gives it. Answers what it wrote. */
export async function holdfast(words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  return run(process.execPath, [main, ...words], env)
}

/** Throws `command_failed` with what it said. */
export async function run(
  command: string,
  words: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(command, [...words], { env: { ...environment(), ...env } })
    return stdout
  } catch (error) {
    const said = (error as { stderr?: string }).stderr ?? String(error)
    throw new CommandError('command_failed', said.trim().replace(/^holdfast: /, ''))
  }
}
