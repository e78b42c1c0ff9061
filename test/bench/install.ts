// Puts a dataset into a Follower's data folder the way a snapshot gets there.
import { join } from 'node:path'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import type { Sqlite } from '#edge-follower/store/sqlite.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { wall } from '#shared/base/time.ts'
import { ContentHash, rowDigest } from '#shared/ledger/digest.ts'
import type { Row, TableName } from '#shared/ledger/tables.ts'
import { loadSigningKey } from '#shared/node/keys.ts'
import { createKeyring } from '#shared/secret/keyring.ts'
import { type Dataset, datasetRows, jwtRows } from './dataset.ts'

export async function installDataset(
  directory: string,
  dataKey: Uint8Array,
  dataset: Dataset,
): Promise<void> {
  const key = await loadSigningKey(join(directory, 'signing-key.json'))
  const sqlite = openSqlite(join(directory, 'data.db'), 'writer')
  const signing = { kid: key.kid, node: 'edge-1', jwk: JSON.stringify(key.publicJwk), created_at: 1 }
  installInto(sqlite, dataKey, dataset, [{ table: 'signing_keys', rows: [signing] }])
  sqlite.close()
}

type Piece = { readonly table: TableName; readonly rows: Row[] }

export function installInto(
  sqlite: Sqlite,
  dataKey: Uint8Array,
  dataset: Dataset,
  more: readonly Piece[],
): void {
  const keyring = createKeyring({ versions: new Map([[1, dataKey]]), current: 1 }, randomBytes)
  const jwt = dataset.jwt === undefined ? [] : jwtRows(dataset, dataset.jwt, keyring)
  const pieces: Piece[] = [...datasetRows(dataset, keyring), ...jwt, ...more]
  const digests = pieces.flatMap(({ table, rows }) => rows.map((row) => rowDigest(table, row)))
  const contentHash = new ContentHash().change(digests, []).toString()
  const store = createReplicaStore(sqlite)
  store.stageBegin({ id: 'bench', position: { epoch: 1, seq: 1 }, contentHash, at: 0, chunks: pieces.length })
  for (const [chunk, { table, rows }] of pieces.entries()) store.stageChunk(chunk, table, rows)
  store.stageFinish(wall(Date.now()))
}
