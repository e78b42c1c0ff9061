// Keys of a node from its files: the data key, and the key pair under which it signs tokens.
import { fromBase64 } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import { randomBytes } from '../base/native-crypto.ts'
import { createKeyring, type Keyring } from '../secret/keyring.ts'
import { newSigningKey, type SigningKey, signingKeyOf } from '../token/access-token.ts'
import { readPrivateFile, readSettingFile, writePrivateFile } from './files.ts'

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

/** Made at the first start; the private half stays in this file. */
export async function loadSigningKey(file: string): Promise<SigningKey> {
  const held = await readPrivateFile(file)
  if (held !== undefined) return signingKeyOf(JSON.parse(held))
  const made = await newSigningKey()
  await writePrivateFile(file, JSON.stringify(made.privateJwk))
  return made
}
