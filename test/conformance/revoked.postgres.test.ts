// A Standby that is put out takes no log any more: not on the connection that it has, and not on another one.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { heedRevocations } from '#control-plane/enrolment/revoked.ts'
import { connect, type Database } from '#control-plane/ledger/connection.ts'
import { findBinaries } from '#control-plane/postgres/binaries.ts'
import { createHands } from '#control-plane/postgres/hands.ts'
import { callPeer, type NodeTls } from '#control-plane/postgres/peer.ts'
import type { RoleClass } from '#shared/enrolment/names.ts'
import {
  type Authority,
  type IssuedCertificate,
  makeAuthority,
  requestCertificate,
  signForNode,
  signRevocations,
} from '#shared/node/certificates.ts'
import { bootClock, systemClock } from '#shared/node/clock.ts'
import { freePorts } from '../support/nodes.ts'

const clusterId = 'ab'.repeat(16)
const now = Date.now()
const stopping = new AbortController()
let folder: string
let authority: Authority
let address: { readonly host: string; readonly port: number }
let hands: ReturnType<typeof createHands>
let main: Database
let heeding: Promise<void>

type Node = NodeTls & { readonly issued: IssuedCertificate }

async function node(name: string, roleClass: RoleClass): Promise<Node> {
  const { key, csr } = await requestCertificate(name)
  const order = { csr, name: { clusterId, roleClass, node: name }, hosts: ['127.0.0.1'], lifeMs: 3_600_000 }
  const issued = await signForNode(authority, order, now)
  return { ca: authority.certificate, cert: issued.certificate, key, issued }
}

const asks = ({ ca, cert, key }: Node) =>
  callPeer(address, { ca, cert, key }, 'x', new AbortController().signal)

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-revoked-'))
  authority = await makeAuthority(clusterId, now)
  const [port] = await freePorts(1)
  address = { host: '127.0.0.1', port: port! }
  const { ca, cert, key } = await node('node-1', 'control')
  hands = createHands({
    node: 'node-1',
    dataDirectory: folder,
    binaries: await findBinaries(process.env.PGBIN),
    address,
    addressOf: () => address,
    tls: { ca, cert, key },
    clock: bootClock,
    log: () => undefined,
    durable: false,
  })
  await hands.start()
  await hands.promote(0)
  await hands.raiseEpoch(1)
  await hands.setSync([])
  main = connect(hands.url('main'), 1)
  await main.query('INSERT INTO node_authorities VALUES ($1, $2, $3, $4, $5, $6)', [
    ...['00', clusterId, authority.certificate, Buffer.from('sealed'), now],
    await signRevocations(authority, [], now),
  ])
  const apply = (crl: string): Promise<void> => hands.renew({ ca, cert, key, crl })
  const report = (): void => undefined
  heeding = heedRevocations(
    { url: () => hands.url('main'), apply, clock: systemClock, report },
    stopping.signal,
  )
})
afterAll(async () => {
  stopping.abort()
  await heeding
  await main?.close()
  await hands?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** As the office does: in one transaction. */
async function revoke({ issued: { serial } }: Node): Promise<void> {
  const list = await signRevocations(authority, [{ serial, at: now }], now)
  await main.transaction(async (session) => {
    await session.query(
      "INSERT INTO node_certificates VALUES ($1, 'x', 'control', 'k', 'c', $2, $3, NULL, $2, 'by a test')",
      [serial, now, now + 3_600_000],
    )
    await session.query('UPDATE node_authorities SET revocations = $1', [list])
  })
}

test('while the others, and only control nodes and DR Standbys, do', async () => {
  const [out, other, dr] = [
    await node('node-2', 'control'),
    await node('node-3', 'control'),
    await node('node-4', 'dr'),
  ]
  await expect(asks(await node('edge-1', 'follower'))).rejects.toThrow()
  const peers = [await asks(out), await asks(other), await asks(dr)]
  for (const peer of peers) await peer.identify()
  await revoke(out)
  await expect(
    (async () => {
      for (;;) await peers[0]!.identify()
    })(),
  ).rejects.toThrow()
  await expect(asks(out)).rejects.toThrow(/revoked/)
  await peers[1]!.identify()
  const again = await asks(other)
  for (const peer of [...peers, again]) peer.close()
})
