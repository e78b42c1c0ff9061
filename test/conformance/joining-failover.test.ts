// Who has joined at one Leader belongs to the next one as well: the authority and all certificates are in the ledger.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { aboutClusterNode } from '#control-plane/about.ts'
import { loadLeaderKeys, prepareLeader } from '#control-plane/leader.ts'
import { raiseEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { readIdentity } from '#shared/node/identity.ts'
import { unpackSeed } from '#shared/node/join.ts'
import { createLog } from '#shared/node/log.ts'
import { type ControlNode, type ControlNodes, startControlNodes } from '../support/control-nodes.ts'
import { type EdgeDoor, edgeDoor } from '../support/edge-door.ts'
import { type Edge, edgeFollower } from '../support/edge-follower.ts'
import { type Ran, runCommand } from '../support/joining.ts'
import { freePorts, NodeProcess } from '../support/nodes.ts'

let cluster: ControlNodes
let follower: NodeProcess
let door: EdgeDoor
/** By the Leader that has dialled last. */
let shown = ''
let edge: Edge | undefined
let folder: string
beforeAll(async () => {
  const [port] = await freePorts(1)
  cluster = await startControlNodes(2, { url: 'https://holdfast.example', balancer: '127.0.0.9' })
  folder = mkdtempSync(join(tmpdir(), 'holdfast-edge-'))
  follower = new NodeProcess(
    ['follower'],
    {
      HOLDFAST_ACCOUNT: 'acme',
      HOLDFAST_HOST: '127.0.0.1',
      HOLDFAST_PORT: String(port),
      HOLDFAST_DATA_DIR: folder,
      HOLDFAST_DATA_KEY_FILE: cluster.dataKeyFile,
    },
    port!,
  )
  door = await edgeDoor((_name, bearer) => {
    shown = bearer
    return true
  })
})
afterAll(async () => {
  await follower?.kill()
  await edge?.stop()
  await cluster?.close()
  await door?.close()
  rmSync(folder, { recursive: true, force: true })
})

const at = (node: ControlNode, ...args: readonly string[]): Promise<Ran> =>
  runCommand(args, '', {
    HOLDFAST_URL: `https://127.0.0.1:${node.port}`,
    HOLDFAST_ACCOUNT: 'acme',
    HOLDFAST_API_KEY_FILE: join(node.folder, 'admin.key'),
    NODE_EXTRA_CA_CERTS: cluster.caFile,
  })

type Shown = { readonly replication: { readonly connected: boolean; readonly epoch: number } }

/** Resolves when the Follower is fed by the Leader of this epoch. */
async function follows(epoch: number): Promise<void> {
  for (;;) {
    const { replication } = (await (await fetch(`${follower.url}/health`)).json()) as Shown
    if (replication.connected && replication.epoch === epoch) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

test('who is about to lead is seen by nobody until it does', async () => {
  const { nodes, main, url } = cluster
  const [{ settings, nodePort }] = nodes as [ControlNode]
  await main.transaction((session) => raiseEpoch(session, 1, settings.name, Date.now()))
  const log = createLog(settings.name, 'error')
  const keys = await loadLeaderKeys(settings, log)
  const open = await prepareLeader({
    writesUrl: true,
    settings,
    keys,
    databaseUrl: url,
    epoch: 1,
    about: aboutClusterNode(settings, keys.tls),
    renewsIdentity: true,
    cluster: undefined,
    log,
  })
  const asked = (): Promise<string> =>
    fetch(`https://127.0.0.1:${nodePort}/`).then(
      () => 'answered',
      ({ cause }) => cause.code,
    )
  expect(await asked()).toBe('ECONNREFUSED')
  const leader = await open()
  expect(await asked()).not.toBe('ECONNREFUSED')
  await leader.endStreams()
  await leader.close()
})

/** Resolves when the Follower that is dialled has something of this epoch. */
async function isFed(epoch: number): Promise<void> {
  while (edge?.held()?.epoch !== epoch) await new Promise((resolve) => setTimeout(resolve, 50))
}

test('Followers that joined at one Leader go on at the next one, also who is dialled', async () => {
  const [first, second] = cluster.nodes as [ControlNode, ControlNode]
  await first.lead(1)
  const { out: seed } = await at(first, 'seed', 'follower', 'edge-1')
  await unpackSeed(seed, folder, Date.now())
  follower.start()
  await follower.ready()
  const dialled = ['seed', 'follower', '--edge', 'edge-2', '--dial', `http://127.0.0.1:${door.port}`]
  const bearer = /printf '%s' (\S+) \|/.exec((await at(first, ...dialled)).out)![1]
  edge = edgeFollower(folder, 'edge-2', door.dial('edge-2'))
  await Promise.all([follows(1), isFed(1)])

  await first.kill()
  shown = ''
  await second.lead(2)
  await Promise.all([follows(2), isFed(2)])
  expect(shown).toBe(bearer)

  const { clusterId } = (await readIdentity(folder))!.membership
  const own = (await readIdentity(second.folder))!
  expect(own.presented.name).toEqual({ clusterId, roleClass: 'control', node: 'node-2' })
  const { out } = await at(second, 'ca', 'list')
  for (const node of ['standby node-1', 'standby node-2', 'follower edge-1', 'follower edge-2'])
    expect(out).toContain(node)
  for (const name of ['edge-1', 'edge-2'])
    expect(await at(second, 'ca', 'revoke', name)).toMatchObject({ code: 0 })
  expect(await follower.ended()).toBe(1)
  expect(await edge.ended).toMatchObject({ why: 'revoked' })
})
