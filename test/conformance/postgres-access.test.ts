// Who comes in at a node's Postgres, and by which certificate: on real ones (cluster 12).
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { describe, expect, test, vi } from 'vitest'
import { callPeer } from '#control-plane/postgres/peer.ts'
import { allBinaries, follows, type HandsNode, handsClusters, ledBy, until } from '../support/hands.ts'

// Copies and starts take their time where other tests run too.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 })

describe.each(await allBinaries())('the Postgres of a node on $name', ({ binaries }) => {
  const cluster = handsClusters(binaries)

  test('a certificate that was renewed is used for what is connected from then on', async () => {
    const { leader, standbys, nodes } = await ledBy(await cluster(), 'a', 'b')
    const [b] = standbys as [HandsNode]
    const serial = async (): Promise<unknown> =>
      (
        await leader.ask(
          'SELECT client_serial::text AS serial FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)',
        )
      )[0]?.serial
    const before = await serial()
    await b.hands.renew(await nodes.certificate('CN=b,O=control'))
    await leader.hands.renew(await nodes.certificate('CN=a,O=control'))
    expect(await serial()).toBe(before)
    await follows(b, leader)
    // The old connection may be shown until its end was seen.
    await until(async () => (await serial()) !== before)
    const again = await b.again()
    await follows(again, leader)
  })

  test('only control nodes come in, and only for the log', async () => {
    const { leader, nodes } = await ledBy(await cluster(), 'a')
    const call = async (subject: string, address = 'localhost') => {
      const tls = await nodes.certificate(subject)
      const peer = await callPeer(
        { host: address, port: leader.port },
        tls,
        'x',
        new AbortController().signal,
      )
      const { timeline } = await peer.identify()
      peer.close()
      return timeline
    }
    expect(await call('CN=b,O=control')).toBe(2)
    expect(await call('O=dr,CN=b')).toBe(2)
    for (const subject of [
      'CN=b,O=follower',
      'CN=b',
      'CN=replicator',
      'CN=b,O=control,OU=x',
      'CN="b,O=control",O=follower',
      'CN=b,O=controls',
    ])
      await expect(call(subject), subject).rejects.toThrow('certificate authentication failed')
    const nobody = { ca: nodes.authority.ca } as unknown as Parameters<typeof callPeer>[1]
    await expect(
      callPeer({ host: 'localhost', port: leader.port }, nobody, 'x', new AbortController().signal),
    ).rejects.toThrow()
    await expect(
      callPeer({ host: 'localhost', port: leader.port }, undefined, 'x', new AbortController().signal),
    ).rejects.toThrow('no encryption')
  })

  test('a renewed certificate is what others see from then on, and what this node shows', async () => {
    const { leader, nodes } = await ledBy(await cluster(), 'a')
    const old = await serialSeen(leader.port)
    const renewed = await nodes.certificate('CN=a,O=control')
    await leader.hands.renew(renewed)
    expect(await serialSeen(leader.port)).not.toBe(old)
    expect(await serialSeen(leader.port)).toBe(new X509Certificate(renewed.cert).serialNumber)
  })
})

/** Of the certificate that a Postgres shows who asks it for encryption. */
async function serialSeen(port: number): Promise<string> {
  const socket = connect(port, 'localhost')
  // SSLRequest (PostgreSQL protocol 3.0).
  socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
  await once(socket, 'data')
  const encrypted = connectTls({ socket, rejectUnauthorized: false })
  await once(encrypted, 'secureConnect')
  const { serialNumber } = encrypted.getPeerCertificate()
  encrypted.destroy()
  return serialNumber
}
