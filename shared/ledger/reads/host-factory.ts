// Host factories, their tokens, and public keys (http-api 12, 14).
import { makeId } from '../../id/resource-id.ts'
import type { Query } from '../store.ts'
import type { RowOf } from '../tables.ts'
import { kindSql } from './conditions.ts'

/** By the SHA-256 of the token. */
export function factoryTokenQuery(id: string): Query<RowOf<'host_factory_tokens'> | undefined> {
  return {
    sql: 'SELECT id, sealed, factory, cidr, expires_at FROM host_factory_tokens WHERE id = ?1',
    params: [id],
    bytes: ['sealed'],
    read: ([row]) => row as unknown as RowOf<'host_factory_tokens'> | undefined,
  }
}

/** Layers whose members the hosts of the factory with this token become. */
export function factoryLayersQuery(tokenId: string): Query<string[]> {
  return {
    sql:
      'SELECT m.role AS layer FROM host_factory_tokens t JOIN memberships m ON m.member = t.factory ' +
      `WHERE t.id = ?1 AND m.ownership = 0 AND ${kindSql('m.role')} = 'layer' ORDER BY m.role`,
    params: [tokenId],
    read: (rows) => rows.map((row) => row.layer as string),
  }
}

export type PublicKeyRow = { readonly id: string; readonly version: number; readonly sealed: Uint8Array }

/** The newest line of every key below a prefix, in the order of their ids. */
export function publicKeysQuery(account: string, prefix: string): Query<PublicKeyRow[]> {
  const from = makeId(account, 'public_key', prefix)
  return {
    sql:
      'SELECT s.resource AS id, s.version AS version, s.sealed AS sealed FROM secrets s ' +
      'WHERE s.resource >= ?1 AND s.resource < ?2 ' +
      'AND s.version = (SELECT MAX(v.version) FROM secrets v WHERE v.resource = s.resource) ORDER BY s.resource',
    // No character has larger bytes than the last one of Unicode: a range of the key instead of a pattern.
    params: [from, `${from}\u{10ffff}`],
    bytes: ['sealed'],
    read: (rows) => rows as unknown as PublicKeyRow[],
  }
}
