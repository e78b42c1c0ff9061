// Reading at a Follower, beside a bare node:http server on the same core, in the same run.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { limits } from '#shared/base/limits.ts'
import { IdentityProvider, KEYS } from '../support/identity-provider.ts'
import type { Client } from '../support/nodes.ts'
import type { TrustedProvider } from './dataset.ts'
import type { LoadPlan, LoadResult } from './load.ts'
import { type Figure, figure, load, residentMb, startBare } from './measure.ts'
import { type OfflineFollower, offlineFollower, subjectPin } from './offline-follower.ts'

const rounds = 3

type Request = {
  readonly head: string
  readonly body?: string
  readonly bodies?: string
  readonly spread: number
}

const plan = (port: number, request: Request, rate?: number): LoadPlan => ({
  host: '127.0.0.1',
  port,
  connections: 64,
  seconds: rate === undefined ? 3 : 5,
  // The first seconds of a process are its compiler's: they are the cold start's figure, not this one's.
  warmupSeconds: 3,
  heads: [request.head],
  ...(request.body === undefined ? {} : { body: request.body }),
  ...(request.bodies === undefined ? {} : { bodies: request.bodies }),
  ...(rate === undefined ? {} : { rate }),
  spread: request.spread,
  expectStatus: 200,
})

const head = (line: string, authorization: string, more = ''): string =>
  `${line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}${more}`

type Subject = {
  readonly secrets: number
  readonly request: (client: Client, apiKey: string) => Request
  readonly hosts?: number
  readonly jwt?: TrustedProvider
}

type Measured = {
  readonly rps: number[]
  readonly ratio: number[]
  readonly overP99Ms: number[]
  readonly overP99WholeMs: number[]
  readonly rss: number[]
}

type Round = {
  readonly asked: Request
  readonly full: LoadResult
  readonly half: LoadResult | undefined
  readonly rss: number
}

/** Rounds of each subject and the bare server in turn: ratios are taken within a round. */
async function beside(subjects: readonly Subject[], halfLoad = false): Promise<Measured[]> {
  const measured = subjects.map(() => ({ rps: [], ratio: [], overP99Ms: [], overP99WholeMs: [], rss: [] }))
  const followers = await Promise.all(
    subjects.map(({ secrets, ...more }) => offlineFollower(secrets, subjectPin(), more)),
  )
  try {
    for (let n = 0; n < rounds; n++) {
      const taken: Round[] = []
      for (const [i, follower] of followers.entries()) {
        taken.push(await roundOf(follower, subjects[i]!, halfLoad && i === subjects.length - 1))
      }
      const bare = await startBare()
      const base = await load(plan(bare.port, taken[0]!.asked))
      for (const [i, { asked, full, half, rss }] of taken.entries()) {
        const into: Measured = measured[i]!
        into.rps.push(full.requestsPerSecond)
        into.ratio.push(full.requestsPerSecond / base.requestsPerSecond)
        into.rss.push(rss)
        if (half === undefined) continue
        const baseHalf = await load(plan(bare.port, asked, halfOf(full)))
        into.overP99Ms.push(half.p99Ms - baseHalf.p99Ms)
        into.overP99WholeMs.push(half.p99WholeMs - baseHalf.p99WholeMs)
      }
      await bare.stop()
    }
  } finally {
    for (const follower of followers) await follower.remove()
  }
  return measured
}

const halfOf = ({ requestsPerSecond }: LoadResult): number => Math.floor(requestsPerSecond / 2)

async function roundOf(follower: OfflineFollower, { request }: Subject, withHalf: boolean): Promise<Round> {
  const asked = request(await follower.start(), follower.apiKey)
  const full = await load(plan(follower.port, asked))
  if (full.wrongStatus > 0) throw new Error(`${full.wrongStatus} answers were not 200`)
  const half = withHalf ? await load(plan(follower.port, asked, halfOf(full))) : undefined
  const rss = residentMb(follower.node.pid!)
  await follower.node.kill()
  return { asked, full, half, rss }
}

const readSecret =
  (secrets: number) =>
  (client: Client): Request => ({
    head: head('GET /secrets/acme/variable/app%2Fsecret-{n}', client.authorization),
    spread: secrets,
  })

export async function secretRead(): Promise<Figure[]> {
  const sizes = [1_000, 100_000].map((secrets) => ({ secrets, request: readSecret(secrets) }))
  const [few, many] = (await beside(sizes, true)) as [Measured, Measured]
  return [
    figure('secret read, 100 000 secrets', 'requests/s', many.rps),
    figure('secret read ÷ bare node:http (bar ≥ 0.25)', 'ratio', many.ratio),
    figure('p99 of a second at half load over bare (bar ≤ 3)', 'ms', many.overP99Ms),
    figure('p99 of all seconds at half load over bare', 'ms', many.overP99WholeMs),
    figure(
      '100 000 secrets ÷ 1 000 secrets (bar ≥ 0.9)',
      'ratio',
      many.rps.map((rps, i) => rps / few.rps[i]!),
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
  return ratioOf('batch read of 10', { request })
}

/** Those of a fleet, of which each is seldom asked for in the same second twice. */
const hosts = 6_000

/** By a fleet, and by one host: what replicas of a workload do that start together. */
export async function authenticate(): Promise<Figure[]> {
  const by =
    (host: string) =>
    (_: Client, apiKey: string): Request => ({
      head: head(
        `POST /authn/acme/host%2Fapp%2F${host}/authenticate`,
        '',
        `\r\nContent-Length: ${apiKey.length}`,
      ),
      body: apiKey,
      spread: hosts,
    })
  return [
    ...(await ratioOf('authenticate, many hosts', { request: by('host-{n}'), hosts })),
    ...(await ratioOf('authenticate, one host', { request: by('host-1'), hosts })),
  ]
}

/** More than a node remembers: none is known when it is shown again. */
const newTokens = limits.externalTokensRemembered + 1_000

/** The key set is fetched by the first requests of each process; a token is either new each time, or shown again. */
export async function authenticateJwt(): Promise<Figure[]> {
  const provider = await IdentityProvider.start()
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
  try {
    const body = await bodyOf(provider, 0, 0)
    const length = `\r\nContent-Length: ${body.length}\r\nContent-Type: application/x-www-form-urlencoded`
    const request = { head: head('POST /authn-jwt/bench/acme/authenticate', '', length), spread: 1 }
    const subject = { hosts, jwt: { jwksUri: provider.jwksUri, issuer: provider.url } }
    /** `hostOf`: whose the token of this number is. */
    const newTokensOf = async (name: string, hostOf: (n: number) => number): Promise<Figure[]> => {
      const bodies = join(directory, 'bodies')
      const lines: string[] = []
      for (let n = 0; n < newTokens; n++) lines.push(await bodyOf(provider, hostOf(n), n))
      writeFileSync(bodies, lines.join('\n'))
      return ratioOf(`JWT, new tokens ${name}`, { ...subject, request: () => ({ ...request, bodies }) })
    }
    return [
      ...(await newTokensOf('of many hosts', (n) => n)),
      ...(await newTokensOf('of one host', () => 0)),
      ...(await ratioOf('JWT, a token shown again', { ...subject, request: () => ({ ...request, body }) })),
      figure('fetches of the key set, per process', 'fetches', [provider.asked(KEYS).length / (3 * rounds)]),
    ]
  } finally {
    await provider.goAway()
    rmSync(directory, { recursive: true })
  }
}

/** All of one length. */
const bodyOf = async (provider: IdentityProvider, host: number, n: number): Promise<string> => {
  const claims = {
    host: `host-${1_000 + host}`,
    team: 'one',
    exp: 4_000_000_000,
    jti: String(n).padStart(9, '0'),
  }
  return `jwt=${await provider.sign(claims)}`
}

async function ratioOf(name: string, asked: Omit<Subject, 'secrets'>): Promise<Figure[]> {
  const bar = asked.jwt === undefined ? '' : ' (bar ≥ 0.25)'
  const [measured] = (await beside([{ ...asked, secrets: 1_000 }])) as [Measured]
  return [
    figure(name, 'requests/s', measured.rps),
    figure(`${name} ÷ bare node:http${bar}`, 'ratio', measured.ratio),
  ]
}
