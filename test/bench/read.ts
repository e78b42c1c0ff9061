// Reading at a Follower, beside a bare node:http server on the same core, in the same run.
import { readFileSync } from 'node:fs'
import type { Client } from '../support/nodes.ts'
import type { LoadPlan } from './load.ts'
import { type Figure, figure, load, startBare } from './measure.ts'
import { offlineFollower, subjectPin } from './offline-follower.ts'

const rounds = 3

type Request = { readonly head: string; readonly body?: string; readonly spread: number }

const plan = (port: number, request: Request, rate?: number): LoadPlan => ({
  host: '127.0.0.1',
  port,
  connections: 64,
  seconds: 3,
  // The first seconds of a process are its compiler's: they are the cold start's figure, not this one's.
  warmupSeconds: 3,
  heads: [request.head],
  ...(request.body === undefined ? {} : { body: request.body }),
  ...(rate === undefined ? {} : { rate }),
  spread: request.spread,
  expectStatus: 200,
})

const head = (line: string, authorization: string, more = ''): string =>
  `${line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}${more}`

/** Peak and current resident memory of a process, megabytes (Linux). */
function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024
}

type Measured = {
  readonly rps: number[]
  readonly ratio: number[]
  readonly overP99Ms: number[]
  readonly rss: number[]
}

/** Rounds of bare, subject, bare, subject: the ratio is taken within a round. */
async function beside(
  secrets: number,
  request: (client: Client, apiKey: string) => Request,
  halfLoad: boolean,
): Promise<Measured> {
  const measured: Measured = { rps: [], ratio: [], overP99Ms: [], rss: [] }
  const follower = await offlineFollower(secrets, subjectPin())
  try {
    for (let round = 0; round < rounds; round++) {
      const client = await follower.start()
      const asked = request(client, follower.apiKey)
      const subject = await load(plan(follower.port, asked))
      if (subject.wrongStatus > 0) throw new Error(`${subject.wrongStatus} answers were not 200`)
      const rate = Math.floor(subject.requestsPerSecond / 2)
      const subjectHalf = halfLoad ? await load(plan(follower.port, asked, rate)) : undefined
      measured.rss.push(residentMb(follower.node.pid!))
      await follower.node.kill()
      const bare = await startBare()
      const base = await load(plan(bare.port, asked))
      const baseHalf = halfLoad ? await load(plan(bare.port, asked, rate)) : undefined
      await bare.stop()
      measured.rps.push(subject.requestsPerSecond)
      measured.ratio.push(subject.requestsPerSecond / base.requestsPerSecond)
      if (subjectHalf && baseHalf) measured.overP99Ms.push(subjectHalf.p99Ms - baseHalf.p99Ms)
    }
  } finally {
    await follower.remove()
  }
  return measured
}

const readSecret =
  (secrets: number) =>
  (client: Client): Request => ({
    head: head('GET /secrets/acme/variable/app%2Fsecret-{n}', client.authorization),
    spread: secrets,
  })

export async function secretRead(): Promise<Figure[]> {
  const few = await beside(1_000, readSecret(1_000), false)
  const many = await beside(100_000, readSecret(100_000), true)
  return [
    figure('secret read, 100 000 secrets', 'requests/s', many.rps),
    figure('secret read ÷ bare node:http (bar ≥ 0.25)', 'ratio', many.ratio),
    figure('p99 at half load over the bare server (bar ≤ 3)', 'ms', many.overP99Ms),
    figure(
      '100 000 secrets ÷ 1 000 secrets (bar ≥ 0.9)',
      'ratio',
      many.ratio.map((r, i) => r / few.ratio[i]!),
    ),
    figure('resident memory under load, 100 000 secrets (bar ≤ 200)', 'MB', many.rss),
  ]
}

export async function batchRead(): Promise<Figure[]> {
  const ids = Array.from({ length: 10 }, (_, i) => `acme%3Avariable%3Aapp%2Fsecret-${i + 1}{n}`).join(',')
  const request = (client: Client): Request => ({
    head: head(`GET /secrets?variable_ids=${ids}`, client.authorization),
    spread: 9,
  })
  const measured = await beside(1_000, request, false)
  return [
    figure('batch read of 10', 'requests/s', measured.rps),
    figure('batch read of 10 ÷ bare node:http', 'ratio', measured.ratio),
  ]
}

export async function authenticate(): Promise<Figure[]> {
  const request = (_client: Client, apiKey: string): Request => ({
    head: head(
      'POST /authn/acme/host%2Fapp%2Fhost-1/authenticate',
      '',
      `\r\nContent-Length: ${apiKey.length}`,
    ),
    body: apiKey,
    spread: 1,
  })
  const measured = await beside(1_000, request, false)
  return [
    figure('authenticate', 'requests/s', measured.rps),
    figure('authenticate ÷ bare node:http', 'ratio', measured.ratio),
  ]
}
