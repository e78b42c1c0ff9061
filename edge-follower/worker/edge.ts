// A Follower from what a Durable Object has: its storage, its variables and secrets. Nothing is kept in memory only.
import { gunzipSync } from 'node:zlib'
import { signCertificate } from '#shared/api/certificate-authority.ts'
import type { Health } from '#shared/api/node.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { fromUtf8, utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes, sha256Hex } from '#shared/base/native-crypto.ts'
import type { Space } from '#shared/base/space.ts'
import { createKeyring, type Keyring } from '#shared/secret/keyring.ts'
import { createTokens, newSigningKey, type SigningKey, signingKeyOf } from '#shared/token/access-token.ts'
import { createFollower, type Follower } from '../follower.ts'
import type { KnownLeader, LinkStatus } from '../link/link.ts'
import { createAuditQueue } from '../store/audit-queue.ts'
import { createReplicaStore } from '../store/replica-store.ts'
import { scrubOnce } from '../store/scrub.ts'
import { forgetState, readState } from '../store/state.ts'
import { workerClock as clock } from './clock.ts'
import { createWaitingRoom, outgoingDial, type WaitingRoom } from './dial.ts'
import { createLargeCells } from './large-cells.ts'
import { type Log, logOf } from './log.ts'
import { outgoingThrough } from './outgoing.ts'
import type { Env, ObjectStorage } from './platform-types.ts'
import { type WorkerSettings, workerSettings } from './settings.ts'
import { objectSqlite } from './sqlite.ts'

export type Edge = {
  readonly settings: WorkerSettings
  readonly log: Log
  readonly api: Follower['api']
  readonly health: () => Health
  readonly hasCopy: () => boolean
  /** The copy was being followed when the object was last in memory: wires that are left may go on. */
  readonly wasLive: boolean
  /** Where the Leader's wires come in; undefined when this object dials. */
  readonly room: WaitingRoom | undefined
  /** Why nothing is served any more, undefined while it is. */
  readonly out: () => string | undefined
  /** Follows the Leader for as long as the object is in memory. */
  readonly run: () => Promise<void>
  /** Compares the copy with its digests, when that is due. False: it is damaged, and was given up. */
  readonly scrub: () => Promise<boolean>
}

// Keys of the object's own records beside the copy and the audit queue.
const SIGNING_KEY = 'signing-key'
const OUT = 'out'
const SCRUBBED_AT = 'scrubbed-at'
const LEADER = 'leader'

/** Of the Leader that was met last. */
type Met = KnownLeader & { readonly isLive: boolean }

/** Stored by who was put out; `bearer`: SHA-256, hexadecimal, of the one that is not to be shown again. */
type PutOut = { readonly why: string; readonly bearer: string }

/** `name`: of this object; undefined: that of the settings. Throws `settings_invalid`. */
export async function openEdge(storage: ObjectStorage, env: Env, name: string | undefined): Promise<Edge> {
  const given = workerSettings(env)
  const settings = { ...given, name: name ?? given.name }
  const log = logOf(settings.name)
  const keyring = createKeyring({ versions: new Map([[1, settings.dataKey]]), current: 1 }, randomBytes)
  const signingKey = await heldSigningKey(storage, keyring, log)
  const met = storage.kv.get(LEADER) as Met | undefined
  const room = settings.link === 'leader' ? createWaitingRoom() : undefined
  const large = createLargeCells(storage)
  const sqlite = objectSqlite(storage, large)
  const bearer = sha256Hex(settings.bearer)
  let putOut = storage.kv.get(OUT) as PutOut | undefined
  let ended: string | undefined
  const remember = rememberLeader(storage, met)
  const auditBudget = { records: settings.audit_budget_records, bytes: settings.audit_budget_bytes }
  const follower = createFollower({
    name: settings.name,
    settings,
    data: sqlite,
    store: createReplicaStore(sqlite),
    queue: createAuditQueue({
      // A door of its own: what is written through it does not change the copy.
      sqlite: objectSqlite(storage, large),
      budget: auditBudget,
      now: Date.now,
      random: randomBytes,
      // Requests that came meanwhile are in the same flush, which costs more than all else of a read.
      endOfTurn: (callback) => void setTimeout(callback, limits.objectAuditGroupMs),
      versions: 'audit_schema_version',
    }),
    auditBudget,
    keyring,
    tokens: await createTokens(signingKey, settings.name),
    clock,
    random: randomBytes,
    leaderUrl: settings.leader_url ?? met?.leaderUrl,
    leader: met && { leaderUrl: met.leaderUrl, cluster: met.cluster },
    sleeps: room !== undefined,
    onStatus(status) {
      remember(status)
      if (status.state !== 'live' || putOut === undefined) return
      // With another bearer the Leader has taken it in again.
      storage.kv.delete(OUT)
      putOut = undefined
    },
    space: () => spaceIn(storage),
    // The platform has the certificate that clients see; keys are secrets of the Worker.
    shown: async () => ({ certificates: [], unprotectedKeyFiles: 0 }),
    balancers: [],
    signCertificate: (order) => signCertificate(order, clock.wall()),
    outgoing: outgoingThrough(parseRanges(settings.authn_private_networks, 'authn_private_networks')),
    // The sockets of the platform reach no private network and take no authority of ours: a directory has both.
    directories: undefined,
    report: log.warn,
    alarm: log.error,
    onFault: (error, requestId) =>
      log.error('a request could not be answered', {
        requestId,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      }),
    dial: room?.dial ?? outgoingDial(settings.leader_url!, settings, clock),
    incarnation: Date.now(),
    keys: [{ kid: signingKey.kid, jwk: JSON.stringify(signingKey.publicJwk) }],
    set: 'full',
    gunzip: (packed) => gunzipSync(packed, { maxOutputLength: limits.partBytes * 4 }),
  })
  return {
    settings,
    log,
    api: follower.api,
    health: follower.health,
    hasCopy: () => readState(sqlite) !== undefined,
    wasLive: met?.isLive === true,
    room,
    out: () => ended ?? putOut?.why,
    async run() {
      if (putOut?.bearer === bearer) return
      const { why, message } = await follower.run(new AbortController().signal)
      ended = `${message}: this Follower is not to serve any more`
      log.error(ended)
      // Who was put out stays out (I11); who was superseded asks again when the object is started again.
      if (why === 'revoked') storage.kv.put(OUT, { why: ended, bearer } satisfies PutOut)
    },
    async scrub() {
      const due = ((storage.kv.get(SCRUBBED_AT) as number | undefined) ?? 0) + limits.objectScrubPauseMs
      if (clock.wall() < due) return true
      large.sweep()
      const pass = await scrubOnce({ sqlite, clock }, new AbortController().signal)
      if (pass.kind === 'corrupt') {
        log.error('the copy is not what the Leader sent: a snapshot will be taken', { what: pass.what })
        forgetState(sqlite)
        return false
      }
      if (pass.kind === 'sound') {
        storage.kv.put(SCRUBBED_AT, clock.wall())
        follower.verified(clock.wall())
      }
      return true
    },
  }
}

/** Only what is new is written: a status comes with every connection, and each write costs. */
function rememberLeader(storage: ObjectStorage, met: Met | undefined): (status: LinkStatus) => void {
  let known = JSON.stringify(met)
  return ({ leaderUrl, cluster, state, distrust }) => {
    const now: Met = { leaderUrl, cluster, isLive: state === 'live' && distrust === undefined }
    const text = JSON.stringify(now)
    if (text === known) return
    known = text
    storage.kv.put(LEADER, now)
  }
}

/** Made at the first start; the private half is kept sealed under the data key. */
async function heldSigningKey(storage: ObjectStorage, keyring: Keyring, log: Log): Promise<SigningKey> {
  const held = storage.kv.get(SIGNING_KEY)
  if (held instanceof Uint8Array) {
    try {
      return await signingKeyOf(JSON.parse(fromUtf8(keyring.open(SIGNING_KEY, held)) ?? ''))
    } catch {
      log.warn('HOLDFAST_DATA_KEY is another than before: a new key is made to sign tokens')
    }
  }
  const made = await newSigningKey()
  storage.kv.put(SIGNING_KEY, keyring.seal(SIGNING_KEY, utf8(JSON.stringify(made.privateJwk))))
  return made
}

const ENGINE_PAGE_BYTES = 4_096

/** Files are none: what is left is left in pages. */
function spaceIn(storage: ObjectStorage): Space {
  const left = Math.max(0, limits.objectStorageBytes - storage.sql.databaseSize)
  return { kbytes: Math.floor(left / 1024), inodes: Math.floor(left / ENGINE_PAGE_BYTES) }
}
