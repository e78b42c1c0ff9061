// The authority signs keys, not wishes; and what it has taken back is on a list that other programs can read.
import 'reflect-metadata'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { limits } from '#shared/base/limits.ts'
import {
  type Authority,
  keyHashIn,
  keyHashOf,
  makeAuthority,
  presentedIn,
  requestCertificate,
  signForNode,
  signRevocations,
} from '#shared/node/certificates.ts'
import { certificateRequest } from '../../../support/certificates.ts'

const clusterId = 'ab'.repeat(16)
const now = Date.now()
const folder = mkdtempSync(join(tmpdir(), 'holdfast-ca-'))
afterAll(() => rmSync(folder, { recursive: true }))

const issue = async (authority: Authority, csr: string) =>
  signForNode(
    authority,
    {
      csr,
      name: { clusterId, roleClass: 'control', node: 'node-1' },
      hosts: ['node-1', 'balancer.example', '10.0.0.1'],
      lifeMs: limits.certificateLifeMs,
    },
    now,
  )

test('a certificate has the names that the authority gives, whatever the request says', async () => {
  const authority = await makeAuthority(clusterId, now)
  const issued = await issue(authority, await certificateRequest())
  const certificate = new X509Certificate(issued.certificate)
  expect(certificate.verify(new X509Certificate(authority.certificate).publicKey)).toBe(true)
  expect(certificate.subject).toBe('CN=node-1\nO=control')
  expect(certificate.subjectAltName).toBe(
    `URI:spiffe://${clusterId}/control/node-1, DNS:node-1, DNS:balancer.example, IP Address:10.0.0.1, DNS:coordination.${clusterId}.internal`,
  )
  expect(certificate.ca).toBe(false)
  expect(presentedIn(certificate)).toMatchObject({ serial: issued.serial, notAfter: issued.notAfter })
  expect(Math.abs(issued.notAfter - now - limits.certificateLifeMs)).toBeLessThan(1_000)
})

test('a Follower does not get the host name by which etcd lets control nodes in', async () => {
  const { csr } = await requestCertificate('edge-1')
  const hosts = ['edge-1', `Coordination.${clusterId}.internal`]
  const name = { clusterId, roleClass: 'follower', node: 'edge-1' } as const
  const lifeMs = limits.certificateLifeMs
  const issued = await signForNode(await makeAuthority(clusterId, now), { csr, name, hosts, lifeMs }, now)
  expect(new X509Certificate(issued.certificate).subjectAltName).toBe(
    `URI:spiffe://${clusterId}/follower/edge-1, DNS:edge-1`,
  )
})

test('a request is known by its key, and made again with the same one', async () => {
  const first = await requestCertificate('node-1')
  const again = await requestCertificate('node-1', first.key)
  const issued = await issue(await makeAuthority(clusterId, now), first.csr)
  expect(await keyHashOf(again.csr)).toBe(await keyHashOf(first.csr))
  expect(keyHashIn(issued.certificate)).toBe(issued.keyHash)
  expect(await keyHashOf(first.csr)).toBe(issued.keyHash)
})

test('a request that is none, or has a key of another kind, is no request', async () => {
  expect(await keyHashOf('')).toBeUndefined()
  expect(
    await keyHashOf('-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----'),
  ).toBe(undefined)
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const key = join(folder, 'rsa.key')
  writeFileSync(key, privateKey.export({ format: 'pem', type: 'pkcs8' }))
  const csr = execFileSync('openssl', ['req', '-new', '-key', key, '-subj', '/CN=x'], { encoding: 'utf8' })
  expect(await keyHashOf(csr)).toBeUndefined()
})

test('OpenSSL reads the list: what is on it is refused, the rest is not', async () => {
  const authority = await makeAuthority(clusterId, now)
  const [one, other] = [
    await issue(authority, await certificateRequest()),
    await issue(authority, await certificateRequest()),
  ]
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }
  const ca = file('ca.pem', authority.certificate)
  const crl = file('crl.pem', await signRevocations(authority, [{ serial: one.serial, at: now }], now))
  const verify = (certificate: string): string =>
    execFileSync(
      'openssl',
      ['verify', '-crl_check', '-CAfile', ca, '-CRLfile', crl, file('one.pem', certificate)],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )
  expect(verify(other.certificate)).toContain('OK')
  expect(() => verify(one.certificate)).toThrow()
})
