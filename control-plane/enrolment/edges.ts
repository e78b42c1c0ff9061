// Followers at the edge: they have no file system for a certificate, and are known by a bearer that the cluster has drawn.
import { utf8 } from '#shared/base/bytes.ts'
import { constantTimeEqual, sha256Hex } from '#shared/base/native-crypto.ts'
import type { Refusal } from '#shared/enrolment/messages.ts'
import { recordId } from '#shared/secret/keyring.ts'
import type { Session } from '../ledger/connection.ts'
import type { EdgeFollower } from '../publish/dialler.ts'
import type { Identified, Known } from '../publish/entrance.ts'
import type { Office } from './office.ts'

export type EdgeRow = {
  readonly node: string
  /** SHA-256, hexadecimal. */
  readonly bearerHash: string
  /** Where the Leader dials it, with the bearer; undefined: it dials, and nobody here needs more than the hash. */
  readonly dialled: { readonly url: string; readonly sealedBearer: Uint8Array } | undefined
  readonly revokedBecause: string | undefined
}

export const bearerRecord = (node: string): string => recordId('edge_bearers', node)

export const edgeIn = (row: Readonly<Record<string, unknown>>): EdgeRow => ({
  node: String(row.node),
  bearerHash: String(row.bearer_hash),
  dialled:
    typeof row.url === 'string' ? { url: row.url, sealedBearer: row.sealed_bearer as Uint8Array } : undefined,
  revokedBecause: typeof row.revoked_because === 'string' ? row.revoked_because : undefined,
})

/** The bearer before it, if there was one, is good no more. */
export async function putEdge(session: Session, row: EdgeRow, now: number): Promise<void> {
  const { node, bearerHash, dialled } = row
  await session.query(
    'INSERT INTO edge_bearers (node, bearer_hash, url, sealed_bearer, made_at) VALUES ($1, $2, $3, $4, $5) ' +
      'ON CONFLICT (node) DO UPDATE SET bearer_hash = $2, url = $3, sealed_bearer = $4, made_at = $5, ' +
      'revoked_at = NULL, revoked_because = NULL',
    [
      node,
      bearerHash,
      dialled?.url ?? null,
      dialled === undefined ? null : Buffer.from(dialled.sealedBearer),
      now,
    ],
  )
}

/** What could still be presented is forgotten; what it is refused by is kept. Returns whether there was one. */
export async function revokeEdge(
  session: Session,
  node: string,
  because: string,
  now: number,
): Promise<boolean> {
  const { rowCount } = await session.query(
    'UPDATE edge_bearers SET revoked_at = $2, revoked_because = $3, sealed_bearer = NULL, url = NULL ' +
      'WHERE node = $1 AND revoked_at IS NULL',
    [node, now, because],
  )
  return rowCount > 0
}

export type EdgeGate = {
  /** `authorization`: the header. Undefined: it is nobody of these. */
  identify(authorization: string | undefined): Identified | undefined
  /** Whom the Leader is to dial now. */
  dialled(): readonly EdgeFollower[]
  onChange(listener: () => void): void
}

export type EdgeGateOptions = {
  readonly office: Pick<Office, 'edges' | 'edge' | 'node' | 'onChange' | 'bearerOf'>
  readonly heartbeatMs: number
}

export function createEdgeGate({ office, heartbeatMs }: EdgeGateOptions): EdgeGate {
  /** Ends a link as soon as the bearer that it was opened with is not good any more. */
  const holdBy =
    ({ node, bearerHash }: EdgeRow): NonNullable<Known['hold']> =>
    (end) =>
      office.onChange(() => {
        const now = office.edge(node)
        // With another bearer it is let in again: nothing is to be said about this one.
        if (now?.bearerHash !== bearerHash) end(undefined)
        else if (now.revokedBecause !== undefined) end(refusalOf(now))
      })
  const knownOf = (row: EdgeRow): Known => ({
    identity: { name: row.node, set: office.node(row.node)?.replicationSet ?? 'full' },
    hold: holdBy(row),
  })
  return {
    identify(authorization) {
      const [, name, bearer] = /^Bearer ([^.]+)\.(\S+)$/.exec(authorization ?? '') ?? []
      if (bearer === undefined) return undefined
      const digest = utf8(sha256Hex(bearer))
      let found: EdgeRow | undefined
      // Every digest is compared, so that time does not tell which name is known.
      for (const row of office.edges()) {
        const fits = constantTimeEqual(utf8(row.bearerHash), digest)
        if (fits && row.node === name) found = row
      }
      if (found === undefined) return undefined
      return found.revokedBecause === undefined
        ? { kind: 'known', ...knownOf(found) }
        : { kind: 'refused', status: '403 Forbidden', refusal: refusalOf(found) }
    },
    dialled: () =>
      office.edges().flatMap((row) => {
        if (row.revokedBecause !== undefined || row.dialled === undefined) return []
        const known = knownOf(row)
        const { url } = row.dialled
        const key = `enrolled ${row.node} ${row.bearerHash} ${url}`
        const identity = { ...known.identity, heartbeatMs }
        return [{ ...known, identity, key, url, bearer: () => office.bearerOf(row) }]
      }),
    onChange: (listener) => void office.onChange(listener),
  }
}

const refusalOf = ({ node, revokedBecause }: EdgeRow): Refusal => ({
  code: 'CERT_REVOKED',
  message: `the bearer of ${node} is revoked (${revokedBecause}): make a new one with "holdfast seed follower --edge ${node}", or with the name and the --regions of its Worker`,
})
