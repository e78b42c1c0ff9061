// Arithmetic of the deadline (cluster 7.3): it counts from the moment a renewal was sent, because the store counts from
// a later one.
import { type Monotonic, monotonic } from '#shared/base/time.ts'
import type { Config } from './types.ts'

export const deadlineAfter = (sentAt: Monotonic, { ttlMs, fenceMarginMs }: Config): Monotonic =>
  monotonic(sentAt + ttlMs - fenceMarginMs)

export const later = (a: Monotonic, b: Monotonic): Monotonic => (a > b ? a : b)

export const after = (at: Monotonic, ms: number): Monotonic => monotonic(at + ms)
