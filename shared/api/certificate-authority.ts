// Signs a certificate with a key that is given: for this call only, and nothing of it is kept.
import { DomainError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { type PrivateKey, readPrivateKey } from '../base/native-crypto.ts'
import { type CertificateOrder, drawSerial, loadX509 } from '../base/x509.ts'

type Algorithm = { readonly name: string; readonly namedCurve?: string; readonly hash: string }

const curves: Readonly<Record<string, Algorithm>> = {
  prime256v1: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  secp384r1: { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  secp521r1: { name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' },
}

function algorithmOf({ type, namedCurve }: PrivateKey): Algorithm {
  if (type === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  const curve = curves[namedCurve ?? '']
  if (curve === undefined) throw unusable('the private key is neither RSA nor on a NIST curve')
  return curve
}

const unusable = (what: string): DomainError =>
  new DomainError('unprocessable_entity', `The certificate authority cannot sign: ${what}`)

/** PEM; undefined when the request is malformed or not signed by its own key. Throws when the authority is unusable. */
export async function signCertificate(order: CertificateOrder, now: number): Promise<string | undefined> {
  const x509 = await loadX509()
  const { dnsName } = order
  const request = await verifiedRequest(() => new x509.Pkcs10CertificateRequest(order.csr))
  if (request === undefined) return undefined
  const authority = attempt('the certificate chain is not PEM', () => new x509.X509Certificate(order.chain))
  const key = attempt('the private key is not PEM, or its password is wrong', () =>
    readPrivateKey(order.privateKey, order.password?.trim()),
  )
  const signingAlgorithm = algorithmOf(key)
  const signingKey = await crypto.subtle.importKey(
    'pkcs8',
    key.pkcs8 as Uint8Array<ArrayBuffer>,
    signingAlgorithm,
    false,
    ['sign'],
  )
  key.pkcs8.fill(0)
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: drawSerial(),
    subject: [{ CN: [order.commonName] }],
    issuer: authority.subject,
    notBefore: new Date(now - limits.certificateBackdatedMs),
    notAfter: new Date(Math.min(now + order.lifeMs, authority.notAfter.getTime())),
    publicKey: request.publicKey,
    signingKey,
    signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment,
        true,
      ),
      new x509.ExtendedKeyUsageExtension([
        ...(dnsName === undefined ? [] : [x509.ExtendedKeyUsage.serverAuth]),
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([
        ...(dnsName === undefined ? [] : [{ type: 'dns' as const, value: dnsName }]),
        { type: 'url', value: order.uri },
      ]),
      await x509.SubjectKeyIdentifierExtension.create(request.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority),
    ],
  })
  return `${certificate.toString('pem')}\n`
}

/** Who asks must hold the key: the request is signed with it. */
export async function verifiedRequest<T extends { verify(): Promise<boolean> }>(
  read: () => T,
): Promise<T | undefined> {
  try {
    const request = read()
    return (await request.verify()) ? request : undefined
  } catch {
    return undefined
  }
}

/** The library's errors may quote what they could not read. */
function attempt<T>(what: string, make: () => T): T {
  try {
    return make()
  } catch {
    throw unusable(what)
  }
}
