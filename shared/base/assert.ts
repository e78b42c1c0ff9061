/** For what cannot happen. What can happen (a peer that lies, a full disk) is handled, not asserted. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`)
}

export function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`)
}
