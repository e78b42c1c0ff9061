// The ways in which a link is carried, and who dials: the same cases run over each.
import { keepLinked } from '#control-plane/publish/dialler.ts'
import { createDial } from '#edge-follower/node/dial.ts'
import { Refused, refusalIn } from '#shared/enrolment/messages.ts'
import { systemClock } from '#shared/node/clock.ts'
import { dialWebSocket, NotTaken } from '#shared/node/websocket-wire.ts'
import type { Dial } from '#shared/replication/wire.ts'
import { type CutProxy, cutProxy } from './cut-proxy.ts'
import { edgeDoor } from './edge-door.ts'
import type { PublishingLeader } from './publishing-leader.ts'

export const bearers = { 'edge-1': 'secret-1', 'edge-2': 'secret.2' }

export type LinkWay = {
  /** In the middle; cuts what goes to the Follower. */
  readonly proxy: CutProxy
  readonly dial: (name: string, bearer: string) => Dial
  /** What whoever dials is told that has no such bearer. */
  readonly refused: (name: string, bearer: string) => Promise<string>
  close(): Promise<void>
}

export type Way = {
  readonly name: string
  /** Whoever has a name is dialled once, whatever processes there are of it. */
  readonly onePerName: boolean
  readonly begin: (leader: PublishingLeader) => Promise<LinkWay>
}

const SILENCE_MS = 15_000

export const socket: Way = {
  name: 'a socket that the Follower dials',
  onePerName: false,
  begin: (leader) =>
    byFollower(leader, (url) => (name, bearer) => createDial({ leaderUrl: url, name, bearer })),
}

export const webSocket: Way = {
  name: 'a WebSocket that the Follower dials',
  onePerName: false,
  begin: (leader) => byFollower(leader, webSocketDial),
}

export const dialledByLeader: Way = {
  name: 'a WebSocket that the Leader dials',
  onePerName: true,
  begin: byLeader,
}

/** As a Worker dials. */
export const webSocketDial =
  (url: string) =>
  (name: string, bearer: string): Dial =>
  (path, signal) =>
    dialWebSocket(
      new URL(path, url),
      { headers: { Authorization: `Bearer ${name}.${bearer}` }, silenceMs: SILENCE_MS },
      signal,
    ).catch((error: unknown) => {
      const refusal = error instanceof NotTaken ? refusalIn(error.said) : undefined
      throw refusal === undefined ? error : new Refused(refusal)
    })

async function byFollower(
  leader: PublishingLeader,
  dialAt: (url: string) => (name: string, bearer: string) => Dial,
): Promise<LinkWay> {
  const proxy = await cutProxy(leader.port)
  const dial = dialAt(proxy.url)
  return {
    proxy,
    dial,
    async refused(name, bearer) {
      const never = new AbortController().signal
      const wire = dial(name, bearer)('/replication/stream', never)
      return String(await wire.catch((error: unknown) => error))
    },
    close: () => proxy.close(),
  }
}

/** The Leader dials those that have begun to wait for it, and its pauses last until they do again. */
async function byLeader(leader: PublishingLeader): Promise<LinkWay> {
  const door = await edgeDoor((name, bearer) => bearers[name as keyof typeof bearers] === bearer)
  const proxy = await cutProxy(door.port, 'target')
  const ending = new AbortController()
  const links = new Map<string, Promise<void>>()
  const link = (name: string, bearer: string, signal: AbortSignal, report: (message: string) => void) =>
    keepLinked(
      {
        clock: { ...systemClock, sleep: (_ms, until) => door.awaited(name, until) },
        random: Math.random,
        ca: undefined,
        report,
      },
      { key: name, identity: { name, set: 'full' }, url: proxy.url, bearer: () => bearer },
      '/replication/stream',
      { link: 'changes', serve: leader.streams.onStream },
      signal,
    )
  return {
    proxy,
    dial(name, bearer) {
      if (!links.has(name))
        links.set(
          name,
          link(name, bearer, ending.signal, () => undefined),
        )
      return door.dial(name)
    },
    async refused(name, bearer) {
      const said = Promise.withResolvers<string>()
      const stopping = new AbortController()
      const wrong = link(name, bearer, stopping.signal, said.resolve)
      const message = await said.promise
      stopping.abort()
      await wrong
      return message
    },
    async close() {
      ending.abort()
      await Promise.all(links.values())
      await door.close()
      await proxy.close()
    },
  }
}
