// The balancer that we ship a configuration for, with that very configuration: only addresses and ports are put in.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram, listens } from './programs.ts'

const shipped = new URL('../../control-plane/deploy/haproxy.cfg', import.meta.url).pathname

/** `HOLDFAST_HAPROXY`, or what is on the path; undefined: there is none. */
export const findHaproxy = (): string | undefined => findProgram('haproxy', process.env.HOLDFAST_HAPROXY)

export type Backend = { readonly port: number; readonly nodePort: number; readonly healthPort: number }

export type BalancerOptions = {
  readonly port: number
  readonly nodePort: number
  /** Where it comes from when it comes to the nodes. */
  readonly source: string
  readonly backends: readonly Backend[]
}

/** Listens when it resolves; ends with this process. */
export async function startBalancer(
  binary: string,
  options: BalancerOptions,
): Promise<{ stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-balancer-'))
  const file = join(folder, 'haproxy.cfg')
  writeFileSync(file, rendered(readFileSync(shipped, 'utf8'), options))
  const child: ChildProcess = spawn(binary, ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  child.stderr?.on('data', (chunk) => {
    log = (log + String(chunk)).slice(-20_000)
  })
  const die = (): void => void child.kill('SIGKILL')
  process.once('exit', die)
  const ended = once(child, 'exit')
  while (!(await listens(options.port)))
    if (child.exitCode !== null) throw new Error(`haproxy ended with ${child.exitCode}: ${log}`)
  return {
    async stop() {
      process.removeListener('exit', die)
      child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function rendered(text: string, { port, nodePort, source, backends }: BalancerOptions): string {
  const put = (into: string, what: RegExp, by: string): string => {
    if (into.match(what)?.length !== 1) throw new Error(`the shipped configuration has not one ${what}`)
    return into.replace(what, by)
  }
  const sections = [
    { shown: 443, own: port, of: (backend: Backend) => backend.port },
    { shown: 5432, own: nodePort, of: (backend: Backend) => backend.nodePort },
  ]
  let config = put(text, /send-proxy-v2$/gm, `send-proxy-v2 source ${source}`)
  for (const { shown, own, of } of sections) {
    config = put(config, new RegExp(`bind :${shown}$`, 'gm'), `bind 127.0.0.1:${own}`)
    for (const [i, backend] of backends.entries()) {
      const server = new RegExp(`(server node-${i + 1}) 10\\.0\\.0\\.1${i + 1}:${shown}$`, 'gm')
      config = put(config, server, `$1 127.0.0.1:${of(backend)} port ${backend.healthPort}`)
    }
  }
  return config
}
