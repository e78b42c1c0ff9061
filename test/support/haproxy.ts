// The balancer that we ship a configuration for, with that very configuration: only addresses and ports are put in.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Backend, balancerConfig } from '#control-plane/deploy/balancer.ts'
import { findProgram, listens } from './programs.ts'

/** `HOLDFAST_HAPROXY`, or what is on the path; undefined: there is none. */
export const findHaproxy = (): string | undefined => findProgram('haproxy', process.env.HOLDFAST_HAPROXY)

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
  writeFileSync(
    file,
    balancerConfig({
      ...options,
      bind: `127.0.0.1:${options.port}`,
      nodeBind: `127.0.0.1:${options.nodePort}`,
    }),
  )
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
