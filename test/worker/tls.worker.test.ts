// What is at stake: a Leader that dials shows a bearer, so it first looks whom it has reached. Before workerd stands what ends TLS
// in front of a Worker: with a certificate that is right, one of another authority, and one for another name.
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createConnection } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '#shared/node/clock.ts'
import { testAuthority } from '../support/certificates.ts'
import { Client, type Env, NodeProcess, type OneMachine, oneMachine } from '../support/nodes.ts'

type Terminator = {
  readonly port: number
  /** Bytes that have come to it under TLS. */
  readonly heard: () => number
  close(): Promise<void>
}

async function terminator(
  { cert, key }: { readonly cert: string; readonly key: string },
  targetPort: number,
): Promise<Terminator> {
  let heard = 0
  const open = new Set<() => void>()
  const server = createServer({ cert, key }, (client) => {
    const target = createConnection(targetPort, '127.0.0.1')
    const end = (): void => {
      open.delete(end)
      client.destroy()
      target.destroy()
    }
    open.add(end)
    for (const socket of [client, target]) socket.on('error', end).on('close', end)
    client.on('data', (bytes) => {
      heard += bytes.length
    })
    client.pipe(target).pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    heard: () => heard,
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const end of open) end()
      await closed
    },
  }
}

let machine: OneMachine
let leader: NodeProcess | undefined
const doors = new Map<string, Terminator>()

/** The same Leader, told anew whom to dial. */
async function led(more: Env): Promise<NodeProcess> {
  await leader?.kill('SIGTERM')
  const bearer = join(machine.directory, 'edge-1.bearer')
  const edges = [...doors].map(([name, { port }]) => `${name}=https://localhost:${port}#${bearer}`)
  const env = { ...machine.leader.env, HOLDFAST_EDGE_FOLLOWERS: edges.join(), ...more }
  leader = new NodeProcess(['leader'], env, Number(new URL(machine.leader.url).port))
  leader.start()
  await leader.ready()
  return leader
}

/** What the log says of the links to this Follower, when it says something. */
async function told(name: string): Promise<string> {
  for (;;) {
    const lines = leader!.log.split('\n').filter((line) => line.includes(`link to ${name}:`))
    if (lines.length > 0) return lines.join('\n')
    await systemClock.sleep(20)
  }
}

beforeAll(async () => {
  machine = await oneMachine({ edgeLink: 'leader' })
  const port = Number(new URL(machine.follower.url).port)
  const [known, other] = await Promise.all([testAuthority(), testAuthority()])
  writeFileSync(join(machine.directory, 'ca.pem'), known.ca)
  doors.set('edge-1', await terminator(await known.issue('CN=edge', 'localhost'), port))
  doors.set('edge-named', await terminator(await known.issue('CN=localhost', 'edge.example'), port))
  doors.set('edge-foreign', await terminator(await other.issue('CN=edge', 'localhost'), port))
  machine.follower.start()
  await machine.follower.answered()
})
afterAll(async () => {
  await leader?.kill('SIGTERM')
  await machine?.stop()
  await Promise.all([...doors.values()].map((door) => door.close()))
})

test('without the authority nobody is dialled, and the log says what to set', async () => {
  await led({})
  for (const [name, door] of doors) {
    expect(await told(name)).toContain('name a file that holds the right one in edge_ca_file')
    expect(door.heard()).toBe(0)
  }
})

test('with it the Worker follows', async () => {
  await led({ HOLDFAST_EDGE_CA_FILE: join(machine.directory, 'ca.pem') })
  const admin = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
  await admin.loadPolicy('root', '- !variable pw')
  const written = await admin.setSecret('pw', 'through TLS')
  await machine.follower.ready()
  const read = await admin.at(machine.follower.url).getSecret('pw', {
    'Holdfast-Min-Position': written.headers.get('holdfast-position')!,
    'Holdfast-Inconsistent': 'wait',
  })
  expect([read.status, await read.text()]).toEqual([200, 'through TLS'])
  expect(leader!.log).not.toContain('link to edge-1')
})

test.each([
  ['edge-named', 'dial it by a name that its certificate holds'],
  ['edge-foreign', 'no authority that is known here has signed its certificate'],
])('%s is not believed, and hears nothing', async (name, why) => {
  expect(await told(name)).toContain(why)
  expect(doors.get(name)!.heard()).toBe(0)
  const bearer = readFileSync(join(machine.directory, 'edge-1.bearer'), 'utf8').trim()
  expect(leader!.log).not.toContain(bearer)
})
