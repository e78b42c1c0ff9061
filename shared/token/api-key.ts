const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

/**
 * A new API key or host-factory token: 32 random bytes as eight big-endian 32-bit integers, each in Crockford
 * base32, joined, lower case (http-api 4). About 50 to 56 characters.
 */
export function drawApiKey(random: (length: number) => Uint8Array): string {
  const bytes = random(32)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let key = ''
  for (let i = 0; i < 8; i++) key += base32(view.getUint32(i * 4))
  return key
}

function base32(value: number): string {
  let text = ''
  let rest = value
  do {
    text = ALPHABET[rest % 32]! + text
    rest = Math.floor(rest / 32)
  } while (rest > 0)
  return text
}
