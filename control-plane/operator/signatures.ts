// Whether the record of an epoch is what a Leader signed, by the keys that the ledger holds.
import { type SigningKeyRow, verifyCompact } from '#shared/token/access-token.ts'
import { RECORD_TYPE } from '../accounts.ts'
import type { FailoverRecord, Signature } from '../coordination/orders.ts'
import { textOf } from '../failover/record.ts'
import { connect } from '../ledger/connection.ts'

/** Of all nodes, as this node's own copy of the ledger has them, whether it leads or not. */
export async function signingKeysOf(databaseUrl: string): Promise<SigningKeyRow[]> {
  const database = connect(databaseUrl, 1)
  try {
    const { rows } = await database.query('SELECT kid, jwk FROM signing_keys')
    return rows as unknown as SigningKeyRow[]
  } finally {
    await database.close()
  }
}

/** By these keys, and of this very record. */
export async function isSigned(
  record: FailoverRecord,
  { jws }: Signature,
  keys: readonly SigningKeyRow[],
): Promise<boolean> {
  const signed = await verifyCompact(jws, RECORD_TYPE, keys)
  return signed === textOf(record)
}
