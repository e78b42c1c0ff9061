// One Follower's link at the Leader: performs what `upstream.step` asks for, and tells it what came of it.
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { compare, type Position } from '#shared/ledger/position.ts'
import {
  decodeToLeader,
  encodeMessage,
  encodePart,
  type Hello,
  type LedCluster,
} from '#shared/replication/messages.ts'
import { step, type Upstream, type UpstreamEffect, type UpstreamEvent } from '#shared/replication/upstream.ts'
import type { Wire } from '#shared/replication/wire.ts'
import type { ChangeLog, LoggedCommit } from '../ledger/change-log.ts'
import { mayShow } from './release.ts'
import type { Snapshots } from './snapshots.ts'

const bounds = { bytes: limits.subscriberBacklogBytes, commits: limits.subscriberBacklogCommits }

/** Messages of commits, for as long as somebody holds the commit: all Followers are sent the same bytes. */
const encoded = new WeakMap<LoggedCommit, Uint8Array[]>()

function encodedOnce(commit: LoggedCommit, part: number): Uint8Array {
  const parts = encoded.get(commit) ?? []
  encoded.set(commit, parts)
  parts[part] ??= encodePart(commit, part)
  return parts[part]
}

export type SessionOptions = {
  readonly log: ChangeLog
  readonly snapshots: Snapshots
  readonly clock: Clock
  readonly leaderUrl: string | undefined
  /** Undefined: this Leader stands alone. */
  readonly cluster?: LedCluster | undefined
  readonly registerKeys: (keys: Hello['keys']) => Promise<void>
  /** Incarnation of the session that has the name now. */
  readonly otherIncarnation: () => number | undefined
  /** This session has the name from now on. */
  readonly admit: (session: Session) => void
  /** While there is nothing else to say, heartbeats are sent together and no more often; undefined: each as it is made. */
  readonly heartbeatMs?: number | undefined
  readonly report: (message: string) => void
}

export class Session {
  readonly #options: SessionOptions
  readonly #wire: Wire
  readonly #failed = Promise.withResolvers<never>()
  #state: Upstream<LoggedCommit> = { phase: 'greeting' }
  incarnation = 0
  /** The newest position that is durable at the Follower; undefined while none is known. */
  acknowledged: Position | undefined
  /** Monotonic time when the last commits were handed to the wire. */
  #sentAt: number | undefined
  /** Wall time of the newest acknowledgement, or of the dialling. */
  lastAckAt: number

  constructor(options: SessionOptions, wire: Wire) {
    this.#options = options
    this.#wire = wire
    this.lastAckAt = options.clock.wall()
  }

  /** Until the wire ends; rejects when it broke, or when the Follower or the log failed. */
  async run(): Promise<void> {
    try {
      await Promise.race([this.#listen(), this.#failed.promise])
    } catch (error) {
      // A wire that this side has closed breaks; the reason was told when it was closed.
      if (this.#state.phase !== 'ended') throw error
    } finally {
      this.close('the session has ended')
    }
  }

  /** `isHeartbeat`: it says the time, and nothing else. */
  committed(commit: LoggedCommit, head: Position, isHeartbeat = false): void {
    const { heartbeatMs = 0, clock } = this.#options
    const isDue = this.#sentAt === undefined || clock.monotonic() - this.#sentAt >= heartbeatMs
    this.#handle({ kind: 'committed', commit, head, canWait: isHeartbeat && !isDue })
  }

  superseded(by: number): void {
    this.#handle({ kind: 'superseded', incarnation: this.incarnation, by })
  }

  close(reason: string): void {
    this.#state = { phase: 'ended' }
    this.#wire.close(reason)
  }

  async #listen(): Promise<void> {
    for await (const frame of this.#wire.messages()) {
      const message = decodeToLeader(frame)
      switch (message.type) {
        case 'hello':
          await this.#greet(message)
          break
        case 'ack':
          this.lastAckAt = this.#options.clock.wall()
          this.#handle({ kind: 'ack', position: message.position })
          break
        case 'ping':
          this.#handle({ kind: 'ping' })
          break
        case 'error':
          this.#handle({ kind: 'error', code: message.code, message: message.message })
          break
      }
    }
  }

  async #greet(hello: Hello): Promise<void> {
    const { log, otherIncarnation } = this.#options
    const hashAtHeld = hello.held === null ? undefined : await log.hashAt(hello.held.position)
    // Asked after the wait: another session may have come meanwhile.
    const facts = {
      head: log.head().position,
      floor: log.floor(),
      hashAtHeld,
      otherIncarnation: otherIncarnation(),
    }
    this.#handle({ kind: 'hello', hello, log: facts })
  }

  /** Never throws: what fails here is this session, not the writer or the other Followers. */
  #handle(event: UpstreamEvent<LoggedCommit>): void {
    this.#advance(event).catch((error: unknown) => this.#failed.reject(error))
  }

  async #advance(event: UpstreamEvent<LoggedCommit>): Promise<void> {
    const [state, effects] = step(this.#state, event, bounds)
    this.#state = state
    if ('acknowledged' in state) this.acknowledged = state.acknowledged
    await this.#performAll(effects)
  }

  /** In order, and the next only after the last. */
  async #performAll(effects: readonly UpstreamEffect<LoggedCommit>[]): Promise<void> {
    for (const effect of effects) {
      const pending = this.#perform(effect)
      if (pending !== undefined) await pending
    }
  }

  #perform(effect: UpstreamEffect<LoggedCommit>): Promise<void> | undefined {
    switch (effect.kind) {
      case 'admit':
        this.incarnation = effect.incarnation
        this.#options.admit(this)
        return undefined
      case 'register':
        return this.#options.registerKeys(effect.keys)
      case 'welcome': {
        const { mode, reason, head } = effect
        const leaderUrl = this.#options.leaderUrl ?? null
        const cluster = this.#options.cluster ?? null
        const leaderTime = this.#options.clock.wall()
        return this.#wire.send(
          encodeMessage({ type: 'welcome', position: head, mode, reason, leaderUrl, cluster, leaderTime }),
        )
      }
      case 'sendSnapshot':
        return this.#sendSnapshot(effect.staged)
      case 'sendLive':
        return this.#send(effect.commits)
      case 'sendStored':
        return this.#sendStored(effect.after)
      case 'tell':
        this.#tell(effect)
        return undefined
      case 'report':
        this.#options.report(effect.message)
        return undefined
      case 'close':
        this.close(effect.reason)
        return undefined
    }
  }

  /** Not waited for: the session ends in any case, and a peer that takes nothing must not keep it. */
  #tell({ code, message }: Extract<UpstreamEffect<LoggedCommit>, { kind: 'tell' }>): void {
    this.#wire.send(encodeMessage({ type: 'error', code, message })).catch((error: unknown) => {
      this.#options.report(`could not be told ${code}: ${error instanceof Error ? error.message : error}`)
    })
  }

  async #sendSnapshot(staged: Hello['staged']): Promise<void> {
    const { snapshots, log } = this.#options
    const header = await this.#whileAlive(snapshots.current())
    await this.#wire.send(encodeMessage({ type: 'snapshot', header }))
    const from = staged?.id === header.id ? staged.nextChunk : 0
    for await (const message of snapshots.chunks(header, from)) await this.#wire.send(message)
    this.#handle({ kind: 'snapshotSent', position: header.position, head: log.head().position })
  }

  /** A snapshot of a large ledger takes longer to make than a Follower bears silence. */
  async #whileAlive<T>(making: Promise<T>): Promise<T> {
    const made = new AbortController()
    const pings = (async () => {
      for (;;) {
        await this.#options.clock.sleep(limits.heartbeatMs, made.signal)
        if (made.signal.aborted) return
        await this.#wire.send(encodeMessage({ type: 'ping' }))
      }
    })()
    try {
      // Pings end early only when the wire has: then nobody waits for the snapshot any more.
      const early = pings.then(() => making)
      return await Promise.race([making, early])
    } finally {
      made.abort()
    }
  }

  async #sendStored(after: Position): Promise<void> {
    const { log } = this.#options
    const head = log.head().position
    const commits = compare(after, head) < 0 ? await log.read(after, limits.partBytes) : []
    const shown = commits.filter(({ position }) => mayShow(position, head))
    if (shown.length > 0 ? shown[0]!.position.seq !== after.seq + 1 : after.seq < head.seq) {
      this.#handle({ kind: 'purged' })
      return
    }
    await this.#send(shown, after)
  }

  async #send(commits: readonly LoggedCommit[], after?: Position): Promise<void> {
    if (commits.length > 0) this.#sentAt = this.#options.clock.monotonic()
    for (const commit of commits) {
      for (let part = 0; part < commit.parts.length; part++) await this.#wire.send(encodedOnce(commit, part))
    }
    const position = commits.at(-1)?.position ?? after
    if (position !== undefined)
      this.#handle({ kind: 'sent', position, head: this.#options.log.head().position })
  }
}
