// Process 2 of a control node: answers clients, as a Leader when the supervisor says so and until its deadline, and
// otherwise with what this node is. The supervisor takes a leadership away by killing it.
import type { Answer, RawRequest } from '#shared/api/request.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Monotonic } from '#shared/base/time.ts'
import { bootClock } from '#shared/node/clock.ts'
import { listen } from '#shared/node/listen.ts'
import { createLog, errorFields, type Log } from '#shared/node/log.ts'
import { type Leader, loadLeaderKeys, prepareLeader } from './leader.ts'
import { type FromApi, linkToParent, type NodeStatus, type ToApi } from './node-link.ts'
import type { Deed } from './operator/deeds.ts'
import { siteOf } from './site.ts'
import { answerOfStandby, answerTooLate, healthOnly, isOfNode, type StandbyIo } from './standby.ts'

const WELL_EVERY_MS = 250
/** A leadership that cannot be opened in this time is left to somebody else. */
const OPEN_WITHIN_MS = 20_000

let status: NodeStatus | undefined
let deadline: Monotonic | undefined
let leader: Leader | undefined
let start: ((message: Start) => Promise<void>) | undefined = serve
let deed: Deed | undefined
let report: Log['warn'] | undefined
/** Of the leadership that the supervisor has told; one that is started while it leads is told before it listens. */
let leadership: number | undefined
let openBy = Number.POSITIVE_INFINITY
let lead: ((epoch: number) => Promise<void>) | undefined
/** One that is told too early is done when it leads. */
let prepare: ((epoch: number) => void) | undefined

const send = linkToParent<ToApi, FromApi>((message) => {
  switch (message.kind) {
    case 'start':
      void start?.(message)
      start = undefined
      break
    case 'prepare':
      prepare?.(message.epoch)
      break
    case 'lead':
      deadline = message.deadline
      leadership = message.epoch
      openBy = bootClock.monotonic() + OPEN_WITHIN_MS
      void lead?.(message.epoch)
      break
    case 'deadline':
      deadline = message.deadline
      break
    case 'drain':
      void leader?.drain().then(() => send({ kind: 'drained', asked: message.asked }))
      break
    case 'status':
      status = message.status
      break
    case 'deed':
      deed = message.deed
      void account()
  }
})

/** What cannot be accounted for now is told again; what is told before the leadership is open waits for that. */
async function account(): Promise<void> {
  if (leader === undefined || deed === undefined) return
  const { id } = deed
  try {
    send({ kind: 'accounted', id, signature: await leader.account(deed) })
  } catch (error) {
    report?.('what happened to the cluster is not in the audit yet', errorFields(error))
  }
}

/** Looked at when the answer is there: what was done may not be said any more (I3). */
const inTime = (): boolean => deadline !== undefined && bootClock.monotonic() < deadline

const isWell = (): boolean => (leader === undefined ? bootClock.monotonic() < openBy : leader.health().ok)

const handler =
  (io: StandbyIo) =>
  async (request: RawRequest): Promise<Answer> => {
    if (leader === undefined) return answerOfStandby(request, io)
    const answer = await leader.handle(request)
    if (inTime()) return answer
    return isOfNode(request) ? answerOfStandby(request, io) : answerTooLate(request)
  }

/** The supervisor says that it leads before it can be asked, and until it has heard that it does no more. */
function shownStatus(): NodeStatus | undefined {
  if (status?.phase !== 'open') return status
  if (leader === undefined) return { ...status, phase: 'naming' }
  return inTime() ? status : { ...status, phase: 'fenced', why: 'its lease was not renewed in time' }
}

const whileThisLives = new AbortController().signal

type Start = Extract<ToApi, { kind: 'start' }>

async function serve(start: Start): Promise<void> {
  const { settings } = start
  const log = createLog(settings.name, settings.log_level)
  report = log.warn
  try {
    await open(start, log)
  } catch (error) {
    log.error('this node cannot answer', errorFields(error))
    process.exit(1)
  }
}

async function open({ settings, databaseUrl }: Start, log: Log): Promise<void> {
  const keys = await loadLeaderKeys(settings, log)
  const { host, port } = settings
  const site = siteOf({
    settings,
    databaseUrl,
    tls: keys.tls,
    status: shownStatus,
    now: () => bootClock.monotonic(),
    signal: whileThisLives,
  })
  const { about, healthPort } = site
  const handle = handler({
    health: site.standby,
    info: () => about.info('standby', { name: site.name, leader: status?.leader ?? null }),
    remoteHealth: about.remoteHealth,
  })
  await listen({
    host,
    port,
    tls: keys.tls,
    balancers: parseRanges(settings.balancers, 'balancers'),
    handle,
    onUpgrade: (request, socket, head) =>
      leader === undefined ? socket.destroy() : leader.onUpgrade(request, socket, head),
  })
  if (healthPort !== 0) {
    const connections = limits.healthConnections
    await listen({ host, port: healthPort, handle: healthOnly(handle), connections })
  }
  const { renewsIdentity, writesUrl, facts: cluster } = site
  const made = {
    settings,
    keys,
    databaseUrl: site.databaseUrl,
    writesUrl,
    about,
    renewsIdentity,
    cluster,
    log,
  }
  let prepared: { readonly epoch: number; readonly open: Promise<() => Promise<Leader>> } | undefined
  prepare = (epoch) => {
    if (prepared?.epoch === epoch) return
    prepared = { epoch, open: prepareLeader({ ...made, epoch }) }
    // Who leads hears of it; who does not lead after all has lost nothing.
    prepared.open.catch(() => undefined)
  }
  lead = async (epoch) => {
    lead = undefined
    try {
      prepare?.(epoch)
      const opened = await prepared!.open
      // Who stood still between being told and doing it opens nothing any more (I3).
      if (!inTime()) throw new DomainError('unavailable', 'its lease was not renewed in time')
      leader = await opened()
      log.info('leading', { host, port, epoch })
      send({ kind: 'opened', epoch })
      void account()
    } catch (error) {
      log.error('the leadership cannot be opened', errorFields(error))
      process.exit(1)
    }
  }
  setInterval(() => send({ kind: 'well', ok: isWell() }), WELL_EVERY_MS)
  send({ kind: 'listening' })
  if (leadership !== undefined) await lead(leadership)
}
