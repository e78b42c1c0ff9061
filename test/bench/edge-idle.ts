// What an idle Follower at the edge costs per hour, for each way in which its links are dialled: bytes of both links in both
// directions, without TLS, and how often its object is woken. Messages that come together wake it once; pings never do.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { edgeDoor } from '../support/edge-door.ts'
import { edgeFollower } from '../support/edge-follower.ts'
import { joiningMachine } from '../support/joining.ts'
import { webSocketDial } from '../support/link-ways.ts'
import { type Figure, figure } from './measure.ts'

const BEARER = 'a-bearer-of-an-idle-follower-012345'
/** Header, mask and nothing else. */
const PING_BYTES = 6
/** What comes within this is one event for an object. */
const TOGETHER_MS = 100

type Counted = { toFollower: number; toLeader: number; wakes: number; wokenAt: number }

/** A connection in the middle; the Follower is at its target, or it is who connects. */
async function counting(
  targetPort: number,
  follower: 'target' | 'client',
  counted: Counted,
): Promise<number> {
  const server = createServer((client) => {
    const target = createConnection(targetPort, '127.0.0.1')
    const [leaderEnd, followerEnd] = follower === 'target' ? [client, target] : [target, client]
    leaderEnd.on('data', (bytes: Buffer) => {
      counted.toFollower += bytes.length
      if (bytes.length <= PING_BYTES) return
      const now = performance.now()
      if (now - counted.wokenAt > TOGETHER_MS) counted.wakes++
      counted.wokenAt = now
    })
    followerEnd.on('data', (bytes: Buffer) => {
      counted.toLeader += bytes.length
    })
    client.pipe(target).on('error', () => client.destroy())
    target.pipe(client).on('error', () => target.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  server.unref()
  return (server.address() as AddressInfo).port
}

async function idle(dialledBy: 'leader' | 'object', heartbeat: number): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-idle-'))
  const bearerFile = join(folder, 'bearer')
  writeFileSync(bearerFile, BEARER, { mode: 0o600 })
  const counted: Counted = { toFollower: 0, toLeader: 0, wakes: 0, wokenAt: 0 }
  const door = await edgeDoor(() => true)
  const doorPort = await counting(door.port, 'target', counted)
  const machine = await joiningMachine(
    dialledBy === 'leader'
      ? {
          HOLDFAST_EDGE_FOLLOWERS: `edge-1=http://127.0.0.1:${doorPort}#${bearerFile}`,
          HOLDFAST_EDGE_HEARTBEAT: String(heartbeat),
        }
      : { HOLDFAST_FOLLOWERS: `edge-1=${bearerFile}` },
  )
  machine.leader.start()
  await machine.leader.ready()
  const leaderPort = await counting(Number(new URL(machine.leader.url).port), 'client', counted)
  const dial =
    dialledBy === 'leader'
      ? door.dial('edge-1')
      : webSocketDial(`http://127.0.0.1:${leaderPort}`)('edge-1', BEARER)
  const edge = edgeFollower(folder, 'edge-1', dial, dialledBy === 'leader')
  while (edge.statuses.at(-1)?.state !== 'live') await new Promise((resolve) => setTimeout(resolve, 50))
  // Whole heartbeats, so that the figures of an hour are theirs.
  const seconds = heartbeat * Math.max(2, Math.ceil(30 / heartbeat))
  await new Promise((resolve) => setTimeout(resolve, 5_000))
  const before = { ...counted }
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000))
  const hour = 3_600 / seconds
  const name = `idle edge, ${dialledBy} dials, heartbeat ${heartbeat} s`
  const figures = [
    figure(`${name}: to the Follower`, 'kB/h', [((counted.toFollower - before.toFollower) * hour) / 1000]),
    figure(`${name}: to the Leader`, 'kB/h', [((counted.toLeader - before.toLeader) * hour) / 1000]),
    figure(`${name}: wake-ups`, '/h', [(counted.wakes - before.wakes) * hour]),
  ]
  await edge.stop()
  await machine.stop()
  await door.close()
  rmSync(folder, { recursive: true, force: true })
  return figures
}

export async function edgeIdle(): Promise<Figure[]> {
  const runs = [idle('object', 1), idle('leader', 1), idle('leader', 5), idle('leader', 60)]
  return (await Promise.all(runs)).flat()
}
