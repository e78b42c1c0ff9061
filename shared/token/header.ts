// The Authorization header, as lenient as the reference reads it (http-api 3).
import { fromBase64, fromUtf8, isStorable } from '../base/bytes.ts'

/** What stands between `Token token="` and the last quote; undefined when the header has not this form. */
export function tokenOfHeader(header: string | undefined): string | undefined {
  if (header === undefined) return undefined
  const start = /^Token token="/.exec(header)
  if (start === null) return undefined
  const end = header.lastIndexOf('"')
  return end < start[0].length ? undefined : header.slice(start[0].length, end).trim()
}

export type Basic = { readonly login: string; readonly secret: string }

/** Login and secret of HTTP Basic; the secret may hold colons. Undefined when absent or malformed. */
export function basicOfHeader(header: string | undefined): Basic | undefined {
  const encoded = /^Basic +(\S+)\s*$/i.exec(header ?? '')?.[1]
  const decoded = encoded === undefined ? undefined : fromBase64(encoded)
  const text = decoded && fromUtf8(decoded)
  const colon = text?.indexOf(':') ?? -1
  if (text === undefined || colon < 0 || !isStorable(text)) return undefined
  return { login: text.slice(0, colon), secret: text.slice(colon + 1) }
}
