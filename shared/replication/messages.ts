// What a Leader and a Follower say to each other (cluster 6.3, 12.6): JSON, one message per frame.
import { z } from 'zod'
import { fromUtf8, utf8 } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import type { Position } from '../ledger/position.ts'

// 1  first form
// 2  rows of authenticators and issuers
export const PROTOCOL = 2

const position = z.object({ epoch: z.int().min(0), seq: z.int().min(0) })
const hash = z.string().regex(/^[0-9a-f]{64}$/)
const name = z.string().min(1).max(200)

export const errorCodes = [
  'EPOCH_STALE',
  'POSITION_TOO_OLD',
  'POSITION_AHEAD',
  'SET_CHANGED',
  'HASH_MISMATCH',
  'CERT_REVOKED',
  'SUPERSEDED',
  'VERSION_UNSUPPORTED',
] as const
export type StreamErrorCode = (typeof errorCodes)[number]

const snapshotHeader = z.object({
  id: name,
  position,
  contentHash: hash,
  /** When its newest commit was made, Leader's wall time. */
  at: z.number(),
  chunks: z.int().min(0),
})

const toLeader = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    protocol: z.int(),
    /** Grows with every start of the Follower: of two with one name, the newer one is believed. */
    incarnation: z.number(),
    set: name,
    held: z.object({ position, contentHash: hash }).nullable(),
    /** A snapshot that was begun, to go on with. */
    staged: z.object({ id: name, nextChunk: z.int().min(0) }).nullable(),
    /** Public keys under which this Follower signs tokens. */
    keys: z.array(z.object({ kid: name, jwk: z.string().max(2_000) })).max(10),
  }),
  /** This position, and all before it, survive a crash of the Follower. */
  z.object({ type: z.literal('ack'), position }),
  /** A sign of life while nothing can be acknowledged. */
  z.object({ type: z.literal('ping') }),
  z.object({ type: z.literal('error'), code: z.enum(errorCodes), message: z.string().max(500) }),
])

const toFollower = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('welcome'),
    position,
    mode: z.enum(['live', 'snapshot']),
    /** Why a snapshot is sent although the Follower held something. */
    reason: z.enum(errorCodes).nullable(),
    leaderUrl: z.string().nullable(),
    /** Of what it leads; a Leader that stands alone says nothing. */
    cluster: z.object({ name, leader: name }).nullish(),
    /** Leader's wall time as it sends this: the age of data is counted on two clocks. */
    leaderTime: z.number(),
  }),
  z.object({ type: z.literal('snapshot'), header: snapshotHeader }),
  /** `rows`: base64 of the gzip of `encodeChanges` of puts to one table. */
  z.object({ type: z.literal('chunk'), chunk: z.int().min(0), rows: z.string() }),
  z.object({
    type: z.literal('commit'),
    position,
    at: z.number(),
    contentHash: hash,
    part: z.int().min(0),
    parts: z.int().min(1),
    /** Checked where it is decoded (ledger/change.ts). */
    changes: z.array(z.unknown()),
  }),
  /** A sign of life while a snapshot is being made. */
  z.object({ type: z.literal('ping') }),
  z.object({ type: z.literal('error'), code: z.enum(errorCodes), message: z.string().max(500) }),
])

export type ToLeader = z.infer<typeof toLeader>
export type ToFollower = z.infer<typeof toFollower>
export type Hello = Extract<ToLeader, { type: 'hello' }>
/** A cluster and who leads it, by name. */
export type LedCluster = NonNullable<Extract<ToFollower, { type: 'welcome' }>['cluster']>
export type SnapshotHeader = z.infer<typeof snapshotHeader>

export const encodeMessage = (message: ToLeader | ToFollower | AuditToLeader | AuditToFollower): Uint8Array =>
  utf8(JSON.stringify(message))

/** One part of a commit; `changes` is the text that the log holds, taken over as it is. */
export function encodePart(
  commit: {
    readonly position: Position
    readonly at: number
    readonly contentHash: string
    readonly parts: readonly Uint8Array[]
  },
  part: number,
): Uint8Array {
  const { position: at, parts } = commit
  const head = JSON.stringify({
    type: 'commit',
    position: at,
    at: commit.at,
    contentHash: commit.contentHash,
    part,
    parts: parts.length,
  })
  return utf8(`${head.slice(0, -1)},"changes":${fromUtf8(parts[part]!)!}}`)
}

export const decodeToLeader = (frame: Uint8Array): ToLeader => decode(toLeader, frame)
export const decodeToFollower = (frame: Uint8Array): ToFollower => decode(toFollower, frame)

// The audit stream: records of a Follower, in order, each until the Leader has said that it is durable there.
const chainedLine = z.object({ seq: z.int().min(1), prevHash: hash, line: z.string() })

const auditToLeader = z.discriminatedUnion('type', [
  z.object({ type: z.literal('hello'), protocol: z.int(), incarnation: name }),
  z.object({ type: z.literal('records'), records: z.array(chainedLine).max(500) }),
  /** A sign of life, and how many records wait here. */
  z.object({ type: z.literal('ping'), queued: z.int().min(0) }),
])
const auditToFollower = z.discriminatedUnion('type', [
  /** Highest contiguous number that is durable at the Leader. */
  z.object({ type: z.literal('stored'), seq: z.int().min(0) }),
  z.object({ type: z.literal('pong') }),
  z.object({
    type: z.literal('refused'),
    reason: z.enum(['gap', 'fork', 'VERSION_UNSUPPORTED']),
    seq: z.int().min(0),
  }),
])
export type AuditToLeader = z.infer<typeof auditToLeader>
export type AuditToFollower = z.infer<typeof auditToFollower>
export const decodeAuditToLeader = (frame: Uint8Array): AuditToLeader => decode(auditToLeader, frame)
export const decodeAuditToFollower = (frame: Uint8Array): AuditToFollower => decode(auditToFollower, frame)

function decode<T>(schema: z.ZodType<T>, frame: Uint8Array): T {
  let value: unknown
  try {
    value = JSON.parse(fromUtf8(frame) ?? '')
  } catch (cause) {
    throw new DomainError('bad_request', 'a message of the peer is not JSON', { cause })
  }
  const parsed = schema.safeParse(value)
  if (!parsed.success) {
    const paths = parsed.error.issues.map((issue) => issue.path.join('.') || 'type').join(', ')
    throw new DomainError('bad_request', `a message of the peer is malformed at ${paths}`)
  }
  return parsed.data
}
