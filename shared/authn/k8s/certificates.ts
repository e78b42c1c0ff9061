// What pods ask to be signed and show as certificates (http-api 8.9).
import { fromUtf8, isStorable } from '../../base/bytes.ts'
import { limits } from '../../base/limits.ts'
import type { Wall } from '../../base/time.ts'
import { loadX509, pemsIn, type X509 } from '../../base/x509.ts'
import { Refused } from '../contract.ts'
import { type PodId, podOfSpiffeId } from './names.ts'

/** What stands in both. */
export type Subject = { readonly commonName: string; readonly pod: PodId }

type Named = {
  readonly subjectName: InstanceType<X509['Name']>
  readonly extensions: readonly InstanceType<X509['Extension']>[]
}

/** Who signed with its own key. Throws `Refused`: `argument` without a common name. */
export async function requestedIn(body: Uint8Array): Promise<Subject & { readonly csr: string }> {
  if (body.length > limits.podCertificateBytes)
    throw new Refused('CONJ00002E The certificate request is too long to be one')
  const x509 = await loadX509()
  const csr = fromUtf8(body)?.trim() ?? ''
  const request = attempt(() => new x509.Pkcs10CertificateRequest(csr))
  if (request === undefined) throw new Refused('CONJ00002E The certificate request is no PEM of a CSR')
  const subject = attempt(() => subjectOf(request, x509))
  if (subject === undefined) throw new Refused('CONJ00002E The certificate request cannot be read')
  if (subject.commonName === undefined)
    throw new Refused('CONJ00058E CSR must have a CN (common name) entry.', 'argument')
  if (subject.pod === undefined) throw new Refused('CONJ00022E CSR must contain SPIFFE ID SAN')
  return { csr, commonName: subject.commonName, pod: subject.pod }
}

/**
 * What a certificate says that one of the authorities has signed for a client and that is good now. Whoever showed it has
 * its key: that was proved before. Throws `Refused`: `argument` without a common name.
 */
export async function provenIn(pem: string, authorities: string, now: Wall): Promise<Subject> {
  if (pem.length > limits.podCertificateBytes)
    throw new Refused('CONJ00030E Client certificate is too long to be one of a pod')
  const x509 = await loadX509()
  const certificate = attempt(() => new x509.X509Certificate(pem))
  const subject = certificate && attempt(() => subjectOf(certificate, x509))
  if (certificate === undefined || subject === undefined)
    throw new Refused('CONJ00030E Client certificate cannot be read')
  if (subject.commonName === undefined)
    throw new Refused('CONJ00059E Certificate must have a CN (common name) entry.', 'argument')
  if (!(await isSigned(certificate, authorities, now, x509)))
    throw new Refused('CONJ00030E Client certificate cannot be verified by certification authority')
  if (certificate.notAfter.getTime() <= now) throw new Refused('CONJ00032E Client certificate expired')
  if (certificate.notBefore.getTime() > now)
    throw new Refused('CONJ00030E Client certificate is not valid yet: compare the clocks')
  if (subject.pod === undefined) throw new Refused('CONJ00030E Client certificate names no pod')
  return { commonName: subject.commonName, pod: subject.pod }
}

type Certificate = InstanceType<X509['X509Certificate']>

/** By one of them itself: nobody else signs for pods. */
async function isSigned(
  certificate: Certificate,
  authorities: string,
  now: Wall,
  x509: X509,
): Promise<boolean> {
  const isForClients = certificate
    .getExtension(x509.ExtendedKeyUsageExtension)
    ?.usages.includes(x509.ExtendedKeyUsage.clientAuth)
  if (isForClients === false) return false
  for (const authority of authoritiesIn(authorities, x509)) {
    if (authority.subject !== certificate.issuer || !mayIssue(authority, now, x509)) continue
    try {
      if (await certificate.verify({ publicKey: authority.publicKey, signatureOnly: true })) return true
    } catch {
      // A signature of another kind than the key's.
    }
  }
  return false
}

function mayIssue(authority: Certificate, now: Wall, x509: X509): boolean {
  const usage = authority.getExtension(x509.KeyUsagesExtension)
  return (
    authority.getExtension(x509.BasicConstraintsExtension)?.ca === true &&
    (usage === null || (usage.usages & x509.KeyUsageFlags.keyCertSign) !== 0) &&
    authority.notBefore.getTime() <= now &&
    authority.notAfter.getTime() > now
  )
}

/** Throws `Refused` when there is none. */
export async function mustBeAuthority(pem: string): Promise<void> {
  authoritiesIn(pem, await loadX509())
}

/** Throws `Refused` when there is none. */
function authoritiesIn(pem: string, x509: X509): Certificate[] {
  const read = pemsIn(pem).map((one) => attempt(() => new x509.X509Certificate(one)))
  const good = read.filter((one) => one !== undefined)
  if (good.length === 0) throw new Refused('CONJ00155E Invalid signing certificate: ca/cert is no PEM of one')
  return good
}

/** More than one name is none: which of them is meant? */
function subjectOf(
  { subjectName, extensions }: Named,
  x509: X509,
): { readonly commonName: string | undefined; readonly pod: PodId | undefined } {
  const names = subjectName.getField('CN')
  const [commonName] = names
  const uris = extensions
    .filter((extension) => extension instanceof x509.SubjectAlternativeNameExtension)
    .flatMap(({ names: { items } }) => items)
    .filter(({ type }) => type === 'url')
  return {
    commonName: names.length === 1 && isUsable(commonName!) ? commonName : undefined,
    pod: uris.length === 1 ? podOfSpiffeId(uris[0]!.value) : undefined,
  }
}

const isUsable = (name: string): boolean => name !== '' && isStorable(name) && name.length <= limits.idBytes

/** The library's errors may quote what they could not read. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
