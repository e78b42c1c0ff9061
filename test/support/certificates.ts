// A certificate authority for tests, and a certificate for this machine under it.
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'

export type Certificates = {
  readonly ca: string
  readonly caKey: string
  readonly cert: string
  readonly key: string
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const day = 24 * 60 * 60 * 1000

export type TestAuthority = {
  readonly ca: string
  readonly caKey: string
  /** For a subject such as `CN=a,O=control`; `names`: DNS names and addresses of a server. */
  issue(
    subject: string,
    ...names: readonly string[]
  ): Promise<{ readonly cert: string; readonly key: string }>
}

const newKeys = () =>
  webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']) as Promise<CryptoKeyPair>

const pem = async ({ privateKey }: CryptoKeyPair): Promise<string> =>
  x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', privateKey), 'PRIVATE KEY')

/** PEM, valid for a day. */
export async function testAuthority(): Promise<TestAuthority> {
  x509.cryptoProvider.set(webcrypto as unknown as Crypto)
  const caKeys = await newKeys()
  const notBefore = new Date(Date.now() - day)
  const notAfter = new Date(Date.now() + day)
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=Holdfast test authority',
    notBefore,
    notAfter,
    signingAlgorithm: algorithm,
    keys: caKeys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  })
  let serial = 1
  return {
    ca: authority.toString('pem'),
    caKey: await pem(caKeys),
    async issue(subject, ...names) {
      const keys = await newKeys()
      const own = await x509.X509CertificateGenerator.create({
        serialNumber: String(++serial).padStart(2, '0'),
        subject,
        issuer: authority.subject,
        notBefore,
        notAfter,
        signingAlgorithm: algorithm,
        publicKey: keys.publicKey,
        signingKey: caKeys.privateKey,
        extensions: [
          new x509.SubjectAlternativeNameExtension(
            names.map((value) => ({
              type: /^[\d.]+$/.test(value) ? ('ip' as const) : ('dns' as const),
              value,
            })),
          ),
          new x509.ExtendedKeyUsageExtension([
            x509.ExtendedKeyUsage.serverAuth,
            x509.ExtendedKeyUsage.clientAuth,
          ]),
        ],
      })
      return { cert: own.toString('pem'), key: await pem(keys) }
    },
  }
}

/** Of a server, under an authority of its own. */
export async function certificatesFor(...names: readonly string[]): Promise<Certificates> {
  const { ca, caKey, issue } = await testAuthority()
  return { ca, caKey, ...(await issue(`CN=${names[0]}`, ...names)) }
}

/** PEM, signed with a key of its own. */
export async function certificateRequest(): Promise<string> {
  x509.cryptoProvider.set(webcrypto as unknown as Crypto)
  const keys = await newKeys()
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=ignored',
    keys,
    signingAlgorithm: algorithm,
  })
  return `${request.toString('pem')}\n`
}
