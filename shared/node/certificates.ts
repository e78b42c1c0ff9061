// Certificates of nodes: the internal authority, what it signs, and the requests for it (cluster 4).
import { X509Certificate as Certificate, createHash, createPrivateKey, webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import { verifiedRequest } from '../api/certificate-authority.ts'
import { limits } from '../base/limits.ts'
import { drawSerial, KEY_ALGORITHM, loadX509, type X509 } from '../base/x509.ts'
import { hostsFor, type NodeName, nameIn, uriOf, type Validity } from '../enrolment/names.ts'

/** PEM. The key is PKCS #8. */
export type Authority = { readonly certificate: string; readonly key: string }

/** A key pair of P-256 and the request that asks for its certificate; the key stays where it was made. */
export type KeyAndRequest = { readonly key: string; readonly csr: string }

/** What is signed: names are the authority's choice, of the request only the key is taken. */
export type NodeOrder = {
  readonly csr: string
  readonly name: NodeName
  /** Host names and addresses under which the node is reached. */
  readonly hosts: readonly string[]
  readonly lifeMs: number
}

export type IssuedCertificate = Validity & {
  readonly certificate: string
  readonly serial: string
  readonly keyHash: string
}

type Pair = Awaited<ReturnType<typeof webcrypto.subtle.generateKey>> & webcrypto.CryptoKeyPair

const newPair = async (): Promise<Pair> =>
  (await webcrypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify'])) as Pair

const pemOf = async (x509: X509, { privateKey }: Pair): Promise<string> =>
  `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', privateKey), 'PRIVATE KEY')}\n`

/** Signed by itself. */
export async function makeAuthority(clusterId: string, now: number): Promise<Authority> {
  const x509 = await loadX509()
  const keys = await newPair()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: drawSerial(),
    name: [{ CN: ['Holdfast internal authority'] }, { O: [clusterId] }],
    notBefore: new Date(now - limits.certificateBackdatedMs),
    notAfter: new Date(now + limits.authorityLifeMs),
    keys: keys as unknown as CryptoKeyPair,
    signingAlgorithm: KEY_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey as unknown as CryptoKey),
    ],
  })
  return { certificate: `${certificate.toString('pem')}\n`, key: await pemOf(x509, keys) }
}

/** `key`: one that was made for this before, and whose certificate did not arrive. */
export async function requestCertificate(node: string, key?: string): Promise<KeyAndRequest> {
  const x509 = await loadX509()
  const keys = key === undefined ? await newPair() : await pairOf(key)
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [node] }],
    keys: keys as unknown as CryptoKeyPair,
    signingAlgorithm: KEY_ALGORITHM,
  })
  return { key: key ?? (await pemOf(x509, keys)), csr: `${request.toString('pem')}\n` }
}

async function pairOf(pem: string): Promise<Pair> {
  const key = createPrivateKey(pem)
  const jwk = key.export({ format: 'jwk' })
  const { d: _private, ...publicJwk } = jwk
  const load = (of: webcrypto.JsonWebKey, use: 'sign' | 'verify') =>
    webcrypto.subtle.importKey('jwk', of, KEY_ALGORITHM, true, [use])
  return { privateKey: await load(jwk, 'sign'), publicKey: await load(publicJwk, 'verify') } as Pair
}

/** Undefined when the request is malformed, not signed by its own key, or has another kind of key. */
export async function keyHashOf(csr: string): Promise<string | undefined> {
  const x509 = await loadX509()
  const request = await verifiedRequest(() => new x509.Pkcs10CertificateRequest(csr))
  if (request === undefined) return undefined
  const { name, namedCurve } = request.publicKey.algorithm as { name?: string; namedCurve?: string }
  if (name !== KEY_ALGORITHM.name || namedCurve !== KEY_ALGORITHM.namedCurve) return undefined
  return hashOf(new Uint8Array(request.publicKey.rawData))
}

const hashOf = (publicKey: Uint8Array): string => createHash('sha256').update(publicKey).digest('hex')

/** The request must have been looked at before (`keyHashOf`). */
export async function signForNode(
  authority: Authority,
  order: NodeOrder,
  now: number,
): Promise<IssuedCertificate> {
  const x509 = await loadX509()
  const { publicKey } = new x509.Pkcs10CertificateRequest(order.csr)
  const own = new x509.X509Certificate(authority.certificate)
  const serial = drawSerial()
  const notBefore = now - limits.certificateBackdatedMs
  const notAfter = Math.min(now + order.lifeMs, own.notAfter.getTime())
  const { privateKey } = await pairOf(authority.key)
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial,
    subject: [{ CN: [order.name.node] }, { O: [order.name.roleClass] }],
    issuer: own.subject,
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    publicKey,
    signingKey: privateKey as unknown as CryptoKey,
    signingAlgorithm: KEY_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([
        { type: 'url', value: uriOf(order.name) },
        ...hostsFor(order.name, order.hosts).map((value) => ({
          type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const),
          value,
        })),
      ]),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(own),
    ],
  })
  const pem = `${certificate.toString('pem')}\n`
  // As it is read back: certificates count in whole seconds.
  return { ...validityOf(new Certificate(pem)), certificate: pem, serial, keyHash: keyHashIn(pem) }
}

/**
 * A list of revoked certificates (RFC 5280), PEM. It does not run out before its authority: a list that has run out stops
 * every connection of who was given it.
 */
export async function signRevocations(
  authority: Authority,
  revoked: readonly { readonly serial: string; readonly at: number }[],
  now: number,
): Promise<string> {
  const x509 = await loadX509()
  const own = new x509.X509Certificate(authority.certificate)
  const { privateKey } = await pairOf(authority.key)
  const list = await x509.X509CrlGenerator.create({
    issuer: own.subject,
    thisUpdate: new Date(now - limits.certificateBackdatedMs),
    nextUpdate: own.notAfter,
    entries: revoked.map(({ serial, at }) => ({ serialNumber: serial, revocationDate: new Date(at) })),
    signingAlgorithm: KEY_ALGORITHM,
    signingKey: privateKey as unknown as CryptoKey,
    extensions: [await x509.AuthorityKeyIdentifierExtension.create(own)],
  })
  // The library's own label is one that OpenSSL does not read.
  return `${x509.PemConverter.encode(list.rawData, 'X509 CRL')}\n`
}

/** Of the key in a certificate. */
export const keyHashIn = (pem: string): string =>
  hashOf(new Certificate(pem).publicKey.export({ format: 'der', type: 'spki' }))

export const validityOf = (certificate: Certificate): Validity => ({
  notBefore: certificate.validFromDate.getTime(),
  notAfter: certificate.validToDate.getTime(),
})

/** What a certificate says of its holder. It proves nothing: that the cluster's authority has signed it is the TLS library's to say. */
export type Presented = Validity & { readonly serial: string; readonly name: NodeName | undefined }

export const presentedIn = (certificate: Certificate): Presented => ({
  ...validityOf(certificate),
  serial: certificate.serialNumber.toLowerCase(),
  name: nameIn(certificate.subjectAltName),
})
