// Certificates that live for seconds: nodes renew them by themselves, nobody starts anything again, and the links go on.
import type { X509Certificate } from 'node:crypto'
import { connect } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readIdentity } from '#shared/node/identity.ts'
import { type Joiner, type JoiningMachine, joiningMachine } from '../support/joining.ts'
import type { Client } from '../support/nodes.ts'

let machine: JoiningMachine
let admin: Client
let edge: Joiner
beforeAll(async () => {
  machine = await joiningMachine({ HOLDFAST_NODE_CERTIFICATE_LIFE: '9' })
  machine.leader.start()
  await machine.leader.ready()
  admin = await machine.admin()
  await admin.loadPolicy('root', '- !variable pw')
  await admin.setSecret('pw', 'one')
  edge = await machine.follower('edge-1')
  await machine.run(
    ['unpack', 'seed', '-', '--data-dir', edge.folder],
    await machine.seed('follower', 'edge-1'),
  )
  edge.node.start()
  await edge.node.ready()
})
afterAll(() => machine?.stop())

/** Serial of what the Leader's node port shows. */
function shownSerial(): Promise<string> {
  const [host, port] = machine.nodeAddress.split(':')
  return new Promise((resolve, reject) => {
    const socket = connect({ host: host!, port: Number(port), rejectUnauthorized: false }, () => {
      const certificate: X509Certificate | undefined = socket.getPeerX509Certificate()
      socket.destroy()
      resolve(certificate?.serialNumber ?? '')
    })
    socket.on('error', reject)
  })
}

const until = async (check: () => Promise<boolean>): Promise<void> => {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 50))
}

test('of a Follower and of the Leader, more than once, and the stream goes on behind them', async () => {
  const serialOf = async (folder: string) => (await readIdentity(folder))!.presented.serial
  const first = { edge: await serialOf(edge.folder), leader: await serialOf(machine.leaderFolder) }
  const firstShown = await shownSerial()
  const seen = new Set<string>()
  await until(async () => {
    seen.add(await serialOf(edge.folder))
    return seen.size >= 4
  })
  expect(await serialOf(machine.leaderFolder)).not.toBe(first.leader)
  await until(async () => (await shownSerial()) !== firstShown)
  // By now the certificate that the stream began with has run out.
  expect(seen.has(first.edge)).toBe(true)
  await admin.setSecret('pw', 'two')
  await until(async () => {
    const answer = await admin.at(edge.node.url).getSecret('pw')
    return (await answer.text()) === 'two'
  })
  expect(edge.node.log).not.toContain('not renewed')
  const listed = await machine.run(['ca', 'list'])
  expect(listed.out).toMatch(/ {2}replaced {2}| {2}expired {2}/)
})
