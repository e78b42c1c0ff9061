// The ways in which a link is carried, and who dials: the same cases run over each.
import { createDialler } from '#control-plane/publish/dialler.ts'
import { createDial } from '#edge-follower/node/dial.ts'
import type { Clock } from '#shared/base/time.ts'
import { systemClock } from '#shared/node/clock.ts'
import { dialWebSocket } from '#shared/node/websocket-wire.ts'
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

export type Way = { readonly name: string; readonly begin: (leader: PublishingLeader) => Promise<LinkWay> }

const SILENCE_MS = 15_000
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
/** Pauses take one turn of the event loop. */
const hasty: Clock = { ...systemClock, sleep: tick }

export const ways: readonly Way[] = [
  {
    name: 'a socket that the Follower dials',
    begin: (leader) =>
      byFollower(leader, (url) => (name, bearer) => createDial({ leaderUrl: url, name, bearer })),
  },
  {
    name: 'a WebSocket that the Follower dials',
    begin: (leader) => byFollower(leader, webSocketDial),
  },
  { name: 'a WebSocket that the Leader dials', begin: byLeader },
]

/** As a Worker dials. */
export const webSocketDial =
  (url: string) =>
  (name: string, bearer: string): Dial =>
  (path, signal) =>
    dialWebSocket(
      new URL(path, url),
      { headers: { Authorization: `Bearer ${name}.${bearer}` }, silenceMs: SILENCE_MS },
      signal,
    )

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

/** The Follower's dial waits until the Leader has come. */
async function byLeader(leader: PublishingLeader): Promise<LinkWay> {
  const door = await edgeDoor((name, bearer) => bearers[name as keyof typeof bearers] === bearer)
  const proxy = await cutProxy(door.port, 'target')
  const reports: string[] = []
  const diallerOf = (report: (message: string) => void) =>
    createDialler({
      onStream: leader.streams.onStream,
      // This Leader takes no audit.
      onAudit: leader.streams.onAudit,
      clock: hasty,
      random: Math.random,
      ca: undefined,
      report,
    })
  const dialler = diallerOf((message) => void reports.push(message))
  dialler.dial(
    Object.entries(bearers).map(([name, bearer]) => ({
      key: name,
      identity: { name, set: 'full' },
      url: proxy.url,
      bearer: () => bearer,
    })),
  )
  return {
    proxy,
    dial: (name) => door.dial(name),
    async refused(name, bearer) {
      const said = Promise.withResolvers<string>()
      const wrong = diallerOf(said.resolve)
      wrong.dial([{ key: name, identity: { name, set: 'full' }, url: proxy.url, bearer: () => bearer }])
      const message = await said.promise
      await wrong.close()
      return message
    },
    async close() {
      await dialler.close()
      await door.close()
      await proxy.close()
    },
  }
}
