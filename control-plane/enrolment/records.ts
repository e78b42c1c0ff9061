// Rows about nodes: seeds, certificates and the authority. They are in the ledger's database, so every Standby has them, and
// are written under the guard of the epoch.
import type { AuditEvent } from '#shared/audit/event.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'
import { type NodeKind, type NodeName, nodeKinds, type RoleClass } from '#shared/enrolment/names.ts'
import type { IssuedCertificate } from '#shared/node/certificates.ts'
import type { Database, Session } from '../ledger/connection.ts'
import { beginGuarded } from '../ledger/epoch-guard.ts'
import { recordGroups, type Stage, storeAndCommit, storingError } from '../ledger/storing.ts'
import type { Turns } from '../ledger/writer.ts'
import { type EdgeRow, edgeIn } from './edges.ts'
import type { CertificateRow, SeedRow } from './rules.ts'

export type AuthorityRow = {
  readonly serial: string
  readonly clusterId: string
  /** PEM. */
  readonly certificate: string
  readonly sealedKey: Uint8Array
  readonly createdAt: number
  /** PEM: what of its certificates is revoked. With the ledger it is at every control node. */
  readonly revocations: string
}

export type NodeRow = {
  readonly node: string
  readonly kind: NodeKind
  readonly replicationSet: string
  readonly serviceRole: string
  /** Names and addresses for its certificates. */
  readonly hosts: readonly string[]
  readonly version: string
  readonly labels: Readonly<Record<string, string>>
  readonly enrolledAt: number
}

/** All that is known, but for the texts of certificates. */
export type Held = {
  /** The newest is the one that signs. */
  readonly authorities: readonly AuthorityRow[]
  readonly nodes: ReadonlyMap<string, NodeRow>
  readonly certificates: ReadonlyMap<string, CertificateRow>
  readonly seeds: readonly SeedRow[]
  readonly edges: ReadonlyMap<string, EdgeRow>
}

export type Recorded<T> = { readonly value: T; readonly events: readonly AuditEvent[] }

export type Records = {
  load(): Promise<Held>
  /** PEM. */
  certificate(serial: string): Promise<string | undefined>
  /** All that `body` does, with its audit, or nothing; nobody else writes meanwhile, so what it is given is what is there. */
  change<T>(
    requestId: string,
    body: (session: Session, held: Held, now: number) => Promise<Recorded<T>>,
  ): Promise<T>
}

export type RecordsOptions = {
  readonly database: Database
  readonly writer: Pick<Turns, 'turn'>
  readonly epoch: number
}

export function createRecords({ database, writer, epoch }: RecordsOptions): Records {
  return {
    load: () => load(database),
    async certificate(serial) {
      const { rows } = await database.query('SELECT certificate FROM node_certificates WHERE serial = $1', [
        serial,
      ])
      return rows[0]?.certificate as string | undefined
    },
    async change(requestId, body) {
      // One connection from the beginning: in its turn, for which everybody else waits, it must wait for none.
      const session = await database.session()
      let broken = true
      try {
        let value: { readonly of: Awaited<ReturnType<typeof body>>['value'] } | undefined
        await writer.turn(async (_head, now) => {
          const done = await stored(session, epoch, requestId, now, body)
          value = { of: done.value }
          return { commits: [], records: done.events.length > 0 }
        })
        broken = false
        return value!.of
      } finally {
        // Closing the connection rolls back, whatever state it is in.
        session.release(broken)
      }
    },
  }
}

async function stored<T>(
  session: Session,
  epoch: number,
  requestId: string,
  now: number,
  body: (session: Session, held: Held, now: number) => Promise<Recorded<T>>,
): Promise<Recorded<T>> {
  const stage: Stage = { committing: false }
  try {
    await beginGuarded(session, epoch)
    const done = await body(session, await load(session), now)
    const lines = done.events.map((event) => formatEvent(event, { timestamp: now, procid: requestId }))
    await storeAndCommit(session, { commits: [], groups: recordGroups(lines), movesRoles: false }, stage)
    return done
  } catch (error) {
    throw storingError(error, stage.committing)
  }
}

async function load(database: Session): Promise<Held> {
  const [authorities, nodes, certificates, seeds, edges] = await Promise.all([
    database.query('SELECT * FROM node_authorities ORDER BY created_at DESC, serial'),
    database.query('SELECT * FROM nodes'),
    database.query(
      'SELECT c.serial, c.node, c.role_class, c.key_hash, c.not_after, c.replaced_by, c.revoked_because, ' +
        '(SELECT cluster_id FROM node_authorities ORDER BY created_at DESC LIMIT 1) AS cluster_id FROM node_certificates c',
    ),
    database.query('SELECT * FROM node_seeds ORDER BY made_at'),
    database.query('SELECT * FROM edge_bearers'),
  ])
  return {
    authorities: authorities.rows.map((row) => ({
      serial: String(row.serial),
      clusterId: String(row.cluster_id),
      certificate: String(row.certificate),
      sealedKey: row.sealed_key as Uint8Array,
      createdAt: Number(row.created_at),
      revocations: String(row.revocations),
    })),
    nodes: new Map(nodes.rows.map((row) => [String(row.node), nodeIn(row)])),
    certificates: new Map(certificates.rows.map((row) => [String(row.serial), certificateIn(row)])),
    seeds: seeds.rows.map(seedIn),
    edges: new Map(edges.rows.map((row) => [String(row.node), edgeIn(row)])),
  }
}

type Row = Readonly<Record<string, unknown>>

const textOr = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
const kindIn = (value: unknown): NodeKind => nodeKinds.find((kind) => kind === value) ?? 'follower'

const nodeIn = (row: Row): NodeRow => ({
  node: String(row.node),
  kind: kindIn(row.kind),
  replicationSet: String(row.replication_set),
  serviceRole: String(row.service_role),
  hosts: JSON.parse(String(row.hosts)) as string[],
  version: String(row.version),
  labels: JSON.parse(String(row.labels)) as Record<string, string>,
  enrolledAt: Number(row.enrolled_at),
})

const certificateIn = (row: Row): CertificateRow => ({
  serial: String(row.serial),
  clusterId: String(row.cluster_id),
  node: String(row.node),
  roleClass: row.role_class as RoleClass,
  keyHash: String(row.key_hash),
  notAfter: Number(row.not_after),
  replacedBy: textOr(row.replaced_by),
  revokedBecause: textOr(row.revoked_because),
})

const seedIn = (row: Row): SeedRow => ({
  id: String(row.id),
  secretHash: String(row.secret_hash),
  node: String(row.node),
  kind: kindIn(row.kind),
  replicationSet: String(row.replication_set),
  serviceRole: String(row.service_role),
  hosts: JSON.parse(String(row.hosts)) as string[],
  expiresAt: Number(row.expires_at),
  serial: textOr(row.serial),
})

export async function insertAuthority(session: Session, row: AuthorityRow): Promise<void> {
  await session.query('INSERT INTO node_authorities VALUES ($1, $2, $3, $4, $5, $6)', [
    row.serial,
    row.clusterId,
    row.certificate,
    Buffer.from(row.sealedKey),
    row.createdAt,
    row.revocations,
  ])
}

export async function putRevocations(
  session: Session,
  authority: string,
  revocations: string,
): Promise<void> {
  await session.query('UPDATE node_authorities SET revocations = $2 WHERE serial = $1', [
    authority,
    revocations,
  ])
}

/** Those that have not run out. */
export async function revokedCertificates(
  session: Session,
  now: number,
): Promise<{ readonly serial: string; readonly at: number }[]> {
  const { rows } = await session.query(
    'SELECT serial, revoked_at FROM node_certificates WHERE revoked_at IS NOT NULL AND not_after > $1 ORDER BY serial',
    [now],
  )
  return rows.map((row) => ({ serial: String(row.serial), at: Number(row.revoked_at) }))
}

/** A node that joins again is what its newest seed says. */
export async function putNode(session: Session, row: NodeRow): Promise<void> {
  await session.query(
    'INSERT INTO nodes (node, kind, replication_set, service_role, hosts, version, labels, enrolled_at) ' +
      'VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (node) DO UPDATE SET kind = $2, replication_set = $3, ' +
      'service_role = $4, hosts = $5, version = $6, labels = $7, enrolled_at = $8',
    [
      row.node,
      row.kind,
      row.replicationSet,
      row.serviceRole,
      JSON.stringify(row.hosts),
      row.version,
      JSON.stringify(row.labels),
      row.enrolledAt,
    ],
  )
}

export async function insertCertificate(
  session: Session,
  { node, roleClass }: Pick<NodeName, 'node' | 'roleClass'>,
  issued: IssuedCertificate,
): Promise<void> {
  await session.query(
    'INSERT INTO node_certificates (serial, node, role_class, key_hash, certificate, not_before, not_after) ' +
      'VALUES ($1, $2, $3, $4, $5, $6, $7)',
    [issued.serial, node, roleClass, issued.keyHash, issued.certificate, issued.notBefore, issued.notAfter],
  )
}

export async function replaceCertificate(session: Session, serial: string, by: string): Promise<void> {
  await session.query('UPDATE node_certificates SET replaced_by = $2 WHERE serial = $1', [serial, by])
}

/** Of a node, all that are not revoked yet; those that have run out as well. Returns their serials. */
export async function revokeCertificates(
  session: Session,
  node: string,
  because: string,
  now: number,
): Promise<string[]> {
  const { rows } = await session.query(
    'UPDATE node_certificates SET revoked_at = $2, revoked_because = $3 WHERE node = $1 AND revoked_at IS NULL RETURNING serial',
    [node, now, because],
  )
  return rows.map((row) => String(row.serial))
}

export async function insertSeed(
  session: Session,
  seed: SeedRow,
  madeBy: string,
  now: number,
): Promise<void> {
  await session.query(
    'INSERT INTO node_seeds (id, secret_hash, node, kind, replication_set, service_role, hosts, made_by, made_at, expires_at) ' +
      'VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)',
    [
      seed.id,
      seed.secretHash,
      seed.node,
      seed.kind,
      seed.replicationSet,
      seed.serviceRole,
      JSON.stringify(seed.hosts),
      madeBy,
      now,
      seed.expiresAt,
    ],
  )
}

export async function redeemSeed(session: Session, id: string, serial: string, now: number): Promise<void> {
  await session.query('UPDATE node_seeds SET redeemed_at = $2, serial = $3 WHERE id = $1', [id, now, serial])
}

/** Seeds that were not used for a node are of no use from now on. */
export async function withdrawSeeds(session: Session, node: string): Promise<number> {
  const { rowCount } = await session.query('DELETE FROM node_seeds WHERE node = $1 AND serial IS NULL', [
    node,
  ])
  return rowCount
}

/** What has run out long ago; nothing that still answers somebody. */
export async function forgetBefore(session: Session, before: number): Promise<void> {
  await session.query('DELETE FROM node_seeds WHERE expires_at < $1', [before])
  await session.query('DELETE FROM node_certificates WHERE not_after < $1', [before])
}
