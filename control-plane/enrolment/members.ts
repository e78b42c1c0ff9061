// What `holdfast ca list` shows.
import type { Json } from '#shared/base/json.ts'
import { fingerprintOf } from '#shared/enrolment/bundle.ts'
import type { EdgeRow } from './edges.ts'
import type { Held } from './records.ts'
import type { CertificateRow } from './rules.ts'

/** For people: who belongs to the cluster, and until when. */
export function membersOf({ authorities, nodes, certificates, seeds, edges }: Held, now: number): Json {
  const instant = (at: number): string => new Date(at).toISOString()
  const stateOf = ({ revokedBecause, replacedBy, notAfter }: CertificateRow): string => {
    if (revokedBecause !== undefined) return 'revoked'
    if (notAfter < now) return 'expired'
    return replacedBy === undefined ? 'valid' : 'replaced'
  }
  const open = seeds.filter((seed) => seed.serial === undefined && seed.expiresAt > now)
  return {
    cluster_id: authorities[0]?.clusterId ?? null,
    authorities: authorities.map(({ certificate, createdAt }) => ({
      fingerprint: fingerprintOf(certificate),
      created_at: instant(createdAt),
    })),
    nodes: [...nodes.values()].map((row) => ({
      name: row.node,
      kind: row.kind,
      replication_set: row.replicationSet,
      service_role: row.serviceRole,
      version: row.version,
      labels: row.labels,
      enrolled_at: instant(row.enrolledAt),
      edge: edgeOf(edges.get(row.node)),
      certificates: [...certificates.values()]
        .filter(({ node }) => node === row.node)
        .map((one) => ({
          serial: one.serial,
          state: stateOf(one),
          not_after: instant(one.notAfter),
          revoked_because: one.revokedBecause ?? null,
        })),
    })),
    seeds: open.map(({ node, kind, expiresAt }) => ({ node, kind, expires_at: instant(expiresAt) })),
  }
}

/** Null: it has a certificate, not a bearer. */
const edgeOf = (row: EdgeRow | undefined): Json =>
  row === undefined
    ? null
    : {
        state: row.revokedBecause === undefined ? 'valid' : 'revoked',
        dialled_at: row.dialled?.url ?? null,
        revoked_because: row.revokedBecause ?? null,
      }
