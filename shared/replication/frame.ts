// Messages over a stream of bytes: four bytes of length, big-endian, then the message.
import { concat } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'

export function encodeFrame(message: Uint8Array): Uint8Array {
  const head = new Uint8Array(4)
  new DataView(head.buffer).setUint32(0, message.length)
  return concat(head, message)
}

/** Takes bytes as they come and yields whole messages; throws `too_large` before holding one that is over the limit. */
export class FrameReader {
  readonly #limit: number
  #parts: Uint8Array[] = []
  #length = 0

  constructor(limitBytes: number) {
    this.#limit = limitBytes
  }

  /** Nothing of a message is held that is not whole yet. */
  get isBetweenMessages(): boolean {
    return this.#length === 0
  }

  take(bytes: Uint8Array): Uint8Array[] {
    this.#parts.push(bytes)
    this.#length += bytes.length
    const messages: Uint8Array[] = []
    for (;;) {
      const size = this.#next()
      if (size === undefined || this.#length < 4 + size) return messages
      const all = this.#parts.length === 1 ? this.#parts[0]! : concat(...this.#parts)
      messages.push(all.slice(4, 4 + size))
      this.#parts = [all.subarray(4 + size)]
      this.#length -= 4 + size
    }
  }

  #next(): number | undefined {
    if (this.#length < 4) return undefined
    if (this.#parts[0]!.length < 4) this.#parts = [concat(...this.#parts)]
    const first = this.#parts[0]!
    const size = new DataView(first.buffer, first.byteOffset).getUint32(0)
    if (size > this.#limit)
      throw new DomainError('too_large', `the peer announced a message of ${size} bytes`)
    return size
  }
}
