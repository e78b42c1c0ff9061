// What shared/ may know of Node: the functions that native-crypto.ts uses and no others (architecture P7).
// Read only by shared/tsconfig.json; the rest of the project sees the full types of Node.
declare module 'node:crypto' {
  export interface KeyObject {
    readonly type: 'secret' | 'public' | 'private'
    readonly asymmetricKeyType?: string
    readonly asymmetricKeyDetails?: { readonly namedCurve?: string }
    export(options: { format: 'der'; type: 'pkcs8' }): Bytes
  }
  type Bytes = Uint8Array
  export function createPrivateKey(given: { key: string; passphrase?: string }): KeyObject
  export function createPrivateKey(given: { key: JsonWebKey; format: 'jwk' }): KeyObject
  export function sign(hash: 'sha256', data: Bytes, key: { key: KeyObject; dsaEncoding: 'ieee-p1363' }): Bytes
  export function createSecretKey(key: Bytes): KeyObject
  export function randomFillSync(target: Bytes): Bytes
  export function timingSafeEqual(a: Bytes, b: Bytes): boolean
  export function hash(algorithm: string, data: Bytes | string, encoding: 'buffer'): Bytes
  export function hash(algorithm: string, data: Bytes | string, encoding: 'hex'): string
  interface Cipher {
    setAAD(aad: Bytes): this
    update(data: Bytes): Bytes
    final(): Bytes
    getAuthTag(): Bytes
  }
  interface Decipher {
    setAAD(aad: Bytes): this
    setAuthTag(tag: Bytes): this
    update(data: Bytes): Bytes
    final(): Bytes
  }
  type GcmOptions = { authTagLength: number }
  export function createCipheriv(a: 'aes-256-gcm', key: KeyObject, iv: Bytes, options: GcmOptions): Cipher
  export function createDecipheriv(a: 'aes-256-gcm', key: KeyObject, iv: Bytes, options: GcmOptions): Decipher
  type ScryptOptions = { N: number; r: number; p: number; maxmem: number }
  export function scrypt(
    password: Bytes,
    salt: Bytes,
    length: number,
    options: ScryptOptions,
    done: (error: Error | null, key: Bytes) => void,
  ): void
}
