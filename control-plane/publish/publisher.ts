// Commits to Followers. A commit is encoded once, in the log; every Follower takes it at its own pace, and one
// that is slow reads from the stored log again and slows nobody.
import { limits } from '#shared/base/limits.ts'
import type { Clock } from '#shared/base/time.ts'
import { compare, format, type Position, zero } from '#shared/ledger/position.ts'
import {
  decodeToLeader,
  encodeMessage,
  encodePart,
  type Hello,
  type ToLeader,
} from '#shared/replication/messages.ts'
import { after, emptyQueue, greet, type LiveQueue, offer } from '#shared/replication/upstream.ts'
import type { Wire } from '#shared/replication/wire.ts'
import type { ChangeLog, LoggedCommit } from '../ledger/change-log.ts'
import { mayShow } from './release.ts'
import type { Snapshots } from './snapshots.ts'

export type FollowerIdentity = { readonly name: string; readonly set: string }

export type FollowerStatus = {
  readonly name: string
  readonly set: string
  readonly position: string
  readonly lag_changes: number
  readonly age_ms: number
  readonly last_ack: string
  readonly connected: boolean
}

export type Publisher = {
  /** Feeds one Follower until its wire ends. */
  attach(identity: FollowerIdentity, wire: Wire): Promise<void>
  followers(): FollowerStatus[]
  close(): void
}

export type PublisherOptions = {
  readonly log: ChangeLog
  readonly snapshots: Snapshots
  readonly clock: Clock
  readonly leaderUrl: string | undefined
  /** Makes sure that all nodes believe the Follower's tokens. */
  readonly registerKeys: (follower: string, keys: Hello['keys']) => Promise<void>
  readonly report: (message: string) => void
}

class Session {
  readonly identity: FollowerIdentity
  readonly wire: Wire
  readonly incarnation: number
  queue: LiveQueue<LoggedCommit> = emptyQueue
  sent: Position = zero
  acknowledged: Position = zero
  lastAckAt: number
  #wake: (() => void) | undefined
  closed = false

  constructor(identity: FollowerIdentity, wire: Wire, incarnation: number, now: number) {
    this.identity = identity
    this.wire = wire
    this.incarnation = incarnation
    this.lastAckAt = now
  }

  wake(): void {
    this.#wake?.()
  }

  /** Resolves at the next commit or when the session is closed. */
  something(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  close(reason: string): void {
    this.closed = true
    this.wire.close(reason)
    this.wake()
  }
}

export function createPublisher(options: PublisherOptions): Publisher {
  const { log, clock } = options
  const sessions = new Map<string, Session>()
  const stop = log.subscribe((commit) => {
    if (!mayShow(commit.position, log.head().position)) return
    for (const session of sessions.values()) {
      session.queue = offer(session.queue, commit, limits.subscriberBacklogBytes)
      session.wake()
    }
  })

  async function attach(identity: FollowerIdentity, wire: Wire): Promise<void> {
    const messages = wire.messages()[Symbol.asyncIterator]()
    const first = await messages.next()
    if (first.done) return
    const hello = decodeToLeader(first.value)
    if (hello.type !== 'hello') return wire.close('a session begins with hello')
    const session = await welcome(identity, wire, hello)
    if (session === undefined) return
    try {
      await Promise.race([feed(session), listen(session, messages)])
    } finally {
      session.close('the session has ended')
      if (sessions.get(identity.name) === session) sessions.delete(identity.name)
    }
  }

  async function welcome(identity: FollowerIdentity, wire: Wire, hello: Hello): Promise<Session | undefined> {
    const other = sessions.get(identity.name)
    const greeting = greet(hello, {
      head: log.head().position,
      floor: log.floor(),
      hashAtHeld: hello.held === null ? undefined : await log.hashAt(hello.held.position),
      otherIncarnation: other?.incarnation,
    })
    if (greeting.kind === 'refuse') {
      await wire.send(encodeMessage({ type: 'error', code: greeting.code, message: greeting.message }))
      options.report(`Follower ${identity.name} was refused: ${greeting.code}, ${greeting.message}`)
      wire.close(greeting.code)
      return undefined
    }
    if (other !== undefined) await supersede(other, hello.incarnation)
    await options.registerKeys(identity.name, hello.keys)
    const session = new Session(identity, wire, hello.incarnation, clock.wall())
    const reason = greeting.kind === 'snapshot' ? greeting.reason : null
    const position = log.head().position
    await wire.send(
      encodeMessage({
        type: 'welcome',
        position,
        mode: greeting.kind,
        reason,
        leaderUrl: options.leaderUrl ?? null,
      }),
    )
    session.sent = greeting.kind === 'live' ? greeting.from : await sendSnapshot(session, hello)
    sessions.set(identity.name, session)
    options.report(
      `Follower ${identity.name} follows from ${format(session.sent)}${reason ? ` after a snapshot: ${reason}` : ''}`,
    )
    return session
  }

  async function supersede(session: Session, incarnation: number): Promise<void> {
    if (session.incarnation !== incarnation) {
      const message = 'a newer process of this Follower has connected'
      await session.wire
        .send(encodeMessage({ type: 'error', code: 'SUPERSEDED', message }))
        .catch(() => undefined)
    }
    session.close('superseded')
  }

  async function sendSnapshot(session: Session, hello: Hello): Promise<Position> {
    const header = await options.snapshots.current()
    await session.wire.send(encodeMessage({ type: 'snapshot', header }))
    const from = hello.staged?.id === header.id ? hello.staged.nextChunk : 0
    for await (const message of options.snapshots.chunks(header, from)) await session.wire.send(message)
    return header.position
  }

  /** Sends what comes after `sent`: live commits when they continue there, otherwise the stored log. */
  async function feed(session: Session): Promise<void> {
    while (!session.closed) {
      const next = session.something()
      const live = after(session.queue, session.sent)
      const behind = compare(session.sent, log.head().position) < 0
      const commits = live ?? (behind ? await log.read(session.sent, limits.partBytes) : [])
      if (live !== undefined) session.queue = emptyQueue
      if (commits.length === 0) await next
      for (const commit of commits) {
        for (let part = 0; part < commit.parts.length; part++)
          await session.wire.send(encodePart(commit, part))
        session.sent = commit.position
      }
    }
  }

  async function listen(session: Session, messages: AsyncIterator<Uint8Array>): Promise<void> {
    for (;;) {
      const next = await messages.next()
      if (next.done) return
      take(session, decodeToLeader(next.value))
    }
  }

  function take(session: Session, message: ToLeader): void {
    if (message.type === 'ack') {
      session.acknowledged = message.position
      session.lastAckAt = clock.wall()
    } else if (message.type === 'error') {
      options.report(`Follower ${session.identity.name} reports ${message.code}: ${message.message}`)
    }
  }

  return {
    attach,
    followers: () =>
      [...sessions.values()].map((session) => ({
        name: session.identity.name,
        set: session.identity.set,
        position: format(session.acknowledged),
        lag_changes: log.head().position.seq - session.acknowledged.seq,
        age_ms: clock.wall() - session.lastAckAt,
        last_ack: new Date(session.lastAckAt).toISOString(),
        connected: !session.closed,
      })),
    close() {
      stop()
      for (const session of sessions.values()) session.close('the Leader is stopping')
    },
  }
}
