import { concat, fromUtf8 } from '../base/bytes.ts'

/** The body; undefined for what is longer than `mostBytes`, or not UTF-8. */
export async function boundedText(response: Response, mostBytes: number): Promise<string | undefined> {
  const parts: Uint8Array[] = []
  let length = 0
  // Leaving the loop closes the stream.
  for await (const part of response.body ?? []) {
    length += part.length
    if (length > mostBytes) return undefined
    parts.push(part)
  }
  return fromUtf8(concat(...parts))
}
