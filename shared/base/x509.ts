// The certificate library, loaded when it is first needed: few nodes sign or ask for certificates, and it would be in the
// memory of all.
export type X509 = typeof import('@peculiar/x509')

export async function loadX509(): Promise<X509> {
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  x509.cryptoProvider.set(crypto)
  return x509
}

/** A certificate to be signed: who asks, and with what. */
export type CertificateOrder = {
  readonly csr: string
  /** PEM of the authority. */
  readonly privateKey: string
  readonly password: string | undefined
  /** PEM; the first certificate is the authority's own. */
  readonly chain: string
  readonly commonName: string
  /** Undefined: the certificate is no server's. */
  readonly dnsName: string | undefined
  readonly uri: string
  readonly lifeMs: number
}

/** Certificates of a text in PEM, one by one. */
export const pemsIn = (text: string): string[] =>
  text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []

/** Of nodes and of the internal authority (cluster 4). */
export const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** Positive, and not shorter for a leading zero (RFC 5280 4.1.2.2). */
export function drawSerial(): string {
  const serial = crypto.getRandomValues(new Uint8Array(16))
  serial[0] = (serial[0]! & 0x7f) | 0x40
  return serial.toHex()
}
