// Objects that are taken in with one bearer: one that is put out serves no more and is gone round, until it is taken in again.
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '#shared/node/clock.ts'
import { edgeNode } from '../support/edge.ts'
import { type JoiningMachine, servingMachine } from '../support/joining.ts'
import { type Client, freePorts, type NodeProcess } from '../support/nodes.ts'

const names = ['edge-weur-1', 'edge-enam-1']
const [near, far] = names as [string, string]

let machine: JoiningMachine
let admin: Client
let port: number
let directory: string
let node: NodeProcess | undefined
beforeAll(async () => {
  ;[machine, admin] = await servingMachine('held')
  port = (await freePorts(1))[0]!
  directory = join(machine.directory, 'edge')
  mkdirSync(directory)
})
afterAll(async () => {
  await node?.kill()
  await machine?.stop()
})

/** What `holdfast seed` prints, done: the bearer becomes a secret of the Worker, which is not started yet. */
async function deployed(): Promise<NodeProcess> {
  const { out } = await machine.run(['seed', 'follower', '--edge', 'edge', '--regions', 'weur=1,enam=1'])
  const vars = [...out.matchAll(/--var '?(\w+):([^' ]+)/g)].map(([, name, value]) => [name!, value!])
  return edgeNode({
    directory,
    port,
    vars: Object.fromEntries(vars.map(([name, value]) => [name!, value!.trim()])),
    secrets: {
      HOLDFAST_BEARER: /printf '%s' (\S+) \|/.exec(out)![1]!,
      HOLDFAST_DATA_KEY: readFileSync(join(machine.directory, 'data.key'), 'utf8').trim(),
    },
  })
}

async function started(made: NodeProcess): Promise<void> {
  await node?.kill()
  node = made
  node.start()
  await node.answered()
}

const read = async (name?: string): Promise<string> => {
  const headers = name === undefined ? {} : { 'Holdfast-Follower': name }
  const got = await admin.at(node!.url).getSecret('pw', headers)
  return `${got.status} ${await got.text()}`
}

const says = async (name: string, words: string): Promise<void> => {
  while (!(await read(name)).includes(words)) await systemClock.sleep(20)
}

test('one that is put out says so when it is named, and nobody else meets it', async () => {
  await started(await deployed())
  for (const name of names) await says(name, 'held')
  expect((await machine.run(['ca', 'revoke', near])).code).toBe(0)
  await says(near, 'not to serve any more')
  expect(await read()).toBe('200 held')
  await started(node!)
  expect(await read(near)).toMatch(/^503 .*is revoked/)
  expect(await read()).toBe('200 held')
})

test('with another bearer it serves nothing until a Leader has let it in', async () => {
  const again = await deployed()
  await machine.leader.kill()
  await started(again)
  expect(await read(near)).toMatch(/^503 .*is revoked/)
  expect(await read(far)).toBe('200 held')
  machine.leader.start()
  await machine.leader.ready()
  await says(near, 'held')
})
