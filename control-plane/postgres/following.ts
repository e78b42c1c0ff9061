// Following a Leader: looked at, streamed from, copied anew when that cannot be, for as long as nobody says otherwise
// (cluster 7.4, 12).
import { DomainError } from '#shared/base/errors.ts'
import type { Clock } from '#shared/base/time.ts'
import { copyOf } from '../coordination/keys.ts'
import { takeCopy } from './copy.ts'
import { copyingFolder, diskOf, putInPlace, removeThrownAway } from './data.ts'
import { describe, type Instance } from './instance.ts'
import { callPeer, type NodeTls, type Peer } from './peer.ts'
import { cutOff, systemIdOf, timelineOf, wholeRecordsEnd } from './recovery.ts'
import { type Address, sourceOf } from './settings.ts'
import { type HowToFollow, howToFollow, type LogEnd } from './timeline.ts'

export type FollowOptions = {
  readonly node: string
  readonly addressOf: (node: string) => Address
  readonly tls: NodeTls | undefined
  readonly durable?: boolean
  readonly clock: Clock
  readonly log: (message: string) => void
}

/** Between looks at a Leader that does not answer, or at whether log comes. */
const LOOK_MS = 250
/** A reason that lasts is said again. */
const SAID_AGAIN_MS = 60_000
const REFUSED_MS = 5_000
/** The Leader answers, and no log comes: his log does not reach back to ours any more, or is not what it seemed. */
const STALLED_MS = 5_000
/** Copies that did not help, or did not come to an end, are taken less and less often. */
const SELDOM_MS = 5 * 60_000

/** Resolves when the signal is aborted. */
export async function followLeader(
  instance: Instance,
  leader: string,
  options: FollowOptions,
  signal: AbortSignal,
): Promise<void> {
  const { clock } = options
  const wire: Wire = { instance, leader, options, signal, say: sayer(options) }
  let patienceMs = STALLED_MS
  let stalled = false
  while (!signal.aborted) {
    try {
      const next = await look(wire, await called(wire), stalled)
      stalled = false
      if (next === 'refused') await clock.sleep(REFUSED_MS, signal)
      if (next === 'failed') await clock.sleep(patienceMs, signal)
      if (next === 'stream') {
        await stream(wire)
        const { streamed, away } = await untilStalled(wire, patienceMs)
        stalled = !away
        if (streamed || away) patienceMs = STALLED_MS
      }
      if (stalled || next === 'failed') patienceMs = Math.min(2 * patienceMs, SELDOM_MS)
    } catch (error) {
      if (signal.aborted) return
      stalled = false
      wire.say(`${leader} cannot be followed: ${describe(error)}`)
      await clock.sleep(LOOK_MS, signal)
    }
  }
}

type Wire = {
  readonly instance: Instance
  readonly leader: string
  readonly options: FollowOptions
  readonly signal: AbortSignal
  readonly say: (message: string) => void
}

/** What is the same is said once in a while. */
function sayer({ clock, log }: FollowOptions): (message: string) => void {
  let last = ''
  let at = Number.NEGATIVE_INFINITY
  return (message) => {
    if (message === last && clock.monotonic() - at < SAID_AGAIN_MS) return
    last = message
    at = clock.monotonic()
    log(message)
  }
}

/** Cut off from whoever was followed, and connected with the Leader: both take their time. */
async function called(wire: Wire): Promise<Peer> {
  const { instance, options } = wire
  const cut = instance.runs() ? cutOff(instance, options.clock) : undefined
  const [met, apart] = await Promise.allSettled([call(wire), cut])
  if (met.status === 'rejected') throw met.reason
  if (apart.status === 'fulfilled') return met.value
  met.value.close()
  throw apart.reason
}

/** One look at both logs, and what follows from it. `stalled`: to stream was tried, and nothing came. */
async function look(
  wire: Wire,
  peer: Peer,
  stalled: boolean,
): Promise<'stream' | 'copied' | 'failed' | 'refused'> {
  const { instance, leader, options, say } = wire
  try {
    const theirs = await peer.identify()
    if (theirs.inRecovery) throw new DomainError('unavailable', 'it leads nobody')
    const history = await peer.history(theirs.timeline)
    const own = await ownEnd(instance, options.clock)
    const how = await possible(wire, whenStalled(howToFollow(own, theirs, history), stalled), theirs.version)
    if (how.kind === 'refuse') {
      say(`${leader} is not followed: ${how.because}`)
      return 'refused'
    }
    return how.kind === 'copy' ? await copied(wire, peer, how) : 'stream'
  } finally {
    peer.close()
  }
}

async function stream({ instance, leader, options }: Wire): Promise<void> {
  const copy = copyOf(options.node, await diskOf(instance.room, options.node))
  await instance.apply({ source: sourceOf(options.addressOf(leader), instance.tls, copy) })
}

/** Data of another major version of Postgres is none to the programs here. */
async function possible({ instance }: Wire, how: HowToFollow, version: number): Promise<HowToFollow> {
  const own = how.kind === 'copy' ? await instance.room.version() : version
  if (own === version) return how
  return {
    kind: 'refuse',
    because: `it runs Postgres ${version}, and this node ${own}: give this node the programs of ${version} (postgres_bin)`,
  }
}

const whenStalled = (how: HowToFollow, stalled: boolean): HowToFollow =>
  stalled && how.kind === 'stream'
    ? {
        kind: 'copy',
        diverged: false,
        because: 'its log does not come, perhaps it does not reach back that far',
      }
    : how

const call = ({ leader, options, signal }: Wire): Promise<Peer> =>
  callPeer(options.addressOf(leader), options.tls, options.node, signal)

async function ownEnd(instance: Instance, clock: Clock): Promise<LogEnd | undefined> {
  if (!instance.holds()) return undefined
  // What took the place of the old data did not start at once.
  if (!instance.runs()) await instance.launch()
  const end = await wholeRecordsEnd(instance, clock)
  return { systemId: await systemIdOf(instance), timeline: await timelineOf(instance, end), end }
}

async function copied(
  wire: Wire,
  peer: Peer,
  how: Extract<HowToFollow, { kind: 'copy' }>,
): Promise<'copied' | 'failed'> {
  try {
    await copyAnew(wire, peer, how)
    return 'copied'
  } catch (error) {
    if (!wire.signal.aborted)
      wire.say(`no copy could be taken from ${wire.leader}, what was here is still here: ${describe(error)}`)
    return 'failed'
  }
}

/** The old data is untouched until the copy is whole; what it had and the Leader has not is kept beside. */
async function copyAnew(
  { instance, leader, options, signal }: Wire,
  peer: Peer,
  { because, diverged }: Extract<HowToFollow, { kind: 'copy' }>,
): Promise<void> {
  const { room } = instance
  const { node, log, durable } = options
  log(`all data is copied from ${leader}: ${because}`)
  await takeCopy(copyingFolder(room), peer.baseCopy(`holdfast ${node}`), {
    node,
    runAs: room.runAs,
    durable: durable !== false,
  })
  if (signal.aborted) return
  await instance.end()
  try {
    await putInPlace(room, diverged)
  } finally {
    await instance.launch()
  }
  removeThrownAway(room).catch((error: unknown) =>
    log(`what was here before could not be removed: ${describe(error)}`),
  )
  const kept = diverged ? `; what was here before is kept in ${room.cluster}.diverged` : ''
  log(`all data was copied from ${leader}${kept}`)
}

const RECEIVER = `SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint AS replayed,
  EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming') AS streams`

type Stalled = { readonly streamed: boolean; readonly away: boolean }

/** Resolves when nothing has come for as long. `streamed`: something came before; `away`: the Leader does not answer. */
async function untilStalled(wire: Wire, patienceMs: number): Promise<Stalled> {
  const { instance, options, signal } = wire
  const { clock } = options
  let streamed = false
  let replayed: unknown
  let since = clock.monotonic()
  while (!signal.aborted && clock.monotonic() - since < patienceMs) {
    // Who does not answer says nothing about the log; a Postgres that has ended ends this by the signal.
    const [now] = await instance.asker.ask(RECEIVER).catch(() => [])
    streamed ||= now?.streams === true
    // It may still be busy with what it holds.
    if (now === undefined || now.streams === true || now.replayed !== replayed) since = clock.monotonic()
    replayed = now?.replayed
    await clock.sleep(LOOK_MS, signal)
  }
  return { streamed, away: !(await leads(wire)) }
}

async function leads(wire: Wire): Promise<boolean> {
  try {
    const peer = await call(wire)
    try {
      return !(await peer.identify()).inRecovery
    } finally {
      peer.close()
    }
  } catch {
    return false
  }
}
