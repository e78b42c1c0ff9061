import { fromBase64, fromUtf8 } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { decodeChanges } from '#shared/ledger/change.ts'
import type { Row, TableName } from '#shared/ledger/tables.ts'

/** Rows of one snapshot chunk, as `snapshots.ts` packed them. Throws `bad_request` when they are not. */
export function unpackRows(
  packed: string,
  gunzip: (packed: Uint8Array) => Uint8Array,
): { readonly table: TableName; readonly rows: readonly Row[] } {
  const bytes = fromBase64(packed)
  const text = bytes && fromUtf8(gunzip(bytes))
  const changes = decodeChanges(text ?? '[]')
  const table = changes[0]?.table
  if (table === undefined) throw new DomainError('bad_request', 'a snapshot chunk of the Leader is empty')
  const rows = changes.map((change) => {
    if (change.op !== 'put' || change.table !== table) {
      throw new DomainError('bad_request', 'a snapshot chunk of the Leader mixes tables')
    }
    return change.row
  })
  return { table, rows }
}
