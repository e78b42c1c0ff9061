// The one file of shared/ that imports from Node (architecture P7). Both runtimes have these functions, and
// they are synchronous: AES-GCM of a 64-byte value takes 3 µs here and 20 µs through WebCrypto, which matters
// on the secret-read path. Keys are KeyObjects: with raw bytes Node 24 is five times slower.
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createSecretKey,
  hash,
  type KeyObject,
  randomFillSync,
  scrypt as scryptCallback,
  sign,
  timingSafeEqual,
} from 'node:crypto'

const isWorker = globalThis.navigator?.userAgent === 'Cloudflare-Workers'

export type SecretKey = KeyObject

export function randomBytes(length: number): Uint8Array {
  return randomFillSync(new Uint8Array(length))
}

export function sha256(data: Uint8Array | string): Uint8Array {
  return hash('sha256', data, 'buffer')
}

export function sha256Hex(data: Uint8Array | string): string {
  return hash('sha256', data, 'hex')
}

/** True when both are equal; the time taken depends on the lengths only. */
export function constantTimeEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

export function importAesKey(raw: Uint8Array): SecretKey {
  return createSecretKey(raw)
}

const TAG_BYTES = 16

/** AES-256-GCM. `nonce` is 12 bytes and must never repeat under one key. */
export function aesGcmSeal(
  key: SecretKey,
  nonce: Uint8Array,
  additional: Uint8Array,
  plain: Uint8Array,
): { tag: Uint8Array; ciphertext: Uint8Array } {
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
  cipher.setAAD(additional)
  const ciphertext = cipher.update(plain)
  cipher.final()
  return { tag: cipher.getAuthTag(), ciphertext }
}

/** Throws when the tag does not fit: wrong key, wrong record or changed bytes. */
export function aesGcmOpen(
  key: SecretKey,
  nonce: Uint8Array,
  additional: Uint8Array,
  tag: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
  decipher.setAAD(additional)
  decipher.setAuthTag(tag)
  const plain = decipher.update(ciphertext)
  decipher.final()
  return plain
}

/** The two numbers of a signature, 32 bytes each (RFC 7518 3.4). */
export type P256Signer = (data: Uint8Array) => Uint8Array | Promise<Uint8Array>

/** ECDSA over P-256 with SHA-256. `jwk`: the private key. */
export async function p256Signer(jwk: JsonWebKey): Promise<P256Signer> {
  if (!isWorker) {
    const key = createPrivateKey({ key: jwk, format: 'jwk' })
    // WebCrypto would have another thread sign, which costs twice what the signature does.
    return (data) => sign('sha256', data, { key, dsaEncoding: 'ieee-p1363' })
  }
  const curve = { name: 'ECDSA', namedCurve: 'P-256' }
  const key = await crypto.subtle.importKey('jwk', jwk, curve, false, ['sign'])
  const how = { name: 'ECDSA', hash: 'SHA-256' }
  return async (data) => new Uint8Array(await crypto.subtle.sign(how, key, data as Uint8Array<ArrayBuffer>))
}

export type ScryptCost = { readonly N: number; readonly r: number; readonly p: number }

export function scrypt(
  password: Uint8Array,
  salt: Uint8Array,
  length: number,
  cost: ScryptCost,
): Promise<Uint8Array> {
  const maxmem = 256 * cost.N * cost.r
  return new Promise((resolve, reject) => {
    scryptCallback(password, salt, length, { ...cost, maxmem }, (error, key) =>
      error ? reject(error) : resolve(key),
    )
  })
}

export type PrivateKey = {
  readonly type: string | undefined
  /** As OpenSSL names it; undefined for keys on no named curve. */
  readonly namedCurve: string | undefined
  /** DER; the caller's to wipe. */
  readonly pkcs8: Uint8Array
}

/** Throws when it is not PEM, or the password is wrong: the error may quote what could not be read. */
export function readPrivateKey(pem: string, password: string | undefined): PrivateKey {
  const key = createPrivateKey(password === undefined ? { key: pem } : { key: pem, passphrase: password })
  return {
    type: key.asymmetricKeyType,
    namedCurve: key.asymmetricKeyDetails?.namedCurve,
    pkcs8: key.export({ format: 'der', type: 'pkcs8' }),
  }
}
