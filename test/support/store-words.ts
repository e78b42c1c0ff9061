// How the store's Worker and its tests write cells that are bytes.
import { fromHex, toHex } from '#shared/base/bytes.ts'
import { type Clock, monotonic, wall } from '#shared/base/time.ts'

export const toText = (value: unknown): string =>
  JSON.stringify(value, (_, cell) => (cell instanceof Uint8Array ? { hex: toHex(cell) } : cell))

export const fromText = (text: string): unknown =>
  JSON.parse(text, (_, value) => (typeof value?.hex === 'string' ? fromHex(value.hex) : value))

export const clockAtZero: Clock = {
  wall: () => wall(0),
  monotonic: () => monotonic(0),
  sleep: () => Promise.resolve(),
}
