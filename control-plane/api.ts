// Process 2 of a control node: answers clients, as a Leader when the supervisor says so and until its deadline, and
// otherwise with what this node is. The supervisor takes a leadership away by killing it.

import type { Answer, RawRequest } from '#shared/api/request.ts'
import type { Monotonic } from '#shared/base/time.ts'
import { bootClock } from '#shared/node/clock.ts'
import { listen } from '#shared/node/listen.ts'
import { createLog, errorFields, type Log } from '#shared/node/log.ts'
import { type Leader, loadLeaderKeys, openLeader } from './leader.ts'
import { type FromApi, linkToParent, type NodeStatus, type ToApi } from './node-link.ts'
import type { NodeSettings } from './settings.ts'
import { answerOfStandby, answerTooLate } from './standby.ts'

const WELL_EVERY_MS = 250

let status: NodeStatus | undefined
let deadline: Monotonic | undefined
let leader: Leader | undefined
let start: ((message: Extract<ToApi, { kind: 'start' }>) => Promise<void>) | undefined = serve
let lead: ((epoch: number) => Promise<void>) | undefined

const send = linkToParent<ToApi, FromApi>((message) => {
  switch (message.kind) {
    case 'start':
      void start?.(message)
      start = undefined
      break
    case 'lead':
      deadline = message.deadline
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
  }
})

/** Looked at when the answer is there: what was done may not be said any more (I3). */
const inTime = (): boolean => deadline !== undefined && bootClock.monotonic() < deadline

async function handle(request: RawRequest): Promise<Answer> {
  if (leader === undefined) return answerOfStandby(request, status)
  const answer = await leader.handle(request)
  return inTime() ? answer : answerTooLate(request)
}

/** `/health` and nothing else, over HTTP: for balancers (cluster 5). */
async function handleHealth(request: RawRequest): Promise<Answer> {
  if (request.path !== '/health') return { status: 404, headers: {}, body: '' }
  return handle(request)
}

async function serve({ settings, databaseUrl }: Extract<ToApi, { kind: 'start' }>): Promise<void> {
  const log = createLog(settings.name, settings.log_level)
  try {
    await open(settings, databaseUrl, log)
  } catch (error) {
    log.error('this node cannot answer', errorFields(error))
    process.exit(1)
  }
}

async function open(settings: NodeSettings, databaseUrl: string, log: Log): Promise<void> {
  const keys = await loadLeaderKeys(settings)
  const { host, port, health_port } = settings
  await listen({
    host,
    port,
    tls: keys.tls,
    handle,
    onUpgrade: (request, socket, head) =>
      leader === undefined ? socket.destroy() : leader.onUpgrade(request, socket, head),
  })
  if (health_port !== 0) await listen({ host, port: health_port, handle: handleHealth })
  lead = async (epoch) => {
    lead = undefined
    const urlOf = (database: string): string => databaseUrl.replace('/DATABASE?', `/${database}?`)
    try {
      leader = await openLeader({ settings, keys, databaseUrl: urlOf, epoch, log })
      log.info('leading', { host, port, epoch })
      send({ kind: 'opened', epoch })
    } catch (error) {
      log.error('the leadership cannot be opened', errorFields(error))
      process.exit(1)
    }
  }
  setInterval(() => send({ kind: 'well', ok: leader?.health().ok ?? true }), WELL_EVERY_MS)
  send({ kind: 'listening' })
}
