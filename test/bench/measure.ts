// How figures are taken: several runs, minimum, median and maximum, and ratios within one run only, because the
// machine is shared and absolute figures are not comparable between runs.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { LoadPlan, LoadResult } from './load.ts'

export type Figure = {
  readonly name: string
  readonly unit: string
  readonly min: number
  readonly median: number
  readonly max: number
  readonly runs: number
}

export function figure(name: string, unit: string, values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b)
  const median = sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN
  return {
    name,
    unit,
    min: sorted[0] ?? Number.NaN,
    median,
    max: sorted.at(-1) ?? Number.NaN,
    runs: sorted.length,
  }
}

/** Resident memory of a process, megabytes (Linux): what it holds now, or the most it ever held. */
export function residentMb(pid: number, which: 'now' | 'peak' = 'now'): number {
  const field = which === 'now' ? /VmRSS:\s+(\d+) kB/ : /VmHWM:\s+(\d+) kB/
  return Number(field.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

export function printFigure(f: Figure): void {
  const n = (value: number): string =>
    Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 1 ? value.toFixed(2) : value.toFixed(3)
  const line = `${f.name.padEnd(52)} ${n(f.min).padStart(9)} ${n(f.median).padStart(9)} ${n(f.max).padStart(9)}  ${f.unit}`
  process.stdout.write(`${line}\n`)
}

const hasTaskset = spawnSync('taskset', ['-V']).status === 0

/** Core 1 for what is measured, core 0 for what measures it, where the machine can pin. */
export const cores = { subject: 1, load: 0 } as const

/** Starts Node on one core; the child's standard output is piped, its errors are shown. */
export function spawnPinned(
  core: number,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  const command = [process.execPath, ...args]
  const full = hasTaskset ? ['taskset', '-c', String(core), ...command] : command
  return spawn(full[0]!, full.slice(1), {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  })
}

export async function outputOf(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout!) text += String(chunk)
  return text
}

/** The first line a child prints. */
export async function firstLine(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout!.iterator({ destroyOnReturn: false })) {
    text += String(chunk)
    const end = text.indexOf('\n')
    if (end >= 0) return text.slice(0, end)
  }
  throw new Error('the process ended before it printed a line')
}

export async function load(plan: LoadPlan): Promise<LoadResult> {
  const script = new URL('./load.ts', import.meta.url).pathname
  const child = spawnPinned(cores.load, [script, JSON.stringify(plan)])
  const text = await outputOf(child)
  return JSON.parse(text) as LoadResult
}

/** A bare node:http server that answers a constant, on the core of the subject; stop it before the next one runs. */
export async function startBare(): Promise<{ port: number; stop: () => Promise<void> }> {
  const child = spawnPinned(cores.subject, [new URL('./bare.ts', import.meta.url).pathname])
  const port = Number(await firstLine(child))
  return { port, stop: () => stop(child) }
}

export function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once('exit', () => resolve())
    child.kill(signal)
  })
}
