// The Follower's side of the change stream: what the Leader sends becomes the local copy.
import { type Clock, type Wall, wall } from '#shared/base/time.ts'
import { type Change, fromWire } from '#shared/ledger/change.ts'
import { format, type Position } from '#shared/ledger/position.ts'
import {
  decodeToFollower,
  encodeMessage,
  type Hello,
  PROTOCOL,
  type StreamErrorCode,
  type ToFollower,
} from '#shared/replication/messages.ts'
import type { Dial, Wire } from '#shared/replication/wire.ts'
import { HashMismatch, type ReplicaStore } from '../store/replica.ts'
import { backoffMs } from './backoff.ts'
import { unpackRows } from './unpack.ts'

export type LinkStatus = {
  readonly state: 'connecting' | 'snapshot' | 'live' | 'superseded'
  readonly leaderUrl: string | undefined
  readonly lastError: string | undefined
}

export type LinkOptions = {
  readonly store: ReplicaStore
  readonly dial: Dial
  readonly clock: Clock
  readonly random: () => number
  readonly incarnation: number
  readonly keys: Hello['keys']
  /** Bounded by `limits`; the runtime's own. */
  readonly gunzip: (packed: Uint8Array) => Uint8Array
  readonly onApplied: (position: Position) => void
  readonly onStatus: (status: LinkStatus) => void
  readonly report: (message: string) => void
}

class StreamError extends Error {
  readonly code: StreamErrorCode
  constructor(code: StreamErrorCode, message: string) {
    super(`${code}: ${message}`)
    this.code = code
  }
}

/** Runs until the signal is aborted or a newer process of this Follower has taken its place. */
export async function follow(options: LinkOptions, signal: AbortSignal): Promise<void> {
  const link = new Link(options)
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
      if (error instanceof StreamError && error.code === 'SUPERSEDED') {
        link.status({ state: 'superseded' })
        return
      }
    }
    wire?.close()
    await options.clock.sleep(backoffMs(failures++, options.random()), signal)
  }
}

/** Parts of a commit that is not complete yet. */
type Pending = { readonly position: Position; readonly changes: Change[]; parts: number }

class Link {
  readonly #options: LinkOptions
  #status: LinkStatus = { state: 'connecting', leaderUrl: undefined, lastError: undefined }
  #pending: Pending | undefined
  #chunksLeft = 0
  /** The copy is not what the Leader has: the next session asks for a snapshot, while this one goes on serving. */
  #distrusted = false

  constructor(options: LinkOptions) {
    this.#options = options
  }

  status(change: Partial<LinkStatus>): void {
    this.#status = { ...this.#status, ...change }
    this.#options.onStatus(this.#status)
  }

  async session(wire: Wire, signal: AbortSignal, onWelcome: () => void): Promise<void> {
    const onAbort = (): void => wire.close()
    signal.addEventListener('abort', onAbort, { once: true })
    this.#pending = undefined
    try {
      await wire.send(encodeMessage(this.#hello()))
      for await (const frame of wire.messages()) {
        const message = decodeToFollower(frame)
        if (message.type === 'welcome') onWelcome()
        const applied = this.#take(message)
        if (applied === undefined) continue
        this.#options.onApplied(applied)
        await wire.send(encodeMessage({ type: 'ack', position: applied }))
      }
    } catch (error) {
      if (error instanceof HashMismatch) {
        this.#distrusted = true
        const message = error.message
        await wire
          .send(encodeMessage({ type: 'error', code: 'HASH_MISMATCH', message }))
          .catch(() => undefined)
      }
      throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  #hello(): Hello {
    const { store, incarnation, keys } = this.#options
    const held = this.#distrusted ? null : (store.held() ?? null)
    return {
      type: 'hello',
      protocol: PROTOCOL,
      incarnation,
      set: 'full',
      held,
      staged: store.staged() ?? null,
      keys: [...keys],
    }
  }

  /** The position that became durable here, if the message completed one. */
  #take(message: ToFollower): Position | undefined {
    switch (message.type) {
      case 'welcome':
        return this.#welcome(message)
      case 'snapshot': {
        const { staged, store } = { staged: this.#options.store.staged(), store: this.#options.store }
        if (staged?.id !== message.header.id) store.stageBegin(message.header)
        this.#chunksLeft = message.header.chunks - (staged?.id === message.header.id ? staged.nextChunk : 0)
        return this.#chunksLeft === 0 ? this.#finish() : undefined
      }
      case 'chunk': {
        const { table, rows } = unpackRows(message.rows, this.#options.gunzip)
        this.#options.store.stageChunk(message.chunk, table, rows)
        return --this.#chunksLeft === 0 ? this.#finish() : undefined
      }
      case 'commit':
        return this.#commit(message)
      case 'error':
        throw new StreamError(message.code, message.message)
    }
  }

  #welcome(message: Extract<ToFollower, { type: 'welcome' }>): undefined {
    this.status({
      state: message.mode === 'live' ? 'live' : 'snapshot',
      leaderUrl: message.leaderUrl ?? this.#status.leaderUrl,
      lastError: undefined,
    })
    const { store } = this.#options
    // Live goes on from what is held: a snapshot that was begun is of no use any more.
    if (message.mode === 'live' && store.staged() !== undefined) store.stageDrop()
    if (message.reason !== null) this.#options.report(`a snapshot is taken: ${message.reason}`)
  }

  #finish(): Position {
    const { position } = this.#options.store.stageFinish(this.#now())
    this.#distrusted = false
    this.status({ state: 'live' })
    this.#options.report(`snapshot complete at ${format(position)}`)
    return position
  }

  /** Applied when all its parts are there: one Leader transaction is one transaction here. */
  #commit(message: Extract<ToFollower, { type: 'commit' }>): Position | undefined {
    const { position, at, contentHash, part, parts } = message
    const pending = part === 0 ? { position, changes: [], parts: 0 } : this.#pending
    if (pending === undefined || pending.position.seq !== position.seq || pending.parts !== part) {
      throw new Error(`part ${part} of ${format(position)} came out of order`)
    }
    for (const change of message.changes) pending.changes.push(fromWire(change))
    pending.parts++
    this.#pending = pending
    if (pending.parts < parts) return undefined
    this.#pending = undefined
    this.#options.store.apply({ position, at, contentHash, changes: pending.changes }, this.#now())
    return position
  }

  #now(): Wall {
    return wall(this.#options.clock.wall())
  }
}
