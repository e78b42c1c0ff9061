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
  /** The same for a client that has these URIs as names. `life`: in days from now; default: the authority's. */
  issueClient(
    subject: string,
    uris: readonly string[],
    life?: { readonly from: number; readonly to: number },
  ): Promise<{ readonly cert: string; readonly key: string }>
}

const newKeys = () =>
  webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']) as Promise<CryptoKeyPair>

const pem = async ({ privateKey }: CryptoKeyPair): Promise<string> =>
  x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', privateKey), 'PRIVATE KEY')

/**
 * PEM; it and what it signs are valid for so many days. Clients under one authority that trust another of the same name send
 * that as their issuer, and Node as a server breaks such a connection whatever it was told to let pass.
 */
export async function testAuthority({
  name = 'CN=Holdfast test authority',
  days = 1,
} = {}): Promise<TestAuthority> {
  x509.cryptoProvider.set(webcrypto as unknown as Crypto)
  const caKeys = await newKeys()
  const notBefore = new Date(Date.now() - day)
  const notAfter = new Date(Date.now() + days * day)
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name,
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
  const sign = async (
    subject: string,
    names: x509.JsonGeneralNames,
    usages: x509.ExtendedKeyUsageType[],
    validity = { notBefore, notAfter },
  ) => {
    const keys = await newKeys()
    const own = await x509.X509CertificateGenerator.create({
      serialNumber: String(++serial).padStart(2, '0'),
      subject,
      issuer: authority.subject,
      ...validity,
      signingAlgorithm: algorithm,
      publicKey: keys.publicKey,
      signingKey: caKeys.privateKey,
      extensions: [
        new x509.SubjectAlternativeNameExtension(names),
        new x509.ExtendedKeyUsageExtension(usages),
      ],
    })
    return { cert: own.toString('pem'), key: await pem(keys) }
  }
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage
  return {
    ca: authority.toString('pem'),
    caKey: await pem(caKeys),
    issue: (subject, ...names) =>
      sign(
        subject,
        names.map((value) => ({ type: /^[\d.]+$/.test(value) ? 'ip' : 'dns', value })),
        [serverAuth, clientAuth],
      ),
    issueClient: (subject, uris, life) =>
      sign(
        subject,
        uris.map((value) => ({ type: 'url', value })),
        [clientAuth],
        life && {
          notBefore: new Date(Date.now() + life.from * day),
          notAfter: new Date(Date.now() + life.to * day),
        },
      ),
  }
}

/** Of a server, under an authority of its own. */
export async function certificatesFor(...names: readonly string[]): Promise<Certificates> {
  const { ca, caKey, issue } = await testAuthority()
  return { ca, caKey, ...(await issue(`CN=${names[0]}`, ...names)) }
}

export type RequestOptions = {
  /** Default: `CN=ignored`. */
  readonly subject?: string
  /** URIs among the names that are asked for. */
  readonly uris?: readonly string[]
  readonly dns?: readonly string[]
}

/** PEM, signed with a key of its own. */
export const certificateRequest = async (): Promise<string> => (await requestWithKey({})).csr

/** Both PEM. */
export async function requestWithKey({
  subject = 'CN=ignored',
  uris = [],
  dns = [],
}: RequestOptions): Promise<{ readonly csr: string; readonly key: string }> {
  x509.cryptoProvider.set(webcrypto as unknown as Crypto)
  const keys = await newKeys()
  const names = [
    ...uris.map((value) => ({ type: 'url' as const, value })),
    ...dns.map((value) => ({ type: 'dns' as const, value })),
  ]
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: subject,
    keys,
    signingAlgorithm: algorithm,
    extensions: names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)],
  })
  return { csr: `${request.toString('pem')}\n`, key: await pem(keys) }
}
