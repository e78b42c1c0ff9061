// Who may say which pod a client is: an authority that is one, now, and only to clients (RFC 5280).
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { beforeAll, describe, expect, test } from 'vitest'
import { provenIn, requestedIn } from '#shared/authn/k8s/certificates.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import type { Wall } from '#shared/base/time.ts'
import { testAuthority } from '../../../../support/certificates.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const now = Date.now() as Wall
const POD = 'spiffe://cluster.local/namespace/shop/podname/web-1'
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const { clientAuth, serverAuth } = x509.ExtendedKeyUsage

type Made = { readonly pem: string; readonly keys: CryptoKeyPair }

async function made(extensions: x509.Extension[], issuer?: Made, subject = 'CN=host.web'): Promise<Made> {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as CryptoKeyPair
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: '01',
    subject,
    issuer: issuer === undefined ? subject : new x509.X509Certificate(issuer.pem).subject,
    notBefore: new Date(now - DAY_MS),
    notAfter: new Date(now + DAY_MS),
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    signingAlgorithm: algorithm,
    extensions,
  })
  return { pem: certificate.toString('pem'), keys }
}

const names = () => new x509.SubjectAlternativeNameExtension([{ type: 'url', value: POD }])
const isAuthority = (ca: boolean) => new x509.BasicConstraintsExtension(ca, undefined, true)
const usage = (...usages: x509.ExtendedKeyUsageType[]) => new x509.ExtendedKeyUsageExtension(usages)

let authority: Made
beforeAll(async () => {
  x509.cryptoProvider.set(webcrypto as unknown as Crypto)
  authority = await made([isAuthority(true)], undefined, 'CN=Pods')
})

const proof = { commonName: 'host.web', pod: { namespace: 'shop', name: 'web-1' } }
const untrusted = /CONJ00030E/

test('a certificate for clients is one, also where nothing is said of whom it is for', async () => {
  for (const extensions of [
    [names()],
    [names(), usage(clientAuth)],
    [names(), usage(serverAuth, clientAuth)],
  ])
    expect(await provenIn((await made(extensions, authority)).pem, authority.pem, now)).toEqual(proof)
})

test('a certificate is so long, and no longer: whoever shows one has proved nothing yet', async () => {
  const { pem } = await made([names()], authority)
  const most = limits.podCertificateBytes
  expect(await provenIn(pem.padEnd(most, '\n'), authority.pem, now)).toEqual(proof)
  await expect(provenIn(pem.padEnd(most + 1, '\n'), authority.pem, now)).rejects.toThrow(
    /CONJ00030E.*too long/,
  )
})

test('a request is so long, and no longer', async () => {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as CryptoKeyPair
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=host.web',
    keys,
    signingAlgorithm: algorithm,
    extensions: [names()],
  })
  const pem = csr.toString('pem')
  expect(await requestedIn(utf8(pem.padEnd(limits.podCertificateBytes, '\n')))).toMatchObject(proof)
  await expect(requestedIn(utf8(pem.padEnd(limits.podCertificateBytes + 1, '\n')))).rejects.toThrow(
    /CONJ00002E.*too long/,
  )
})

test('a server’s certificate is no client’s', async () => {
  const { pem } = await made([names(), usage(serverAuth)], authority)
  await expect(provenIn(pem, authority.pem, now)).rejects.toThrow(untrusted)
})

test('any of several authorities may have signed it', async () => {
  const { pem } = await made([names()], authority)
  const other = (await testAuthority()).ca
  expect(await provenIn(pem, `${other}\n${authority.pem}`, now)).toEqual(proof)
  await expect(provenIn(pem, other, now)).rejects.toThrow(untrusted)
  await expect(provenIn(pem, 'none', now)).rejects.toThrow(/CONJ00155E/)
})

describe('an authority signs nothing', () => {
  test('that is none', async () => {
    for (const extensions of [[], [isAuthority(false)]]) {
      const none = await made(extensions, undefined, 'CN=Pods')
      const { pem } = await made([names()], none)
      await expect(provenIn(pem, none.pem, now)).rejects.toThrow(untrusted)
    }
  })

  test('whose key is for something else', async () => {
    const other = new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true)
    const none = await made([isAuthority(true), other], undefined, 'CN=Pods')
    const { pem } = await made([names()], none)
    await expect(provenIn(pem, none.pem, now)).rejects.toThrow(untrusted)
  })

  test('by way of another that it has signed', async () => {
    const between = await made([isAuthority(true)], authority, 'CN=Between')
    const { pem } = await made([names()], between)
    await expect(provenIn(pem, authority.pem, now)).rejects.toThrow(untrusted)
    await expect(provenIn(`${pem}\n${between.pem}`, authority.pem, now)).rejects.toThrow(untrusted)
  })

  test('before and after its time', async () => {
    const { pem } = await made([names()], authority)
    await expect(provenIn(pem, authority.pem, (now + 2 * DAY_MS) as Wall)).rejects.toThrow(untrusted)
    await expect(provenIn(pem, authority.pem, (now - 2 * DAY_MS) as Wall)).rejects.toThrow(untrusted)
  })
})

test('a certificate that was changed is not the one that was signed', async () => {
  const bytes = new x509.X509Certificate((await made([names()], authority)).pem).rawData
  const text = Buffer.from(bytes).toString('latin1').replace('web-1', 'web-2')
  const pem = x509.PemConverter.encode(Buffer.from(text, 'latin1'), 'CERTIFICATE')
  await expect(provenIn(pem, authority.pem, now)).rejects.toThrow(untrusted)
})
