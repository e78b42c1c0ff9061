// Every node numbers its audit lines and chains them: whoever drops, changes or reorders one is found out (I10).
import { sha256Hex } from '../base/native-crypto.ts'

/** The end of a chain: the newest number and the hash that stands for everything up to it. */
export type ChainEnd = { readonly seq: number; readonly hash: string }

export const chainStart: ChainEnd = { seq: 0, hash: '0'.repeat(64) }

export type ChainedLine = {
  readonly seq: number
  /** Hash of the line before, 64 hex digits. */
  readonly prevHash: string
  readonly line: string
}

/** The chain after one more line. The hash has a fixed width and the number ends at a space, so parts cannot be shifted. */
export function extend(end: ChainEnd, line: string): ChainEnd {
  const seq = end.seq + 1
  return { seq, hash: sha256Hex(`${end.hash}${seq} ${line}`) }
}

export type ChainVerdict =
  | { readonly kind: 'fits'; readonly end: ChainEnd; readonly fresh: readonly ChainedLine[] }
  /** Records between `end` and the first of the batch are missing. */
  | { readonly kind: 'gap'; readonly expected: number; readonly got: number }
  /** A number that follows `end` carries another history. */
  | { readonly kind: 'fork'; readonly seq: number }

/** Fits a batch in ascending order to the end of a chain; lines that are already known are left out. */
export function fitBatch(end: ChainEnd, batch: readonly ChainedLine[]): ChainVerdict {
  const fresh: ChainedLine[] = []
  let at = end
  for (const item of batch) {
    if (item.seq <= at.seq && fresh.length === 0) {
      const isEnd = item.seq === end.seq
      if (isEnd && extend({ seq: item.seq - 1, hash: item.prevHash }, item.line).hash !== end.hash) {
        return { kind: 'fork', seq: item.seq }
      }
      continue
    }
    if (item.seq !== at.seq + 1) return { kind: 'gap', expected: at.seq + 1, got: item.seq }
    if (item.prevHash !== at.hash) return { kind: 'fork', seq: item.seq }
    at = extend(at, item.line)
    fresh.push(item)
  }
  return { kind: 'fits', end: at, fresh }
}
