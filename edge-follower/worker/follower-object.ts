// The Durable Object that is a Follower: requests, the Leader's WebSockets and alarms come in here, one event at a time.
import { DurableObject } from 'cloudflare:workers'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import { HAS_OTHERS, refused, unavailable } from './answers.ts'
import { workerClock as clock } from './clock.ts'
import { isOurLeader, type LinkPath, linkPaths } from './dial.ts'
import { type Edge, openEdge } from './edge.ts'
import { logOf } from './log.ts'
import type { EdgeSocket, Env, ObjectState } from './platform-types.ts'
import { type SocketWire, socketWire } from './wire.ts'

const LINK_IS_NEW = 1012

export class FollowerObject extends DurableObject<Env> {
  #edge: Edge | undefined
  #fault = ''
  #lookedAt = 0
  #isWell = false
  /** The Leader's sockets by the number that each carries. */
  readonly #wires = new Map<string, SocketWire>()

  constructor(ctx: ObjectState, env: Env) {
    super(ctx, env)
    void ctx
      .blockConcurrencyWhile(() => this.#open())
      .then(() => this.#edge?.run())
      .catch((error: unknown) => ctx.abort(messageOf(error)))
  }

  async #open(): Promise<void> {
    try {
      this.#edge = await openEdge(this.ctx.storage, this.env, this.ctx.id.name)
    } catch (error) {
      if (!(error instanceof DomainError)) throw error
      this.#fault = error.message
      logOf(this.ctx.id.name ?? 'edge').error(error.message)
      return
    }
    this.#resume(this.#edge)
    if ((await this.ctx.storage.getAlarm()) === null) await this.#setAlarm(this.#edge)
  }

  /** Sockets of the Leader outlive a sleep. What was whole on them is stored; what was not is said again on new ones. */
  #resume({ wasLive, room, log }: Edge): void {
    const sockets = this.ctx.getWebSockets()
    const paths = sockets.map((socket) => attachedTo(socket).path)
    const isWhole = wasLive && sockets.every((socket) => !attachedTo(socket).isCut)
    if (room === undefined || !isWhole || new Set(paths).size !== paths.length) {
      for (const socket of sockets) socket.close(LINK_IS_NEW, 'the object was started again')
      return
    }
    for (const socket of sockets) {
      const { id, path } = attachedTo(socket)
      const wire = socketWire(socket, clock, undefined, true)
      this.#wires.set(id, wire)
      room.arrived(path, wire)
    }
    log.info('the object was started', { links: sockets.length })
  }

  #setAlarm({ settings }: Edge): Promise<void> {
    // Where the Leader dials, its dialling starts the object; where this one does, nobody else would.
    const pause = settings.link === 'object' ? limits.objectAlarmMs : limits.objectScrubPauseMs
    return this.ctx.storage.setAlarm(clock.wall() + pause)
  }

  async fetch(request: Request): Promise<Response> {
    const edge = this.#edge
    if (edge === undefined) return unavailable(this.#fault)
    if (request.headers.get('Upgrade')?.toLowerCase() === 'websocket') {
      const { pathname } = new URL(request.url)
      if (linkPaths.has(pathname)) return this.#letIn(edge, request, pathname as LinkPath)
    }
    const refusal = edge.out() ?? (request.headers.has(HAS_OTHERS) ? this.#unwell(edge) : undefined)
    if (refusal !== undefined && new URL(request.url).pathname !== '/health') return unavailable(refusal)
    // The address that the platform has seen. Without it nobody is believed to be near.
    const answer = await edge.api.fetch(request, request.headers.get('CF-Connecting-IP') ?? NOBODY)
    // Nobody is known to an object without a copy, so it has judged nobody.
    return answer.status === 401 && !edge.hasCopy() ? unavailable(NO_COPY) : answer
  }

  /** What a balancer would find at `/health`: the Worker in front is one. */
  #unwell(edge: Edge): string | undefined {
    const now = clock.wall()
    if (now - this.#lookedAt >= limits.objectHealthMs) {
      this.#lookedAt = now
      this.#isWell = edge.health().ok
    }
    return this.#isWell ? undefined : 'this Follower is not well: its /health says why'
  }

  #letIn(edge: Edge, request: Request, path: LinkPath): Response {
    const { settings, room } = edge
    if (room === undefined) return refused(409, 'conflict', 'this Follower dials its Leader (HOLDFAST_LINK)')
    if (!isOurLeader(request.headers.get('Authorization'), settings))
      return new Response(null, { status: 401 })
    const { 0: theirs, 1: ours } = new WebSocketPair()
    const id = crypto.randomUUID()
    attach(ours, { id, path, isCut: false })
    this.ctx.acceptWebSocket(ours)
    const wire = socketWire(ours, clock, undefined)
    this.#wires.set(id, wire)
    room.arrived(path, wire)
    return new Response(null, { status: 101, webSocket: theirs } as ResponseInit)
  }

  webSocketMessage(socket: EdgeSocket, message: string | ArrayBuffer): void {
    const wire = this.#wireOf(socket)
    if (wire === undefined) {
      socket.close(LINK_IS_NEW, 'the object was started again')
      return
    }
    wire.take(message)
    const attached = attachedTo(socket)
    const isCut = !wire.isBetweenMessages()
    if (isCut !== attached.isCut) attach(socket, { ...attached, isCut })
  }

  webSocketClose(socket: EdgeSocket): void {
    this.#gone(socket)
  }

  webSocketError(socket: EdgeSocket): void {
    this.#gone(socket, new Error('the connection from the Leader broke'))
  }

  #gone(socket: EdgeSocket, broken?: Error): void {
    this.#wireOf(socket)?.gone(broken)
    this.#wires.delete(attachedTo(socket).id)
  }

  #wireOf(socket: EdgeSocket): SocketWire | undefined {
    return this.#wires.get(attachedTo(socket).id)
  }

  /** The event alone starts the object, and with it the link. */
  async alarm(): Promise<void> {
    const edge = this.#edge
    if (edge === undefined) return
    await this.#setAlarm(edge)
    // What is remembered of a damaged copy goes with the memory.
    if (!(await edge.scrub())) this.ctx.abort('the copy was damaged')
  }
}

/** What a socket keeps while the object is not in memory. `isCut`: a part of a message has come and the rest has not. */
type Attached = { readonly id: string; readonly path: LinkPath; readonly isCut: boolean }

const attach = (socket: EdgeSocket, attached: Attached): void => socket.serializeAttachment(attached)
const attachedTo = (socket: EdgeSocket): Attached => socket.deserializeAttachment() as Attached

const NO_COPY = 'this Follower has not taken a snapshot from its Leader yet'

/** An address that is in no range: who has none is not near. */
const NOBODY = '0.0.0.0'

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
