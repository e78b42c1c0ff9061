/** Repeatable random numbers: mulberry32. The seed is printed by whoever uses it. */
export type Random = {
  /** 0 ≤ n < 1 */
  next(): number
  /** An integer, `from` ≤ n < `below`. */
  int(from: number, below: number): number
  pick<T>(items: readonly T[]): T
}

export function seeded(seed: number): Random {
  let a = seed >>> 0
  const next = (): number => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), a | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  const int = (from: number, below: number): number => from + Math.floor(next() * (below - from))
  return { next, int, pick: (items) => items[int(0, items.length)]! }
}

/** The seed of this run: `HOLDFAST_SEED`, or a new one. */
export function runSeed(name: string): number {
  const given = process.env.HOLDFAST_SEED
  const seed = given === undefined ? Date.now() % 1_000_000 : Number(given)
  process.stdout.write(`${name}: HOLDFAST_SEED=${seed}\n`)
  return seed
}
