// Keys of a node from its files: the data key, the key pair under which it signs tokens, that of its certificate.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { ShownCertificate } from '../api/info.ts'
import { fromBase64 } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import { randomBytes } from '../base/native-crypto.ts'
import { secondsInstant } from '../base/time.ts'
import { createKeyring, type Keyring } from '../secret/keyring.ts'
import { newSigningKey, type SigningKey, signingKeyOf } from '../token/access-token.ts'
import { readPrivateFile, readSettingFile, writePrivateFile } from './files.ts'
import type { TlsFiles } from './listen.ts'

/** A file with 32 bytes in base64: the data key, version 1. */
export async function loadKeyring(file: string): Promise<Keyring> {
  const raw = fromBase64(await readSettingFile('data_key_file', file))
  if (raw?.length !== 32) {
    throw new DomainError('settings_invalid', `data_key_file: ${file} does not hold 32 bytes in base64`, {
      target: 'data_key_file',
    })
  }
  return createKeyring({ versions: new Map([[1, raw]]), current: 1 }, randomBytes)
}

const invalid = (target: string, what: string): DomainError =>
  new DomainError('settings_invalid', `${target}: ${what}`, { target })

function fromPem<T>(setting: string, file: string, make: () => T): T {
  try {
    return make()
  } catch {
    // The library's error may quote the file.
    throw invalid(setting, `${file} cannot be read as PEM`)
  }
}

const certificateOf = (setting: string, file: string, pem: string): X509Certificate =>
  fromPem(setting, file, () => new X509Certificate(pem))

/** PEM with what certificates are checked against. A file without one would be taken for no authority at all. */
export async function loadAuthorities(setting: string, file: string): Promise<string> {
  const pem = await readSettingFile(setting, file)
  certificateOf(setting, file, pem)
  return pem
}

type TlsSettings = {
  readonly tls_cert_file?: string | undefined
  readonly tls_key_file?: string | undefined
  readonly client_certificates?: boolean | undefined
}

/** Undefined when the node is to speak HTTP. Throws `settings_invalid` when the files are not a pair. */
export async function loadTls({
  tls_cert_file: certFile,
  tls_key_file: keyFile,
  client_certificates: anyClient = false,
}: TlsSettings): Promise<TlsFiles | undefined> {
  if (certFile === undefined && keyFile === undefined) {
    if (anyClient)
      throw invalid('client_certificates', 'without tls_cert_file and tls_key_file nobody can show one')
    return undefined
  }
  if (certFile === undefined) throw invalid('tls_cert_file', 'it must be given when tls_key_file is')
  if (keyFile === undefined) throw invalid('tls_key_file', 'it must be given when tls_cert_file is')
  const cert = await readSettingFile('tls_cert_file', certFile)
  const key = await readSettingFile('tls_key_file', keyFile)
  const certificate = certificateOf('tls_cert_file', certFile, cert)
  const privateKey = fromPem('tls_key_file', keyFile, () => createPrivateKey(key))
  if (!certificate.checkPrivateKey(privateKey))
    throw invalid('tls_key_file', `${keyFile} is not the key of ${certFile}`)
  return { cert, key, anyClient }
}

/** That by which other nodes know this one, as it is in the file now: it is renewed. None while there is none. */
export async function shownNodeCertificate(file: string): Promise<ShownCertificate[]> {
  try {
    const pem = await readPrivateFile(file)
    return pem === undefined ? [] : [shownCertificate('internal', 'node_cert_file', file, pem)]
  } catch {
    return []
  }
}

/** What may be said of a certificate: of the first of its file, which is the node's own. */
export function shownCertificate(
  use: ShownCertificate['use'],
  setting: string,
  file: string,
  pem: string,
): ShownCertificate {
  const { subject, validToDate, fingerprint256 } = certificateOf(setting, file, pem)
  return {
    use,
    subject: subject.replaceAll('\n', ', '),
    not_after: secondsInstant(validToDate.getTime()),
    sha256: fingerprint256.replaceAll(':', '').toLowerCase(),
  }
}

/** Made at the first start; the private half stays in this file. */
export async function loadSigningKey(file: string): Promise<SigningKey> {
  const held = await readPrivateFile(file)
  if (held !== undefined) return signingKeyOf(JSON.parse(held))
  const made = await newSigningKey()
  await writePrivateFile(file, JSON.stringify(made.privateJwk))
  return made
}

/** How many of a node's files hold a key that nothing protects: the data key, the signing key, that of its certificate. */
export const keyFilesInClear = (tls: TlsFiles | undefined): number => (tls === undefined ? 2 : 3)
