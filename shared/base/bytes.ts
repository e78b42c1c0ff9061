const encoder = new TextEncoder()
const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export const utf8 = (text: string): Uint8Array => encoder.encode(text)

/** The text, or undefined when the bytes are not UTF-8. */
export function fromUtf8(bytes: Uint8Array): string | undefined {
  try {
    return strictDecoder.decode(bytes)
  } catch {
    // Not an error of ours: the caller asked whether it is text.
    return undefined
  }
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

export const toHex = (bytes: Uint8Array): string => bytes.toHex()
export const fromHex = (text: string): Uint8Array => Uint8Array.fromHex(text)

/** Standard alphabet, padded. */
export const toBase64 = (bytes: Uint8Array): string => bytes.toBase64()

/** Standard alphabet, padding optional; undefined when malformed. */
export function fromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text)
  } catch {
    return undefined
  }
}

/** As the reference reads tokens: junk and line breaks are skipped, padding is optional (http-api 3). */
export function fromBase64Lenient(text: string): Uint8Array | undefined {
  return fromBase64(text.replace(/[^A-Za-z0-9+/]/g, ''))
}

export const toBase64Url = (bytes: Uint8Array): string =>
  bytes.toBase64({ alphabet: 'base64url', omitPadding: true })

export function fromBase64Url(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text, { alphabet: 'base64url' })
  } catch {
    return undefined
  }
}

/** Text that every store can hold: no U+0000, no half of a surrogate pair. */
export const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed()
