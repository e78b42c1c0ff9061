// Somebody sets the clock of a machine wrong by an hour: leases go by clocks that cannot be set (I3).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../support/nodes.ts'
import { type Cluster, type ControlNode, missing, send, startCluster, TTL_SECONDS } from './cluster.ts'
import { eventually, settled, startAll } from './settled.ts'

const without = missing()
const preload = new URL('../support/clock-jump.ts', import.meta.url).href

describe.skipIf(without !== undefined).each([
  ['ahead', 3_600_000],
  ['back', -3_600_000],
])(`a clock that is set an hour %s${without ? ` (${without})` : ''}`, (_, jump) => {
  let cluster: Cluster

  beforeAll(async () => {
    cluster = await startCluster({
      followers: 1,
      env: { NODE_OPTIONS: `--import=${preload}`, HOLDFAST_TEST_JUMP_MS: String(jump) },
    })
    await startAll(cluster)
  }, 120_000)
  afterAll(() => cluster?.close(), 60_000)

  const jumps = (node: ControlNode): void => {
    for (const part of ['supervisor', 'api', 'watchdog'] as const) send(node.pidOf(part)!, 'SIGUSR2')
  }
  const admin = (url: string) => new Client(url, cluster.account).login('admin', cluster.adminKey())

  test.each(['a Standby', 'the Leader'])(
    'of %s: nobody fails over, and writes go on',
    async (who) => {
      const { leader, sync } = await settled(cluster)
      const { epoch } = (await cluster.healthOf(leader))!.cluster
      const id = `set-${who.replace(/\W/g, '-')}`
      const before = await admin(cluster.url)
      expect((await before.loadPolicy('root', `- !variable ${id}`)).status).toBe(201)
      jumps(who === 'the Leader' ? leader : sync)
      // What was issued an hour ago is over, as the Leader sees it now.
      const isOver = who === 'the Leader' && jump > 0
      expect((await before.setSecret(id, '0')).status).toBe(isOver ? 401 : 201)
      // Longer than a lease lives: whoever was confused by it would have acted.
      const over = performance.now() + 2 * TTL_SECONDS * 1_000
      for (let n = 1; performance.now() < over; n++) {
        // A token has its times in it: whoever asks as before takes a new one.
        const client = await admin(cluster.url)
        expect((await client.setSecret(id, String(n))).status).toBe(201)
      }
      const after = await settled(cluster)
      expect(after.leader.name).toBe(leader.name)
      expect((await cluster.healthOf(leader))!.cluster.epoch).toBe(epoch)
      const [follower] = cluster.followers
      const written = await (await (await admin(cluster.url)).getSecret(id)).text()
      await eventually(
        'the Follower has it',
        async () => (await (await admin(follower!.url)).getSecret(id)).text(),
        (read) => read === written,
      )
    },
    120_000,
  )
})
