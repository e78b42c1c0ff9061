// The Durable Object that is a Follower: requests, the Leader's WebSockets and alarms come in here, one event at a time.
import { DurableObject } from 'cloudflare:workers'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
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
    // What was under way on them went with the memory: the Leader dials again, and goes on from what is stored here.
    for (const socket of this.ctx.getWebSockets()) socket.close(LINK_IS_NEW, 'the object was started again')
    try {
      this.#edge = await openEdge(this.ctx.storage, this.env, this.ctx.id.name)
    } catch (error) {
      if (!(error instanceof DomainError)) throw error
      this.#fault = error.message
      logOf(this.ctx.id.name ?? 'edge').error(error.message)
      return
    }
    if ((await this.ctx.storage.getAlarm()) === null) await this.#setAlarm(this.#edge)
  }

  #setAlarm({ settings }: Edge): Promise<void> {
    // Where the Leader dials, its dialling starts the object; where this one does, nobody else would.
    const pause = settings.link === 'object' ? limits.objectAlarmMs : limits.objectScrubPauseMs
    return this.ctx.storage.setAlarm(clock.wall() + pause)
  }

  async fetch(request: Request): Promise<Response> {
    const edge = this.#edge
    if (edge === undefined) return unavailable(this.#fault)
    const { pathname } = new URL(request.url)
    if (linkPaths.has(pathname) && request.headers.get('Upgrade')?.toLowerCase() === 'websocket')
      return this.#letIn(edge, request, pathname as LinkPath)
    const out = edge.out()
    if (out !== undefined && pathname !== '/health') return unavailable(out)
    // The address that the platform has seen. Without it nobody is believed to be near.
    return edge.api.fetch(request, request.headers.get('CF-Connecting-IP') ?? NOBODY)
  }

  #letIn(edge: Edge, request: Request, path: LinkPath): Response {
    const { settings, room } = edge
    if (room === undefined) return refused(409, 'conflict', 'this Follower dials its Leader (HOLDFAST_LINK)')
    if (!isOurLeader(request.headers.get('Authorization'), settings))
      return new Response(null, { status: 401 })
    const { 0: theirs, 1: ours } = new WebSocketPair()
    const id = crypto.randomUUID()
    ours.serializeAttachment(id)
    this.ctx.acceptWebSocket(ours)
    const wire = socketWire(ours, clock, limits.linkSilenceMs)
    this.#wires.set(id, wire)
    room.arrived(path, wire)
    return new Response(null, { status: 101, webSocket: theirs } as ResponseInit)
  }

  webSocketMessage(socket: EdgeSocket, message: string | ArrayBuffer): void {
    const wire = this.#wireOf(socket)
    if (wire === undefined) socket.close(LINK_IS_NEW, 'the object was started again')
    else wire.take(message)
  }

  webSocketClose(socket: EdgeSocket): void {
    this.#gone(socket)
  }

  webSocketError(socket: EdgeSocket): void {
    this.#gone(socket, new Error('the connection from the Leader broke'))
  }

  #gone(socket: EdgeSocket, broken?: Error): void {
    this.#wireOf(socket)?.gone(broken)
    this.#wires.delete(socket.deserializeAttachment() as string)
  }

  #wireOf(socket: EdgeSocket): SocketWire | undefined {
    return this.#wires.get(socket.deserializeAttachment() as string)
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

/** An address that is in no range: who has none is not near. */
const NOBODY = '0.0.0.0'

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const refused = (status: number, code: string, message: string): Response =>
  Response.json({ error: { code, message } }, { status })

const unavailable = (message: string): Response => refused(503, 'unavailable', message)
