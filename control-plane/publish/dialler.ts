// Followers that the Leader dials, because they sleep while nothing is sent, or because nobody reaches the Leader from where
// they are. Only who dials differs: once a link is open, both sides say what they would have said.
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { edgeUrlFault } from '#shared/enrolment/edge-url.ts'
import { isOfUnknownAuthority } from '#shared/node/tls.ts'
import { dialWebSocket, NotTaken } from '#shared/node/websocket-wire.ts'
import { backoffMs } from '#shared/replication/backoff.ts'
import { type Door, doorsOf, type Known, type Path, type Streams, serveLink } from './entrance.ts'

/** One Follower to be dialled. Two of the same `key` are the same, and the link of the first goes on. */
export type EdgeFollower = Known & {
  readonly key: string
  /** Its streams are at the Leader's paths below this. */
  readonly url: string
  /** Opened when it is dialled. */
  readonly bearer: () => string
}

export type DiallerOptions = Streams & {
  readonly clock: Clock
  /** 0…1 */
  readonly random: () => number
  /** Certificates that a Follower's is checked against, PEM; undefined: the system's. */
  readonly ca: string | undefined
  readonly report: (message: string) => void
}

export type Dialler = {
  /** These, and no others, are dialled from now on; links to others end. */
  dial(followers: readonly EdgeFollower[]): void
  /** Resolves when no link is left. */
  close(): Promise<void>
}

type Dialled = { readonly ending: AbortController; readonly done: Promise<unknown> }

export function createDialler(options: DiallerOptions): Dialler {
  const doors = Object.entries(doorsOf(options)) as [Path, Door][]
  const dialled = new Map<string, Dialled>()
  const ended = new Set<Promise<unknown>>()
  let closed = false

  function begin(follower: EdgeFollower): Dialled {
    const ending = new AbortController()
    // One at a time for each stream, so there are never two links of one kind to one Follower.
    const links = doors.map(([path, door]) => keepLinked(options, follower, path, door, ending.signal))
    return { ending, done: Promise.all(links) }
  }

  function end(key: string, { ending, done }: Dialled): void {
    dialled.delete(key)
    ending.abort()
    ended.add(done)
    void done.finally(() => ended.delete(done))
  }

  return {
    dial(followers) {
      if (closed) return
      const wanted = new Set(followers.map(({ key }) => key))
      for (const [key, one] of dialled) if (!wanted.has(key)) end(key, one)
      for (const follower of followers)
        if (!dialled.has(follower.key)) dialled.set(follower.key, begin(follower))
    },
    async close() {
      closed = true
      for (const [key, one] of dialled) end(key, one)
      await Promise.all(ended)
    },
  }
}

/** Keeps one link; dials again whenever it has ended, until the signal is aborted. */
export async function keepLinked(
  options: Omit<DiallerOptions, keyof Streams>,
  follower: EdgeFollower,
  path: Path,
  door: Door,
  signal: AbortSignal,
): Promise<void> {
  const { clock, random, report } = options
  let failures = 0
  let reported: string | undefined
  while (!signal.aborted) {
    const begun = clock.monotonic()
    const outcome = await linked(options, follower, path, door, signal)
    if (signal.aborted) return
    // Only what has lasted is a success: a Follower that takes links and drops them is not dialled without pause.
    if (clock.monotonic() - begun > limits.linkSilenceMs) {
      failures = 0
      reported = undefined
    }
    const said = `the ${door.link} link to ${follower.identity.name}: ${outcome.message}`
    if (said !== reported) report(said)
    reported = said
    const waitMs = outcome.isRefused
      ? limits.edgeRefusedMs * (0.5 + random() / 2)
      : backoffMs(failures++, true, random())
    await clock.sleep(waitMs, signal)
  }
}

type Outcome = { readonly message: string; readonly isRefused: boolean }

/** One link from its dialling to its end. Never rejects. */
async function linked(
  { ca }: Pick<DiallerOptions, 'ca'>,
  follower: EdgeFollower,
  path: Path,
  door: Door,
  signal: AbortSignal,
): Promise<Outcome> {
  try {
    const { name, heartbeatMs = limits.heartbeatMs } = follower.identity
    const headers = {
      Authorization: `Bearer ${name}.${follower.bearer()}`,
      // How much silence is none: whoever would take it for a broken link knows better.
      'Holdfast-Heartbeat': String(heartbeatMs / 1000),
    }
    const wire = await dialWebSocket(urlOf(follower.url, path), { ...carried, headers, ca }, signal)
    const end = (): void => wire.close()
    signal.addEventListener('abort', end, { once: true })
    try {
      await serveLink(follower, door, wire)
    } finally {
      signal.removeEventListener('abort', end)
      wire.close()
    }
    return { message: 'it has ended', isRefused: false }
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error)
    const hint = hintFor(error)
    const message = hint === undefined ? what : `${what}: ${hint}`
    return {
      message,
      isRefused: error instanceof NotTaken && error.status >= 400 && error.status < 500,
    }
  }
}

/** What an operator can do about a link that did not come to be; undefined: it may pass by itself. */
function hintFor(error: unknown): string | undefined {
  if (error instanceof NotTaken)
    return error.status === 401 ? 'it does not know this name with this bearer' : undefined
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return isOfUnknownAuthority(code)
    ? 'no authority that is known here has signed its certificate: name a file that holds the right one in edge_ca_file'
    : certificateHints[code]
}

const certificateHints: Readonly<Record<string, string>> = {
  ERR_TLS_CERT_ALTNAME_INVALID: 'dial it by a name that its certificate holds, or give it one for this name',
  CERT_HAS_EXPIRED: 'renew it there, or set the clock of this node right',
  CERT_NOT_YET_VALID: 'compare the clocks',
}

/** Nothing but the answers to pings comes while nobody writes. They wake nobody: the runtime gives them by itself. */
const carried = { silenceMs: limits.linkSilenceMs * 2, pingMs: limits.linkSilenceMs } as const

/** `/replication/stream` below the base. */
const urlOf = (base: string, path: Path): URL => new URL(base.replace(/\/$/, '') + path)

/** `name=https://host[/path]#file-with-bearer`: throws `settings_invalid` that says what is wrong, never with what is secret. */
export function edgeEntryIn(entry: string): { name: string; url: string; bearerFile: string } {
  const [, name, text, bearerFile] = /^([^=]+)=([^#]+)#(.+)$/.exec(entry) ?? []
  if (name === undefined || text === undefined || bearerFile === undefined)
    throw invalidEdge(`${entry} is not of the form name=https://host#file-with-bearer`)
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(name))
    throw invalidEdge(`${name} cannot be sent before a bearer: letters, digits, "_" and "-", at most 63`)
  const fault = edgeUrlFault(text)
  if (fault !== undefined) throw invalidEdge(`${name}: ${fault}`)
  return { name, url: text, bearerFile }
}

export const invalidEdge = (what: string): DomainError =>
  new DomainError('settings_invalid', `edge_followers: ${what}`, { target: 'edge_followers' })
