// An authority signs for hosts that may, what they have proved to hold, and no longer than it allows (http-api 14).
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificateRequest, certificatesFor } from '../../support/certificates.ts'
import type { Client } from '../../support/nodes.ts'
import { type Answered, answered, loadedBy, settled, startWorld, type World } from './world.ts'

const policy = `
- !policy
  id: conjur/pki
  body:
  - !variable key
  - !variable password
  - !variable chain
  - !webservice
    id: ca
    annotations:
      ca/private-key: conjur/pki/key
      ca/certificate-chain: conjur/pki/chain
      ca/max_ttl: PT2H
  - !webservice
    id: locked/ca
    annotations:
      ca/private-key: conjur/pki/locked
      ca/private-key-password: conjur/pki/password
      ca/certificate-chain: conjur/pki/chain
  - !variable locked
  - !webservice empty/ca
- !host pki/web
- !host pki/seer
- !user pete
- !permit { role: !host pki/web, privileges: [ sign ], resources: [ !webservice conjur/pki/ca, !webservice conjur/pki/locked/ca, !webservice conjur/pki/empty/ca ] }
- !permit { role: !user pete, privileges: [ sign ], resource: !webservice conjur/pki/ca }
- !permit { role: !host pki/seer, privileges: [ read ], resource: !webservice conjur/pki/ca }
`

let world: World
let ca: { readonly cert: string; readonly key: string }
let csr: string
const clients: Record<string, Client> = {}
beforeAll(async () => {
  world = await startWorld()
  const as = await loadedBy(world.admin, policy)
  for (const login of ['host/pki/web', 'host/pki/seer', 'pete']) clients[login] = await as(login)
  const made = await certificatesFor('127.0.0.1')
  ca = { cert: made.ca, key: made.caKey }
  csr = await certificateRequest()
  const locked = createPrivateKey(ca.key).export({
    format: 'pem',
    type: 'pkcs8',
    cipher: 'aes-256-cbc',
    passphrase: 'open sesame',
  })
  const values = { key: ca.key, chain: ca.cert, password: 'open sesame', locked: String(locked) }
  for (const [name, value] of Object.entries(values)) await world.admin.setSecret(`conjur/pki/${name}`, value)
  await settled(world)
})
afterAll(() => world?.machine.stop())

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const ask = (
    login: string,
    parameters: Record<string, string>,
    service = 'pki',
    headers: Record<string, string> = {},
  ): Promise<Answered> =>
    answered(
      clients[login]!.at(world.machine[node].url).request('POST', `/ca/acme/${service}/sign`, {
        body: new URLSearchParams(parameters).toString(),
        headers: { 'Content-Type': 'application/x-www-form-urlencoded', ...headers },
      }),
    )
  const web = (parameters: Record<string, string>, service?: string) =>
    ask('host/pki/web', parameters, service)
  const certificateOf = ([status, body]: Answered): X509Certificate => {
    expect(status).toBe(201)
    return new X509Certificate((body as { certificate: string }).certificate)
  }
  const hours = (certificate: X509Certificate): number =>
    Math.round((Date.parse(certificate.validTo) - Date.now()) / 3_600_000)

  test('a host gets a certificate with its names, of the authority, for as long as it asked', async () => {
    const certificate = certificateOf(await web({ csr, ttl: 'PT1H' }))
    const authority = new X509Certificate(ca.cert)
    expect(certificate.verify(authority.publicKey)).toBe(true)
    expect(certificate.checkIssued(authority)).toBe(true)
    expect(certificate.subject).toBe('CN=acme:pki:host:pki/web')
    expect(certificate.subjectAltName).toBe('DNS:web, URI:spiffe://conjur/acme/pki/host/pki/web')
    expect(certificate.ca).toBe(false)
    expect(hours(certificate)).toBe(1)
  })

  test('not longer than the authority allows; its key may have a password', async () => {
    expect(hours(certificateOf(await web({ csr, ttl: 'P30D' })))).toBe(2)
    expect(hours(certificateOf(await web({ csr, ttl: 'PT3H' }, 'pki%2Flocked')))).toBe(3)
  })

  test('as PEM for who wants it', async () => {
    const [status, text] = await ask('host/pki/web', { csr, ttl: 'PT1H' }, 'pki', {
      Accept: 'application/x-pem-file',
    })
    expect([status, text]).toEqual([201, expect.stringMatching(/^-----BEGIN CERTIFICATE-----\n/)])
  })

  test('nobody else: who may not, who is no host, who does not hold the key', async () => {
    expect(await ask('host/pki/seer', { csr, ttl: 'PT1H' })).toEqual([403, ''])
    expect(await ask('pete', { csr, ttl: 'PT1H' })).toEqual([403, ''])
    const [first, second] = [csr, await certificateRequest()].map((pem) =>
      Buffer.from(pem.split('\n').slice(1, -2).join(''), 'base64'),
    )
    // The signature of one under the content of another.
    const forged = Buffer.concat([
      first!.subarray(0, first!.length - 64),
      second!.subarray(second!.length - 64),
    ])
    const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${forged.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
    expect(await web({ csr: pem, ttl: 'PT1H' })).toEqual([403, ''])
    expect(await web({ csr: 'no certificate request', ttl: 'PT1H' })).toEqual([403, ''])
  })

  test('what is missing or wrong is named', async () => {
    expect((await web({ csr, ttl: 'PT1H' }, 'none'))[0]).toBe(404)
    expect(await web({ ttl: 'PT1H' })).toMatchObject([422, { error: { code: 'parameter_missing' } }])
    expect(await web({ csr })).toMatchObject([422, { error: { code: 'parameter_missing' } }])
    expect(await web({ csr, ttl: 'soon' })).toMatchObject([
      422,
      { error: { message: 'Invalid ISO8601 duration: soon' } },
    ])
    expect(await web({ csr, ttl: 'PT1H' }, 'pki%2Fempty')).toMatchObject([
      422,
      { error: { message: expect.stringContaining('ca/private-key') } },
    ])
  })
})

test('a key that does not fit, or is none, says so without showing it', async () => {
  const { privateKey } = generateKeyPairSync('ed25519')
  const odd = String(privateKey.export({ format: 'pem', type: 'pkcs8' }))
  for (const value of [odd, 'this is my private key']) {
    await world.admin.setSecret('conjur/pki/key', value)
    const [status, body] = await answered(
      clients['host/pki/web']!.request('POST', '/ca/acme/pki/sign', {
        body: JSON.stringify({ csr, ttl: 'PT1H' }),
        headers: { 'Content-Type': 'application/json' },
      }),
    )
    expect([status, body]).toMatchObject([
      422,
      { error: { message: expect.stringContaining('The certificate authority cannot sign') } },
    ])
    expect(JSON.stringify(body)).not.toContain(value.slice(0, 20))
  }
})
