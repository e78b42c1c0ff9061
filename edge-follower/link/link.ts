// The Follower's link to its Leader: dials, performs what `downstream.step` asks of the local copy, dials again.
import { type Clock, type Wall, wall } from '#shared/base/time.ts'
import { Refused } from '#shared/enrolment/messages.ts'
import type { Position } from '#shared/ledger/position.ts'
import { backoffMs } from '#shared/replication/backoff.ts'
import {
  type Distrust,
  type Downstream,
  type DownstreamEffect,
  type DownstreamEvent,
  step,
} from '#shared/replication/downstream.ts'
import {
  decodeToFollower,
  encodeMessage,
  type Hello,
  type LedCluster,
  PROTOCOL,
  type StreamErrorCode,
} from '#shared/replication/messages.ts'
import type { Dial, Wire } from '#shared/replication/wire.ts'
import { HashMismatch, type ReplicaStore } from '../store/replica.ts'
import { unpackRows } from './unpack.ts'

export type LinkStatus = {
  readonly state: 'connecting' | 'snapshot' | 'live' | 'superseded' | 'revoked'
  readonly leaderUrl: string | undefined
  /** What its newest Leader led; undefined when that stood alone, or none has been met. */
  readonly cluster: LedCluster | undefined
  readonly lastError: string | undefined
  /** The copy differs from the Leader's, until a snapshot is complete. */
  readonly distrust: Distrust | undefined
}

export type KnownLeader = Pick<LinkStatus, 'leaderUrl' | 'cluster'>

export type LinkOptions = {
  readonly store: ReplicaStore
  readonly dial: Dial
  readonly clock: Clock
  readonly random: () => number
  readonly incarnation: number
  readonly keys: Hello['keys']
  /** Replication set of this Follower. */
  readonly set: string
  /** Bounded by `limits`; the runtime's own. */
  readonly gunzip: (packed: Uint8Array) => Uint8Array
  readonly onApplied: (position: Position) => void
  readonly onStatus: (status: LinkStatus) => void
  /** What was known of the Leader before this process; absent: nothing. */
  readonly leader?: KnownLeader | undefined
  readonly report: (message: string) => void
  /** The copy is not what the Leader has: somebody should look why. */
  readonly alarm: (message: string) => void
}

class SessionEnd extends Error {
  /** What the Leader said, if it was the Leader who ended the session. */
  readonly code: StreamErrorCode | undefined
  constructor(code: StreamErrorCode | undefined, message: string) {
    super(message)
    this.code = code
  }
}

/** Why nothing is followed any more: asked to stop, a newer process has taken its place, or it is out of the cluster. */
export type Ended = { readonly why: 'stopped' | 'superseded' | 'revoked'; readonly message: string }

/** Runs until the signal is aborted, or the Leader has said that this process is not to come again. */
export async function follow(options: LinkOptions, signal: AbortSignal): Promise<Ended> {
  const link = new Link(options)
  // Counted from the last position that was stored: a session that only begins well is no success.
  let failures = 0
  while (!signal.aborted) {
    let wire: Wire | undefined
    try {
      link.status({ state: 'connecting' })
      wire = await options.dial('/replication/stream', signal)
      await link.session(wire, signal, () => {
        failures = 0
      })
      link.status({ state: 'connecting', lastError: 'the Leader ended the connection' })
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      if (!signal.aborted && failures === 0) options.report(`the link to the Leader ended: ${message}`)
      link.status({ state: 'connecting', lastError: message })
      const why = lastWord(error)
      if (why !== undefined) {
        link.status({ state: why })
        return { why, message }
      }
    } finally {
      wire?.close()
    }
    await options.clock.sleep(backoffMs(failures++, wire !== undefined, options.random()), signal)
  }
  return { why: 'stopped', message: '' }
}

function lastWord(error: unknown): 'superseded' | 'revoked' | undefined {
  const code =
    error instanceof SessionEnd ? error.code : error instanceof Refused ? error.refusal.code : undefined
  if (code === 'SUPERSEDED') return 'superseded'
  return code === 'CERT_REVOKED' ? 'revoked' : undefined
}

class Link {
  readonly #options: LinkOptions
  #status: LinkStatus = {
    state: 'connecting',
    leaderUrl: undefined,
    cluster: undefined,
    lastError: undefined,
    distrust: undefined,
  }
  #state: Downstream = { phase: 'ended' }
  #greetedAt: Wall = wall(0)
  /** Added to a time of the Leader: our own at the same moment, or earlier by as long as the greeting took. */
  #offset = 0

  constructor(options: LinkOptions) {
    this.#options = options
    this.#status = { ...this.#status, ...options.leader }
  }

  status(change: Partial<LinkStatus>): void {
    this.#status = { ...this.#status, ...change }
    this.#options.onStatus(this.#status)
  }

  /** Returns when the Leader ends the connection; throws when either side found fault. */
  async session(wire: Wire, signal: AbortSignal, onStored: () => void): Promise<void> {
    if (signal.aborted) return
    const onAbort = (): void => wire.close()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      if (wire.resumed === true) this.#resume()
      else await wire.send(encodeMessage(this.#hello()))
      for await (const frame of wire.messages()) {
        if (signal.aborted) return
        await this.#handle(decodeToFollower(frame), wire, onStored)
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** The greeting of this wire was heard by who is no more: what is stored here says how far it came. */
  #resume(): void {
    const held = this.#options.store.held()
    if (held === undefined) throw new Error('there is nothing to go on from')
    this.#state = { phase: 'live', applied: held.position, parts: [] }
    this.status({ state: 'live', lastError: undefined })
  }

  #hello(): Hello {
    const { store, incarnation, keys } = this.#options
    const held = store.held()
    const staged = store.staged()
    // Sessions ask for a snapshot until one is complete.
    const resumable = held !== undefined && this.#status.distrust !== 'HASH_MISMATCH'
    this.#greetedAt = wall(this.#options.clock.wall())
    this.#state = { phase: 'greeting', held: held?.position, resumable, staged }
    return {
      type: 'hello',
      protocol: PROTOCOL,
      incarnation,
      set: this.#options.set,
      held: resumable ? held : null,
      staged: staged ?? null,
      keys: [...keys],
    }
  }

  async #handle(event: DownstreamEvent, wire: Wire, onStored: () => void): Promise<void> {
    const [state, effects] = step(this.#state, event)
    this.#state = state
    for (const effect of effects) {
      const result = this.#store(effect)
      if (result === undefined) await this.#say(effect, wire)
      else {
        if (result.type === 'stored') onStored()
        await this.#handle(result, wire, onStored)
      }
    }
  }

  /** What the effect asks of the local copy; the event that came of it, if it was a commit or a snapshot. */
  #store(effect: DownstreamEffect): Extract<DownstreamEvent, { type: 'stored' | 'mismatched' }> | undefined {
    const { store, gunzip } = this.#options
    switch (effect.kind) {
      case 'begin':
        store.stageBegin(effect.header)
        return undefined
      case 'stage': {
        const { table, rows } = unpackRows(effect.rows, gunzip)
        store.stageChunk(effect.chunk, table, rows)
        return undefined
      }
      case 'dropStage':
        store.stageDrop()
        return undefined
      case 'finish':
        return this.#checked(() => {
          const { position } = store.stageFinish(this.#here(effect.at))
          this.status({ distrust: undefined })
          return position
        })
      case 'apply':
        return this.#checked(() => {
          store.apply(effect.commit, this.#here(effect.commit.at))
          return effect.commit.position
        })
      default:
        return undefined
    }
  }

  #checked(body: () => Position): Extract<DownstreamEvent, { type: 'stored' | 'mismatched' }> {
    try {
      return { type: 'stored', position: body() }
    } catch (error) {
      if (!(error instanceof HashMismatch)) throw error
      return { type: 'mismatched', message: error.message }
    }
  }

  /**
   * A time of the Leader on our clock. Never later than it was, so that nothing is shown as younger than it is: the
   * offset is too small by the time that the greeting took, and shrinks when a commit would come from the future.
   */
  #here(leaderTime: number): Wall {
    const now = this.#options.clock.wall()
    this.#offset = Math.min(this.#offset, now - leaderTime)
    return wall(leaderTime + this.#offset)
  }

  async #say(effect: DownstreamEffect, wire: Wire): Promise<void> {
    switch (effect.kind) {
      case 'ack':
        this.#options.onApplied(effect.position)
        return wire.send(encodeMessage({ type: 'ack', position: effect.position }))
      case 'ping':
        return wire.send(encodeMessage({ type: 'ping' }))
      case 'tell':
        return wire.send(encodeMessage({ type: 'error', code: effect.code, message: effect.message }))
      case 'state':
        if (effect.leader !== undefined) this.#offset = this.#greetedAt - effect.leader.time
        return this.status({
          state: effect.state,
          leaderUrl: effect.leader?.url ?? this.#status.leaderUrl,
          cluster: effect.leader === undefined ? this.#status.cluster : effect.leader.cluster,
          lastError: undefined,
        })
      case 'distrust':
        this.#options.alarm(effect.message)
        return this.status({ distrust: effect.code })
      case 'report':
        return this.#options.report(effect.message)
      case 'end':
        throw new SessionEnd(effect.code, effect.message)
    }
  }
}
